//! Ordered publishing: each aggregate's events one after another, many aggregates concurrently.
//!
//! Invariant: no put contains two events of one aggregate. PutRecords stores records one by one, and one
//! may fail although later ones are stored
//! ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)). So an
//! event is put only after the one before it is acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_core::Sequence;
use millrace_runtime::batch_put::stored;
use millrace_runtime::{Ambient, Backoff, Budget, Chain};
use tokio::time::Instant;
use tracing::field;

use crate::ports::{MAX_PUT_BYTES, MAX_RECORD_BYTES, MAX_RECORDS};
use crate::ports::{Publisher, PutError, Record};

/// The wait between two puts of a record. Kinesis' limits of a shard are per second, so the waits grow to
/// about that.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(25),
    cap: Duration::from_secs(1),
};

/// One aggregate's pending events, in order.
#[derive(Debug, Default)]
pub struct Queue {
    events: VecDeque<(Sequence, Record)>,
    /// The size of all events' records, in bytes.
    bytes: usize,
    /// The number of the last put that contained an event of this queue; 0 before the first one.
    last_put: usize,
    acknowledged: Option<Sequence>,
    retries: u32,
    not_before: Option<Instant>,
    published: usize,
    put_off: usize,
    refused: Option<Refused>,
}

/// An event that can't be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The event.
    pub sequence: Sequence,
    /// Why it can't be stored.
    pub refusal: Refusal,
}

/// Why an event can't be stored, however often it is put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The service refuses it, with this error code.
    #[error("the domain stream refuses the event: {0}")]
    Service(String),
    /// Its record is larger than [`MAX_RECORD_BYTES`]; it was not put.
    #[error(
        "the event's record has {bytes} bytes, and the domain stream's limit is {MAX_RECORD_BYTES}"
    )]
    TooLarge {
        /// The record's size.
        bytes: usize,
    },
}

impl Queue {
    /// Adds an event at the end of the queue.
    pub fn push(&mut self, sequence: Sequence, record: Record) {
        self.bytes += record.size();
        self.events.push_back((sequence, record));
    }

    /// How many events are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.events.len()
    }

    /// The size of the pending events' records, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last event that was acknowledged, with all before it.
    #[must_use]
    pub const fn acknowledged(&self) -> Option<Sequence> {
        self.acknowledged
    }

    /// How many events were acknowledged, and how often one has to be put again.
    #[must_use]
    pub const fn counters(&self) -> (usize, usize) {
        (self.published, self.put_off)
    }

    /// The event that can't be stored, if there is one. It and the events after it have left the
    /// queue.
    pub const fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// Drops the pending events; they are published from the events table again.
    pub fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    fn refuse(&mut self, refusal: Refusal) {
        let first = self.events.front();
        let trace_id = first.and_then(|(_, record)| record.trace_id);
        tracing::error!(
            trace_id = trace_id.map(field::display),
            %refusal,
            "an event can't be published; its aggregate is blocked"
        );
        if let Some((sequence, _)) = first {
            self.refused = Some(Refused {
                sequence: *sequence,
                refusal,
            });
        }
        self.clear();
    }

    /// Refuses the first event if it is too large for any put.
    fn refuse_if_too_large(&mut self) {
        let bytes = self.first_size();
        if bytes > MAX_RECORD_BYTES {
            self.refuse(Refusal::TooLarge { bytes });
        }
    }

    /// The size of the first event's record, in bytes.
    fn first_size(&self) -> usize {
        self.events.front().map_or(0, |(_, record)| record.size())
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.events.is_empty() && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    fn acknowledge(&mut self) {
        if let Some((sequence, record)) = self.events.pop_front() {
            self.bytes -= record.size();
            self.acknowledged = Some(sequence);
            self.published += 1;
        }
        self.retries = 0;
        self.not_before = None;
    }

    fn put_off(&mut self, ambient: &impl Ambient) {
        self.not_before = Some(Instant::now() + BACKOFF.delay(self.retries, ambient));
        self.retries += 1;
        self.put_off += 1;
    }
}

/// What can be put next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The first events of the queues at these indexes, which ascend.
    Put(Vec<usize>),
    /// Nothing yet: every queue with an event waits before its retry. The first one is due after this time.
    Wait(Duration),
    /// Nothing: every queue is empty.
    Nothing,
}

/// Chooses what can be put next: the first events of the queues that are due, as many as fit into one put. The
/// queue whose last put is the longest ago comes first, so that no queue starves. An event that is too large for
/// the stream is refused without a put.
pub fn next_put(queues: &mut [&mut Queue]) -> Next {
    let now = Instant::now();
    for queue in queues.iter_mut() {
        queue.refuse_if_too_large();
    }
    let mut heads = heads(queues, now);
    if heads.is_empty() {
        return until_next(queues, now).map_or(Next::Nothing, Next::Wait);
    }
    heads.sort_unstable();
    Next::Put(heads)
}

