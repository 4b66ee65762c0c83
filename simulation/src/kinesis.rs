//! The translator's access to the domain stream.

use millrace_runtime::batch_put::{RecordOutcome, Rejected};
use millrace_translator::ports::{Publisher, PutError, Record};

use super::consumer::REPLAY;
use super::expected::sequence_in;
use super::faults::Fault;
use super::sabotage::Sabotage;
use super::service_limits;
use super::services::Services;
use super::world::{Event, World};

impl Publisher for Services {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        if self.invocation.function() == REPLAY {
            let what = "the replay puts records on the domain stream";
            self.sim.world().violated("C", what);
        }
        let mut put = records.to_vec();
        if self.is_sabotaged(Sabotage::TraceNotPublished) {
            put.iter_mut().for_each(remove_trace);
        }
        let mut answer = self
            .write("PutRecords", move |world, now| put_records(world, put, now))
            .await?
            .map_err(|Refused { code }| PutError::Refused {
                code: code.to_owned(),
            })?;
        if self.is_sabotaged(Sabotage::RejectedRecordsIgnored) {
            answer = vec![Ok(()); answer.len()];
        }
        if self.is_sabotaged(Sabotage::AcknowledgedTooEarly) {
            for (record, answer) in records.iter().zip(&mut answer) {
                if answer.is_err() {
                    *answer = Ok(());
                    self.later(record.clone());
                }
            }
        }
        self.acknowledge(records, &answer);
        Ok(answer)
    }
}

/// Removes the member `traceparent` from an event, and leaves its other bytes unchanged.
fn remove_trace(record: &mut Record) {
    const NAME: &[u8] = br#""traceparent":"#;
    let mut names = record.data.windows(NAME.len());
    let Some(at) = names.position(|bytes| bytes == NAME) else {
        return;
    };
    // The value has no comma, and another member follows it.
    let rest = &record.data[at..];
    let length = rest.iter().position(|byte| *byte == b',');
    let end = at + length.expect("another member") + 1;
    record.data.drain(at..end);
}

impl Services {
    /// Records the events that the response acknowledges to the producer.
    fn acknowledge(&self, records: &[Record], answer: &[RecordOutcome]) {
        let mut world = self.sim.world();
        for (record, answer) in records.iter().zip(answer) {
            if answer.is_ok()
                && let Some(sequence) = sequence_in(&record.data)
            {
                let of = record.partition_key.clone();
                world.acknowledged.insert((of, sequence));
            }
        }
    }

    /// Stores a record some time after it was acknowledged.
    fn later(&self, record: Record) {
        let wait = self.sim.world().rng.u64(100..3_000);
        self.sim.land_later(wait, move |world, now| {
            world.put_event(record.partition_key, record.data, now);
        });
    }
}

impl World {
    /// Stores one record.
    fn put_event(&mut self, partition_key: String, data: Vec<u8>, now: u64) {
        self.count("records on the domain stream", 1);
        let key = partition_key.clone();
        let event = Event {
            partition_key,
            data,
            is_from_other_producer: false,
        };
        self.domain_stream.append(&key, now, event);
    }
}

/// Records that a call was refused because of its content. Nothing is stored.
struct Refused {
    code: &'static str,
}

/// Stores the records one by one. Records after a failed one are still stored.
fn put_records(
    world: &mut World,
    records: Vec<Record>,
    now: u64,
) -> Result<Vec<RecordOutcome>, Refused> {
    if let Err(what) = service_limits::put_records(&records) {
        world.violated("1", what);
        return Err(Refused {
            code: "ValidationException",
        });
    }
    if let Some(twice) = twice(&records) {
        world.violated("1", format!("{twice}: one put contains two of its events"));
    }
    let throttled = world.strikes(Fault::ShardThrottled, now).then(|| {
        let key = &records[world.rng.usize(0..records.len())].partition_key;
        world.domain_stream.shard_of(key)
    });
    let rejected = |code: &str| {
        Err(Rejected {
            code: code.to_owned(),
        })
    };
    let answer = records
        .into_iter()
        .map(|record| {
            let shard = world.domain_stream.shard_of(&record.partition_key);
            if throttled == Some(shard) {
                return rejected("ProvisionedThroughputExceededException");
            }
            if world.strikes(Fault::RecordRejected, now) {
                return rejected("InternalFailure");
            }
            world.put_event(record.partition_key, record.data, now);
            Ok(())
        })
        .collect();
    Ok(answer)
}

fn twice(records: &[Record]) -> Option<&str> {
    let mut keys: Vec<&str> = records.iter().map(|it| it.partition_key.as_str()).collect();
    keys.sort_unstable();
    keys.windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
}
