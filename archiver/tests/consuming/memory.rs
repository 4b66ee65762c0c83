//! The delivery stream in memory, failing on command.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_archiver::archive::{Delivery, Rejected};
use millrace_archiver::pack::Packed;
use millrace_core::{AggregateId, Domain, Timestamp};
use millrace_domain::Accounts;
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, ServiceError};

/// An account's event.
pub(crate) type Envelope = millrace_core::Envelope<<Accounts as Domain>::PublicEvent>;

/// Runs a property's case in virtual time.
pub(crate) fn blocking<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(case)
}

pub(crate) fn lost() -> ServiceError {
    ServiceError::new("a call", "it was lost")
}

pub(crate) struct Still;

/// Keeps what is measured.
#[derive(Debug, Default)]
pub(crate) struct Measuring(pub(crate) Mutex<Vec<(Metric, Option<u64>)>>);

impl Ambient for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000).expect("valid")
    }
    fn unique_id(&self) -> String {
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        format!("id-{}", GIVEN.fetch_add(1, Ordering::Relaxed))
    }
    fn fraction(&self) -> f64 {
        0.5
    }
}

impl Ambient for &Measuring {
    fn now(&self) -> Timestamp {
        Still.now()
    }
    fn unique_id(&self) -> String {
        Still.unique_id()
    }
    fn fraction(&self) -> f64 {
        Still.fraction()
    }
    fn measure(&self, _: &str, values: &[(Metric, Option<u64>)]) {
        self.0.lock().expect("unpoisoned").extend_from_slice(values);
    }
}

/// A delivery stream that takes what it is told to.
#[derive(Debug, Default)]
pub(crate) struct Lake {
    pub(crate) lines: Mutex<Vec<String>>,
    /// What each next call answers, entry by entry; `None` fails the call. Then all is taken.
    pub(crate) answers: Mutex<VecDeque<Option<Vec<bool>>>>,
    pub(crate) calls: Mutex<Vec<usize>>,
}

impl Delivery for &Lake {
    async fn put(&self, records: &[Packed]) -> Result<Vec<Result<(), Rejected>>, ServiceError> {
        let bytes = |record: &Packed| record.data.len();
        assert!(records.len() <= 500, "a call has too many records");
        assert!(records.iter().all(|record| bytes(record) <= 1_024_000));
        assert!(records.iter().map(bytes).sum::<usize>() <= 4_194_304);
        self.calls.lock().expect("unpoisoned").push(records.len());
        let answer = self.answers.lock().expect("unpoisoned").pop_front();
        let entries = match answer {
            None => vec![true; records.len()],
            Some(Some(entries)) => entries,
            Some(None) => return Err(lost()),
        };
        let mut lines = self.lines.lock().expect("unpoisoned");
        Ok(records
            .iter()
            .zip(entries)
            .map(|(record, taken)| {
                if taken {
                    let data = String::from_utf8(record.data.clone()).expect("text");
                    lines.extend(data.lines().map(str::to_owned));
                    Ok(())
                } else {
                    Err(Rejected {
                        code: "ServiceUnavailableException".to_owned(),
                    })
                }
            })
            .collect())
    }
}

/// An event's bytes.
pub(crate) fn bytes(event: &Envelope) -> Vec<u8> {
    event.to_bytes::<Accounts>().expect("encodes")
}

/// An account's events: an opening, then credits of 10.
pub(crate) fn events(id: &str, sequences: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
    sequences
        .map(|sequence| {
            let (of, amount) = if sequence == 1 {
                ("AccountCreated", "")
            } else {
                ("BalanceCredited", "\"amount\":10,")
            };
            let json = format!(
                "{{\"specversion\":\"1.0\",\"id\":\"{id}:{sequence}\",\
                 \"source\":\"urn:millrace:accounts\",\"type\":\"{of}\",\"subject\":\"{id}\",\
                 \"time\":\"2026-11-20T21:03:05.{sequence:03}Z\",\
                 \"datacontenttype\":\"application/json\",\
                 \"dataschema\":\"urn:millrace:schema:{of}:1\",\
                 \"data\":{{\"accountId\":\"{id}\",\"sequence\":{sequence},{amount}\
                 \"currency\":\"EUR\"}}}}"
            );
            Envelope::parse::<Accounts>(json.as_bytes()).expect("an event")
        })
        .collect()
}

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<KinesisRecord> {
    events
        .iter()
        .enumerate()
        .map(|(position, event)| record(position, event.subject.as_str(), &bytes(event)))
        .collect()
}

pub(crate) fn record(position: usize, key: &str, data: &[u8]) -> KinesisRecord {
    AggregateId::new(key).expect("an id");
    KinesisRecord {
        position,
        stream_id: format!("shard:{position}"),
        partition_key: key.to_owned(),
        arrival: None,
        data: data.to_vec(),
    }
}
