//! Sends events to a Kinesis stream of the consumer's own, with the translator's code: a call contains at most one
//! event of an aggregate, and an event is put after the one before it is acknowledged.

use std::sync::Mutex;
use std::time::Duration;

use millrace_runtime::batch_put::RecordOutcome;
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use millrace_translator::ports::{MAX_RECORDS, Publisher, PutError, Record};
use millrace_translator::publishing::{Progress, Queue, Refusal, publish};

use crate::operate::replayer::{Capacity, Delivery, Portion, Target};

/// How long the stream may accept no event before the run ends.
const PATIENCE: Duration = Duration::from_mins(10);

/// A consumer's stream.
#[derive(Debug)]
pub struct StreamTarget<P, A> {
    publisher: P,
    ambient: A,
}

impl<P: Publisher, A: Ambient> StreamTarget<P, A> {
    /// The stream as a target.
    pub const fn new(publisher: P, ambient: A) -> Self {
        Self { publisher, ambient }
    }
}

/// A publisher, and why its last put failed.
struct Observed<'a, P> {
    publisher: &'a P,
    error: Mutex<Option<String>>,
}

impl<P: Publisher> Publisher for Observed<'_, P> {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        let result = self.publisher.put(records).await;
        let error = match &result {
            Err(error) => Some(Chain(error).to_string()),
            Ok(outcomes) => outcomes.iter().find_map(|outcome| {
                let rejected = outcome.as_ref().err()?;
                Some(rejected.to_string())
            }),
        };
        *self.error.lock().expect("the lock isn't poisoned") = error;
        result
    }
}

impl<P: Publisher, A: Ambient> Target for StreamTarget<P, A> {
    /// A long history needs as many puts as it has events, so a call contains few events of each aggregate.
    fn capacity(&self) -> Capacity {
        Capacity {
            aggregates: MAX_RECORDS,
            events_of_one: 20,
            events: 5_000,
            bytes: 8 * 1024 * 1024,
            calls: 4,
        }
    }

    async fn send(&self, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
        let mut queues: Vec<Queue> = portions
            .iter()
            .map(|portion| {
                let mut queue = Queue::default();
                for event in &portion.events {
                    let record = Record {
                        partition_key: portion.aggregate.clone(),
                        data: event.data.clone(),
                        trace_id: None,
                    };
                    queue.push(event.sequence, record);
                }
                queue
            })
            .collect();
        let observed = Observed {
            publisher: &self.publisher,
            error: Mutex::new(None),
        };
        loop {
            let before: usize = queues.iter().map(Queue::pending).sum();
            let mut all: Vec<&mut Queue> = queues.iter_mut().collect();
            let budget = Budget::lasting(PATIENCE);
            if publish(&observed, &mut all, budget, &self.ambient).await == Progress::Done {
                break;
            }
            let after: usize = queues.iter().map(Queue::pending).sum();
            if after == before {
                let error = observed.error.into_inner().ok().flatten();
                let error = error.unwrap_or_else(|| "the stream did not respond".to_owned());
                return Err(ServiceError::new("PutRecords", error));
            }
        }
        let delivered = queues.iter_mut().zip(portions).map(|(queue, portion)| {
            let last = queue.acknowledged();
            let events = &portion.events;
            let sent = events.partition_point(|event| Some(event.sequence) <= last);
            let refused = queue.take_refused().map(|refused| match refused.refusal {
                Refusal::Service(code) => format!("the stream refused the event: {code}"),
                Refusal::TooLarge { bytes } => {
                    format!("the record of the event has {bytes} bytes, more than Kinesis allows")
                }
            });
            Delivery { sent, refused }
        });
        Ok(delivered.collect())
    }
}

#[cfg(test)]
mod tests {
    use millrace_core::{Sequence, Timestamp};
    use millrace_runtime::batch_put::Rejected;
    use millrace_runtime::testing::{TestAmbient, in_virtual_time};
    use millrace_translator::published::PublishedEvent;

