//! The read models and the delivery stream in memory, failing on command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use millrace_domain::{
    AggregateId, Attribute, Attributes, Envelope, HistoryEntry, Sequence, Timestamp, View,
};
use millrace_projector::archive::{Delivery, Rejected};
use millrace_projector::model::{ReadModel, Saved};
use millrace_projector::pack::Packed;
use millrace_projector::record::Delivered;
use millrace_projector::stale::{self, Stale};
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, ServiceError};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and has no effect.
    Lost,
    /// It fails after it took effect.
    Ambiguous,
    /// Somebody else has moved the view on by these events just before.
    Overtaken(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) views: Mutex<BTreeMap<String, Attributes>>,
    pub(crate) history: Mutex<BTreeMap<(String, u64), Attributes>>,
    pub(crate) faults: Mutex<VecDeque<Option<Fault>>>,
    pub(crate) saves: Mutex<usize>,
    /// An aggregate of which no call succeeds.
    pub(crate) down: Mutex<Option<String>>,
}

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
        "id".to_owned()
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

impl Memory {
    fn fault(&self) -> Option<Fault> {
        self.faults.lock().expect("unpoisoned").pop_front()?
    }

    pub(crate) fn failing(faults: &[Option<Fault>]) -> Self {
        Self {
            faults: Mutex::new(faults.iter().copied().collect()),
            ..Self::default()
        }
    }

    pub(crate) fn view_of(&self, id: &str) -> Option<View> {
        let views = self.views.lock().expect("unpoisoned");
        View::read(views.get(id)?).expect("readable")
    }

    pub(crate) fn stale(&self, id: &str) -> Option<Stale> {
        let views = self.views.lock().expect("unpoisoned");
        views.get(id).and_then(Stale::read)
    }

    pub(crate) fn history_of(&self, id: &str) -> Vec<HistoryEntry> {
        let history = self.history.lock().expect("unpoisoned");
        let of = history.iter().filter(|((of, _), _)| of == id);
        of.map(|(_, line)| HistoryEntry::read(line).expect("readable"))
            .collect()
    }

    fn is_down(&self, id: &str) -> bool {
        self.down.lock().expect("unpoisoned").as_deref() == Some(id)
    }
}

fn same(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let of = |item: Option<&Attributes>, name: &str| item.and_then(|it| it.get(name)).cloned();
    stored.is_some() == read.is_some()
        && of(stored, "Sequence") == of(read, "Sequence")
        && of(stored, stale::SEQUENCE) == of(read, stale::SEQUENCE)
}

impl ReadModel for &Memory {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        if self.is_down(aggregate) {
            return Err(lost());
        }
        let views = self.views.lock().expect("unpoisoned");
        Ok(views.get(aggregate).cloned())
    }

    async fn put_history(&self, lines: Vec<Attributes>) -> Result<(), ServiceError> {
        let fault = self.fault();
        if fault == Some(Fault::Lost) {
            return Err(lost());
        }
        let mut history = self.history.lock().expect("unpoisoned");
        for line in lines {
            let read = HistoryEntry::read(&line).expect("a line");
            history.insert((read.id.to_string(), read.sequence.get()), line);
        }
        fault.map_or(Ok(()), |_| Err(lost()))
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        let Attribute::Text(id) = item["Id"].clone() else {
            panic!("an id is a text");
        };
        let fault = self.fault();
        let mut views = self.views.lock().expect("unpoisoned");
        match fault {
            Some(Fault::Lost) => return Err(lost()),
            Some(Fault::Overtaken(through)) => {
                let view = events(&id, 1..=through).iter().fold(None, |view, event| {
                    Some(View::apply(view.as_ref(), event).0)
                });
                views.insert(id.clone(), view.expect("some").to_attributes());
            }
            Some(Fault::Ambiguous) | None => {}
        }
        if !same(views.get(&id), read) {
            return Ok(Saved::Moved);
        }
        views.insert(id, item);
        *self.saves.lock().expect("unpoisoned") += 1;
        match fault {
            Some(Fault::Ambiguous) => Err(lost()),
            _ => Ok(Saved::Stored),
        }
    }

    async fn mark(&self, aggregate: &str, attributes: Attributes) -> Result<(), ServiceError> {
        let mut views = self.views.lock().expect("unpoisoned");
        views
            .entry(aggregate.to_owned())
            .or_default()
            .extend(attributes);
        Ok(())
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
            Envelope::parse(json.as_bytes()).expect("an event")
        })
        .collect()
}

/// A batch of records, in this order.
pub(crate) fn batch(events: &[Envelope]) -> Vec<Delivered> {
    events
        .iter()
        .enumerate()
        .map(|(position, event)| record(position, event.subject.as_str(), &event.to_bytes()))
        .collect()
}

pub(crate) fn record(position: usize, key: &str, data: &[u8]) -> Delivered {
    AggregateId::new(key).expect("an id");
    Delivered {
        position,
        stream_id: format!("shard:{position}"),
        partition_key: key.to_owned(),
        arrival: None,
        data: data.to_vec(),
    }
}

pub(crate) fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}
