//! What is done with a batch for the lake: lines, packed, delivered, and what failed sent again.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use millrace_core::Domain;
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::{Ambient, Backoff, Budget, Chain, ServiceError};

use crate::line::lines;
use crate::pack::{Packed, call_size, pack};

/// Between two rounds. Firehose throttles by the second.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};

/// Firehose did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct Rejected {
    /// Firehose's own error code.
    pub code: String,
}

/// Hands records to the delivery stream.
pub trait Delivery: Send + Sync {
    /// Hands over records in one call, within the limits of [`pack`](crate::pack). The answer has one
    /// entry per record, in order; only an `Ok` says that the record is taken.
    ///
    /// # Errors
    /// [`ServiceError`] when the call failed as a whole. The records may be taken all the same.
    fn put(
        &self,
        records: &[Packed],
    ) -> impl Future<Output = Result<Vec<Result<(), Rejected>>, ServiceError>> + Send;
}

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

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The place of the first record that isn't delivered; from there the batch is to be delivered
    /// again. `None`: all are.
    pub resume_at: Option<usize>,
    /// How many Firehose records the batch was packed into.
    pub packed: usize,
    /// How many of them were sent again, each time counted.
    pub retries: usize,
}

impl<D: Domain, L: Delivery, A: Ambient> Archiver<D, L, A> {
    /// Delivers a batch. What fails, and nothing else, is sent again until all is delivered or the
    /// budget is spent; then the batch is taken up again at the first record that is left, and what
    /// was delivered behind it comes into the lake once more.
    pub async fn archive(&self, records: &[KinesisRecord], budget: Budget) -> Outcome {
        let lines = records.iter().flat_map(|record| {
            lines::<D>(record)
                .into_iter()
                .map(|line| (record.position, line))
        });
        let mut left = pack(lines);
        let packed = left.len();
        let (mut retry, mut retries) = (0, 0);
        loop {
            left = self.round(left, budget).await;
            if left.is_empty() {
                break;
            }
            let wait = BACKOFF.delay(retry, &self.ambient);
            if !budget.allows(wait) {
                break;
            }
            tokio::time::sleep(wait).await;
            retry += 1;
            retries += left.len();
        }
        Outcome {
            resume_at: left.iter().map(|record| record.first).min(),
            packed,
            retries,
        }
    }

    /// Sends each record once, in as few calls as the limits allow. Answers with those that failed.
    async fn round(&self, records: Vec<Packed>, budget: Budget) -> Vec<Packed> {
        let mut records = VecDeque::from(records);
        let mut failed = Vec::new();
        while !records.is_empty() {
            let size = call_size(records.make_contiguous());
            let call: Vec<Packed> = records.drain(..size).collect();
            // A call that doesn't end within the budget may have gone through; its records come
            // into the lake again then.
            match tokio::time::timeout(budget.left(), self.delivery.put(&call)).await {
                Ok(Ok(entries)) => failed.extend(rejected(call, &entries)),
                Ok(Err(error)) => {
                    tracing::warn!(records = call.len(), error = %Chain(&error), "a call failed");
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

/// The records that were not taken. One without an entry in the answer was not.
fn rejected(call: Vec<Packed>, entries: &[Result<(), Rejected>]) -> Vec<Packed> {
    let sent = call.len();
    let rejected: Vec<Packed> = call
        .into_iter()
        .enumerate()
        .filter(|(index, _)| !entries.get(*index).is_some_and(Result::is_ok))
        .map(|(_, record)| record)
        .collect();
    log_rejected(rejected.len(), sent, entries);
    rejected
}

fn log_rejected(failed: usize, sent: usize, entries: &[Result<(), Rejected>]) {
    if failed == 0 {
        return;
    }
    let reason = entries.iter().find_map(|entry| entry.as_ref().err());
    let reason = reason.map_or("not in the answer", |rejected| &rejected.code);
    tracing::info!(failed, sent, reason, "records were not taken");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_rejected_is_left() {
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