/// How publishing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Every queue is empty.
    Done,
    /// The budget is spent, and some queue isn't empty.
    OutOfTime,
}

/// Publishes by one put after another, until every queue is empty or the budget is spent; events that are pending
/// then stay in their queues.
pub async fn publish(
    publisher: &impl Publisher,
    queues: &mut [&mut Queue],
    budget: Budget,
    ambient: &impl Ambient,
) -> Progress {
    let mut puts = 0;
    loop {
        let indexes = match next_put(queues) {
            Next::Nothing => return Progress::Done,
            Next::Put(_) if budget.left().is_zero() => return Progress::OutOfTime,
            Next::Put(indexes) => indexes,
            Next::Wait(wait) if budget.allows(wait) => {
                tokio::time::sleep(wait).await;
                continue;
            }
            Next::Wait(_) => return Progress::OutOfTime,
        };
        let mut indexes = indexes.into_iter().peekable();
        let mut chosen = Vec::with_capacity(indexes.len());
        for (index, queue) in queues.iter_mut().enumerate() {
            if indexes.next_if_eq(&index).is_some() {
                chosen.push(&mut **queue);
            }
        }
        puts += 1;
        put(publisher, &mut chosen, puts, budget, ambient).await;
    }
}

/// The queues whose first events make up the next put: as many of those that are due as the limits
/// allow.
fn heads(queues: &[&mut Queue], now: Instant) -> Vec<usize> {
    let mut due: Vec<usize> = (0..queues.len())
        .filter(|index| queues[*index].is_due(now))
        .collect();
    due.sort_by_key(|index| queues[*index].last_put);
    let mut bytes = 0;
    due.into_iter()
        .take(MAX_RECORDS)
        .take_while(|index| {
            bytes += queues[*index].first_size();
            bytes <= MAX_PUT_BYTES
        })
        .collect()
}

/// Puts the first event of each of these queues, none of which may be in another put. A failed event is put again
/// after a backoff, and delays only its own aggregate. If the service refuses the call, its records are put in
/// two halves, until each record that the service refuses is alone. `number` is higher than that of every put
/// before.
///
/// A put that doesn't end within the budget may be stored all the same. It is not acknowledged, so its events stay
/// in their queues, and are published again, as duplicates.
pub async fn put(
    publisher: &impl Publisher,
    queues: &mut [&mut Queue],
    number: usize,
    budget: Budget,
    ambient: &impl Ambient,
) {
    // The stream's capacity may end within the put.
    queues.sort_by_key(|queue| queue.last_put);
    for queue in queues.iter_mut() {
        queue.last_put = number;
    }
    let all: Vec<usize> = (0..queues.len()).collect();
    let mut calls = vec![all];
    while let Some(heads) = calls.pop() {
        let records: Vec<Record> = heads
            .iter()
            .filter_map(|index| queues[*index].events.front())
            .map(|(_, record)| record.clone())
            .collect();
        let answer = tokio::time::timeout(budget.left(), publisher.put(&records)).await;
        let acknowledged = match answer {
            Ok(Ok(outcomes)) => stored(records.len(), &outcomes),
            Ok(Err(PutError::Refused { code })) => {
                if let [head] = heads[..] {
                    queues[head].refuse(Refusal::Service(code));
                } else {
                    tracing::warn!(
                        records = records.len(),
                        code,
                        "a put was refused; its records are put in two halves"
                    );
                    let (first, second) = heads.split_at(heads.len() / 2);
                    calls.extend([second.to_vec(), first.to_vec()]);
                }
                continue;
            }
            Ok(Err(PutError::Service(error))) => {
                tracing::warn!(records = records.len(), error = %Chain(&error), "a put failed; its records will be put again");
                vec![false; records.len()]
            }
            Err(_elapsed) => return,
        };
        for (index, acknowledged) in heads.into_iter().zip(acknowledged) {
            if acknowledged {
                queues[index].acknowledge();
            } else {
                queues[index].put_off(ambient);
            }
        }
    }
}

/// The time until the first put of a queue is due; `None` if no event is pending.
fn until_next(queues: &[&mut Queue], now: Instant) -> Option<Duration> {
    queues
        .iter()
        .filter(|queue| !queue.events.is_empty())
        .filter_map(|queue| queue.not_before)
        .min()
        .map(|not_before| not_before.saturating_duration_since(now))
}