    use super::*;

    /// A stream that rejects every third record at first, and refuses calls with the record `refused`.
    #[derive(Default)]
    struct Stream {
        stored: Mutex<Vec<String>>,
        puts: Mutex<usize>,
        refused: &'static str,
        is_down: bool,
    }

    impl Publisher for &Stream {
        async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut keys: Vec<&str> = records.iter().map(|it| &*it.partition_key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), records.len(), "two events of an aggregate");
            if self.is_down {
                return Err(ServiceError::new("PutRecords", "it is down").into());
            }
            let text = |record: &Record| String::from_utf8(record.data.clone()).expect("UTF-8");
            if records.iter().any(|record| text(record) == self.refused) {
                let code = "ValidationException".to_owned();
                return Err(PutError::Refused { code });
            }
            let mut puts = self.puts.lock().expect("unpoisoned");
            let mut stored = self.stored.lock().expect("unpoisoned");
            let outcomes = records.iter().map(|record| {
                *puts += 1;
                if puts.is_multiple_of(3) {
                    let code = "InternalFailure".to_owned();
                    return Err(Rejected { code });
                }
                stored.push(text(record));
                Ok(())
            });
            Ok(outcomes.collect())
        }
    }

    fn portion(aggregate: &str, events: u64, bytes: usize) -> Portion {
        let events = (1..=events).map(|sequence| PublishedEvent {
            sequence: Sequence::new(sequence).expect("valid"),
            time: Timestamp::from_unix_millis(0).expect("valid"),
            data: format!("{aggregate}:{sequence}{}", " ".repeat(bytes)).into_bytes(),
        });
        Portion {
            aggregate: aggregate.to_owned(),
            events: events.collect(),
        }
    }

    fn send(stream: &Stream, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
        in_virtual_time(StreamTarget::new(stream, TestAmbient::default()).send(portions))
    }

    #[test]
    fn events_are_put_in_order_and_rejected_ones_again() {
        let stream = Stream::default();
        let portions = [portion("a", 20, 0), portion("b", 1, 0), portion("c", 7, 0)];
        let deliveries = send(&stream, &portions).expect("sent");
        let sent: Vec<usize> = deliveries.iter().map(|delivery| delivery.sent).collect();
        assert_eq!(sent, [20, 1, 7]);
        let stored = stream.stored.lock().expect("unpoisoned");
        for portion in &portions {
            let prefix = format!("{}:", portion.aggregate);
            let own: Vec<&String> = stored.iter().filter(|it| it.starts_with(&prefix)).collect();
            let expected: Vec<String> = (1..=portion.events.len())
                .map(|sequence| format!("{prefix}{sequence}"))
                .collect();
            assert!(own.into_iter().eq(&expected));
        }
    }

    #[test]
    fn an_event_that_the_stream_cannot_store_stops_its_aggregate_alone() {
        let stream = Stream {
            refused: "a:3",
            ..Stream::default()
        };
        let portions = [
            portion("a", 5, 0),
            portion("b", 2, 0),
            portion("large", 1, 1024 * 1024),
        ];
        let deliveries = send(&stream, &portions).expect("sent");
        assert_eq!((deliveries[0].sent, deliveries[1].sent), (2, 2));
        let refused = |index: usize| deliveries[index].refused.clone().unwrap_or_default();
        assert!(refused(0).contains("ValidationException"), "{deliveries:?}");
        assert!(refused(2).contains("1048588 bytes"), "{}", refused(2));
        assert_eq!(deliveries[1].refused, None);
    }

    #[test]
    fn a_stream_that_accepts_nothing_ends_the_replay_with_its_reason() {
        let stream = Stream {
            is_down: true,
            ..Stream::default()
        };
        let error = send(&stream, &[portion("a", 1, 0)]).expect_err("it is down");
        assert!(
            Chain(&error).to_string().contains("it is down"),
            "{error:?}"
        );
    }
}
