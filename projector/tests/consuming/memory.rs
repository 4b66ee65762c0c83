//! The read models in memory, failing on command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_core::view::{HistoryEntryOf, ViewOf, apply};
use millrace_core::{
    AggregateId, Attribute, Attributes, Domain, HistoryEntry, Sequence, Timestamp, View,
};
use millrace_domain::Accounts;
use millrace_projector::model::{REVISION, ReadModel, Saved};
use millrace_projector::stale::{self, Stale};
use millrace_runtime::item_size::item_size;
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, ServiceError};

/// An account's event.
pub(crate) type Envelope = millrace_core::Envelope<<Accounts as Domain>::PublicEvent>;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and has no effect.
    Lost,
    /// It fails after it took effect.
    Ambiguous,
    /// Somebody else has moved the view on by these events just before.
    Overtaken(u64),
    /// `rebuild` has just replaced the view by the fold of its events, at the same sequence.
    Rebuilt,
    /// A batch stores so many items and leaves the rest unprocessed.
    CutShort(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) views: Mutex<BTreeMap<String, Attributes>>,
    pub(crate) history: Mutex<BTreeMap<(String, u64), Attributes>>,
    pub(crate) faults: Mutex<VecDeque<Option<Fault>>>,
    pub(crate) saves: Mutex<usize>,
    /// How many history items each call stored.
    pub(crate) puts: Mutex<Vec<usize>>,
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

    pub(crate) fn view_of(&self, id: &str) -> Option<ViewOf<Accounts>> {
        let views = self.views.lock().expect("unpoisoned");
        View::read(views.get(id)?).expect("readable")
    }

    pub(crate) fn stale(&self, id: &str) -> Option<Stale> {
        let views = self.views.lock().expect("unpoisoned");
        views.get(id).and_then(Stale::read)
    }

    pub(crate) fn history_of(&self, id: &str) -> Vec<HistoryEntryOf<Accounts>> {
        let history = self.history.lock().expect("unpoisoned");
        let of = history.iter().filter(|((of, _), _)| of == id);
        of.map(|(_, line)| HistoryEntry::read(line).expect("readable"))
            .collect()
    }

    fn is_down(&self, id: &str) -> bool {
        self.down.lock().expect("unpoisoned").as_deref() == Some(id)
    }
}

/// `Condition::unchanged` of the adapter.
fn same(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let Some(read) = read else {
        return stored.is_none();
    };
    let same = |name| stored.and_then(|item| item.get(name)) == read.get(name);
    same(REVISION) && (read.contains_key(REVISION) || (same("Sequence") && same(stale::SEQUENCE)))
}

impl ReadModel for &Memory {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        if self.is_down(aggregate) {
            return Err(lost());
        }
        let views = self.views.lock().expect("unpoisoned");
        Ok(views.get(aggregate).cloned())
    }

    async fn put_history(
        &self,
        mut lines: Vec<Attributes>,
    ) -> Result<Vec<Attributes>, ServiceError> {
        assert!(lines.len() <= 25, "a call puts too many items");
        let sent: usize = lines.iter().map(request_size).sum();
        assert!(sent <= 16_000_000, "a call has {sent} bytes");
        assert!(lines.iter().all(|line| item_size(line) <= 409_600));
        let fault = self.fault();
        let unprocessed = match fault {
            Some(Fault::Lost) => return Err(lost()),
            Some(Fault::CutShort(stored)) => lines.split_off(stored.min(lines.len())),
            _ => Vec::new(),
        };
        self.puts.lock().expect("unpoisoned").push(lines.len());
        let mut history = self.history.lock().expect("unpoisoned");
        for line in lines {
            let read: HistoryEntryOf<Accounts> = HistoryEntry::read(&line).expect("a line");
            history.insert((read.id.to_string(), read.sequence.get()), line);
        }
        match fault {
            Some(Fault::Ambiguous | Fault::Overtaken(_) | Fault::Rebuilt) => Err(lost()),
            _ => Ok(unprocessed),
        }
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        let Attribute::Text(id) = item["Id"].clone() else {
            panic!("an id is a text");
        };
        assert!(item_size(&item) <= 409_600);
        let fault = self.fault();
        let mut views = self.views.lock().expect("unpoisoned");
        match fault {
            Some(Fault::Lost) => return Err(lost()),
            Some(Fault::Overtaken(through)) => replace(&mut views, &id, through),
            Some(Fault::Rebuilt) => {
                let through = views[&id]["Sequence"].as_integer().expect("a view");
                replace(&mut views, &id, through.cast_unsigned());
            }
            Some(Fault::Ambiguous | Fault::CutShort(_)) | None => {}
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

    async fn set_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        let fault = self.fault();
        let mut views = self.views.lock().expect("unpoisoned");
        if fault == Some(Fault::Rebuilt) {
            let through = views[aggregate]["Sequence"].as_integer().expect("a view");
            replace(&mut views, aggregate, through.cast_unsigned());
        }
        if !same(views.get(aggregate), Some(read)) {
            return Ok(Saved::Moved);
        }
        let item = views.get_mut(aggregate).expect("it was read");
        item.extend(attributes);
        Ok(Saved::Stored)
    }
}

/// An item's bytes in a request.
fn request_size(item: &Attributes) -> usize {
    let item: serde_json::Map<String, serde_json::Value> = item
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Attribute::Text(text) => serde_json::json!({ "S": text }),
                Attribute::Number(number) => serde_json::json!({ "N": number }),
                other => panic!("the projector writes no {other:?}"),
            };
            (name.clone(), value)
        })
        .collect();
    let request = serde_json::json!({ "PutRequest": { "Item": item } });
    request.to_string().len() + 1
}

/// Replaces a view by the fold of its events up to `through`, as another writer does.
fn replace(views: &mut BTreeMap<String, Attributes>, id: &str, through: u64) {
    let view = fold(&events(id, 1..=through)).expect("some");
    let mut item = view.to_item().expect("encodes");
    item.insert(REVISION.to_owned(), Attribute::text("another writer's"));
    views.insert(id.to_owned(), item);
}

/// The view after these events.
pub(crate) fn fold(events: &[Envelope]) -> Option<ViewOf<Accounts>> {
    events.iter().fold(None, |view, event| {
        Some(apply::<Accounts>(view.as_ref(), event).expect("encodes").0)
    })
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

pub(crate) fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}
