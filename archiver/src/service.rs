//! Archives a batch: packs its lake records into Firehose records, sends these, and sends failed ones
//! again.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use millrace_consumer::KinesisRecord;
use millrace_core::Domain;
use millrace_runtime::batch_put::{RecordOutcome, stored};
use millrace_runtime::{Ambient, Backoff, Budget, Chain};

use crate::line::lines;
use crate::pack::{call_size, pack};
use crate::ports::{Delivery, Packed};

/// The wait between two rounds of calls. Firehose's quotas are per second.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};

/// The archiver with its services.
#[derive(Debug, Clone)]
pub struct Archiver<D, L, A> {
    /// The domain. Archiving depends on none of its settings.
    pub domain: PhantomData<D>,
    /// The delivery stream.
    pub delivery: L,
    /// Time and randomness.
    pub ambient: A,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The position of the first record that isn't delivered; from there Lambda has to deliver the
    /// batch again. `None`: all are delivered.
    pub resume_at: Option<usize>,
    /// How many Firehose records the batch was packed into.
    pub packed: usize,
    /// How many of them were sent again, each time counted.
    pub retries: usize,
}

impl<D: Domain, L: Delivery, A: Ambient> Archiver<D, L, A> {
    /// Delivers a batch. Failed records, and no others, are sent again until all are delivered or the
    /// budget is spent. Then Lambda delivers the batch again from the first record that isn't
    /// delivered, and the lake gets duplicates of the delivered records after it.
    pub async fn archive(&self, records: &[KinesisRecord<'_>], budget: Budget) -> Outcome {
        let lines = records.iter().flat_map(|record| {
            lines::<D>(record)
                .into_iter()
                .map(|line| (record.position, line))
        });
        let mut pending = pack(lines);
        let packed = pending.len();
        let (mut retry, mut retries) = (0, 0);
        loop {
            pending = self.round(pending, budget).await;
            if pending.is_empty() {
                break;
            }
            let wait = BACKOFF.delay(retry, &self.ambient);
            if !budget.allows(wait) {
                break;
            }
            tokio::time::sleep(wait).await;
            retry += 1;
            retries += pending.len();
        }
        Outcome {
            resume_at: pending.iter().map(|record| record.first).min(),
            packed,
            retries,
        }
    }

    /// Sends each record once, in as few calls as the limits allow. Returns those that failed.
    async fn round(&self, records: Vec<Packed>, budget: Budget) -> Vec<Packed> {
        let mut records = VecDeque::from(records);
        let mut failed = Vec::new();
        while !records.is_empty() {
            let size = call_size(records.make_contiguous());
            let call: Vec<Packed> = records.drain(..size).collect();
            // A call that doesn't end within the budget may have taken effect; then the lake gets
            // duplicates of its records.
            match tokio::time::timeout(budget.left(), self.delivery.put(&call)).await {
                Ok(Ok(outcomes)) => failed.extend(rejected(call, &outcomes)),
                Ok(Err(error)) => {
                    tracing::warn!(records = call.len(), error = %Chain(&error), "a call failed; its records will be retried");
                    failed.extend(call);
                }
                Err(_elapsed) => {
                    failed.extend(call);
                    failed.extend(records.drain(..));
                }
            }
        }
        failed
    }
}

/// The records that Firehose didn't accept.
fn rejected(call: Vec<Packed>, outcomes: &[RecordOutcome]) -> Vec<Packed> {
    let stored = stored(call.len(), outcomes);
    let records = call.into_iter().zip(stored);
    records
        .filter(|(_, stored)| !stored)
        .map(|(record, _)| record)
        .collect()
}

#[cfg(test)]
mod tests {
    use millrace_runtime::batch_put::Rejected;

    use super::*;

    #[test]
    fn only_rejected_records_are_pending() {
        let record = |first| Packed {
            first,
            data: Vec::new(),
        };
        let no = || {
            Err(Rejected {
                code: "ServiceUnavailable".to_owned(),
            })
        };
        let call = || vec![record(0), record(1), record(2)];
        assert!(rejected(call(), &[Ok(()), Ok(()), Ok(())]).is_empty());
        assert_eq!(rejected(call(), &[Ok(()), no(), Ok(())]), [record(1)]);
        assert_eq!(rejected(call(), &[no(), no(), no()]), call());
        assert_eq!(rejected(call(), &[Ok(())]), [record(1), record(2)]);
    }
}
