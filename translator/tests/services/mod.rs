//! The translator's services in memory, failing on command.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use millrace_domain::{
    AggregateId, Attribute, Attributes, Envelope, Event, History, RowError, Settings, Timestamp,
    Trace, Version, row,
};
use millrace_runtime::{Ambient, Budget, ServiceError};
use millrace_translator::batch::{Outcome, Translator};
use millrace_translator::cursor::{Block, Cursor, CursorStore, Loaded, MAX_LOADED};
use millrace_translator::news::Inserted;
use millrace_translator::publish::{Publisher, PutError, Record, Rejected};
use millrace_translator::rows::{EventRows, Page};

/// What happens to a call of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The call fails and has no effect.
    Lost,
    /// The call fails after it took effect.
    Ambiguous,
    /// A put stores every record but those at odd places.
    HalfStored,
}

#[derive(Default)]
pub struct World {
    /// The events table: by aggregate and version as stored.
    pub table: BTreeMap<String, BTreeMap<u64, Attributes>>,
    /// Rows whose version is no whole number.
    pub odd_rows: HashMap<(String, String), Attributes>,
    pub cursors: HashMap<String, Result<Cursor, RowError>>,
    /// A cursor that someone else saves just before the next one is.
    pub overtaken: Option<Cursor>,
    pub marks: HashMap<String, Block>,
    pub stream: Vec<Record>,
    /// How the next calls go, in order; then all go well.
    pub faults: VecDeque<Fault>,
    pub puts: Vec<usize>,
    pub page_rows: usize,
    /// Aggregates whose records Kinesis never stores.
    pub throttled: Vec<String>,
    /// Aggregates for whose records Kinesis refuses the whole put.
    pub refused: Vec<String>,
    /// How many cursors a load processes at most.
    pub loaded_per_call: usize,
    pub loads: usize,
    /// How many event rows pages have returned.
    pub paged: usize,
    /// How many events that came in pages were at most not on the stream yet when a put was made.
    pub most_held: usize,
}

pub struct Services(Mutex<World>);

pub(crate) struct Still;

impl Ambient for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000).expect("valid")
    }
    fn unique_id(&self) -> String {
        "id".into()
    }
    fn fraction(&self) -> f64 {
        0.5
    }
}

pub(crate) fn settings() -> Settings {
    Settings::read(|_| Some("EUR".to_owned())).expect("valid")
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

fn error() -> ServiceError {
    ServiceError::new("a simulated call", "a simulated fault")
}

impl Services {
    pub fn new() -> Self {
        Self(Mutex::new(World {
            page_rows: 3,
            loaded_per_call: usize::MAX,
            ..World::default()
        }))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("no test panics while it holds the world")
    }

    fn fault(&self) -> Fault {
        self.world().faults.pop_front().unwrap_or(Fault::None)
    }

    /// Appends events to an aggregate as a writer does. Answers with the inserted rows.
    pub fn append(&self, aggregate: &str, events: &[Event]) -> Vec<Attributes> {
        let mut world = self.world();
        let rows = world.table.entry(aggregate.to_owned()).or_default();
        let newest: Vec<Attributes> = rows.values().rev().cloned().collect();
        let id = AggregateId::new(aggregate).expect("valid");
        let history = History::load(id, &newest, &settings()).expect("a readable history");
        let mut inserted = Vec::new();
        for (version, row) in history.append(events, Still.now(), &Trace::default()).1 {
            rows.insert(version.get(), row.clone());
            inserted.push(row);
        }
        inserted
    }

    /// Appends one event right at this version, whatever stands before it.
    pub fn append_without_loading(&self, aggregate: &str, version: u64) -> Vec<Attributes> {
        let mut world = self.world();
        let rows = world.table.get_mut(aggregate).expect("an aggregate");
        let mut row = rows[&(version - 1)].clone();
        let version = Version::new(version).expect("valid");
        row.insert("Version".into(), Attribute::number(version.get()));
        row.insert(
            "Sequence".into(),
            Attribute::number(version.sequence().get()),
        );
        rows.insert(version.get(), row.clone());
        vec![row]
    }

    pub async fn translate(&self, rows: &[Attributes]) -> Outcome {
        self.translate_within(rows, Duration::from_secs(50)).await
    }

    pub async fn translate_within(&self, rows: &[Attributes], time: Duration) -> Outcome {
        let inserted = rows
            .iter()
            .enumerate()
            .map(|(position, image)| Inserted {
                position,
                aggregate: text(image, row::ID),
                image: image.clone(),
            })
            .collect();
        let translator = Translator {
            rows: self,
            cursors: self,
            publisher: self,
            ambient: Still,
            settings: settings(),
        };
        translator.translate(inserted, Budget::lasting(time)).await
    }

    /// The aggregate's sequences on the stream, in order, repeats included.
    pub fn sequences(&self, aggregate: &str) -> Vec<u64> {
        self.world()
            .stream
            .iter()
            .filter(|record| record.partition_key == aggregate)
            .map(|record| {
                Envelope::parse(&record.data)
                    .expect("an event")
                    .sequence
                    .get()
            })
            .collect()
    }

    /// The first occurrence of each event of the aggregate.
    pub fn first_occurrences(&self, aggregate: &str) -> Vec<u64> {
        let mut seen = Vec::new();
        for sequence in self.sequences(aggregate) {
            if !seen.contains(&sequence) {
                seen.push(sequence);
            }
        }
        seen
    }

    pub fn cursor(&self, aggregate: &str) -> Cursor {
        match self.world().cursors.get(aggregate) {
            None => Cursor::default(),
            Some(cursor) => cursor.clone().expect("a readable cursor"),
        }
    }
}

pub(crate) fn text(row: &Attributes, name: &str) -> String {
    match row.get(name) {
        Some(Attribute::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

/// A number as DynamoDB compares it: its whole part, and the digits after the point.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Number(u64, String);

impl Number {
    fn read(text: &str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Self(whole.parse().expect("a number"), fraction.to_owned())
    }
}

impl EventRows for &Services {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
    ) -> Result<Page, ServiceError> {
        if self.fault() != Fault::None {
            return Err(error());
        }
        let mut world = self.world();
        let whole = world.table.get(aggregate).into_iter().flatten();
        let whole = whole.map(|(version, row)| (version.to_string(), row));
        let odd = world.odd_rows.iter().filter(|((id, _), _)| id == aggregate);
        let odd = odd.map(|((_, version), row)| (version.clone(), row));
        let mut rows: BTreeMap<Number, Attributes> = whole
            .chain(odd)
            .map(|(version, row)| (Number::read(&version), row.clone()))
            .collect();
        let number = |version: Version| Number::read(&version.to_string());
        rows.retain(|version, _| {
            after.is_none_or(|after| *version > number(after))
                && before.is_none_or(|before| *version < number(before))
        });
        let mut rows: Vec<Attributes> = rows.into_values().collect();
        let more = rows.len() > world.page_rows;
        rows.truncate(world.page_rows);
        let snapshots = rows.iter().filter(|row| row::is_plainly_a_snapshot(row));
        world.paged += rows.len() - snapshots.count();
        Ok(Page { rows, more })
    }

    async fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> Result<Option<Attributes>, ServiceError> {
        if self.fault() != Fault::None {
            return Err(error());
        }
        let world = self.world();
        Ok(match version.parse::<u64>() {
            Ok(version) => world
                .table
                .get(aggregate)
                .and_then(|rows| rows.get(&version))
                .cloned(),
            Err(_) => world
                .odd_rows
                .get(&(aggregate.to_owned(), version.to_owned()))
                .cloned(),
        })
    }
}

impl CursorStore for &Services {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        assert!(aggregates.len() <= MAX_LOADED, "a call asks for too many");
        if self.fault() != Fault::None {
            return Err(error());
        }
        let mut world = self.world();
        let processed = world.loaded_per_call.min(aggregates.len());
        let (processed, unprocessed) = aggregates.split_at(processed);
        world.loads += 1;
        Ok(Loaded {
            found: processed
                .iter()
                .filter_map(|id| Some(((*id).to_owned(), world.cursors.get(*id)?.clone())))
                .collect(),
            unprocessed: unprocessed.iter().map(|&id| id.to_owned()).collect(),
        })
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: Option<&Block>,
    ) -> Result<(), ServiceError> {
        let fault = self.fault();
        if fault == Fault::Lost {
            return Err(error());
        }
        let mut world = self.world();
        let acknowledged = world
            .stream
            .iter()
            .filter(|record| record.partition_key == aggregate)
            .map(|record| Envelope::parse(&record.data).expect("an event").sequence)
            .max()
            .unwrap_or_default();
        if let Some(overtake) = world.overtaken.take() {
            world.cursors.insert(aggregate.to_owned(), Ok(overtake));
        }
        let stored = match world.cursors.get(aggregate) {
            Some(Ok(cursor)) => cursor.clone(),
            _ => Cursor::default(),
        };
        let is_as_far = stored.published_through >= cursor.published_through;
        let is_ahead = cursor.blocked.as_ref().is_some_and(Block::is_cursor_ahead);
        let may_be_saved = if is_ahead {
            stored.published_through == cursor.published_through
        } else {
            stored.published_through <= cursor.published_through
        };
        if may_be_saved && stored.blocked.as_ref() == read {
            assert!(
                cursor.published_through <= acknowledged.max(stored.published_through),
                "the cursor passes what Kinesis has acknowledged"
            );
            world
                .cursors
                .insert(aggregate.to_owned(), Ok(cursor.clone()));
        } else if cursor.blocked.is_some() || !is_as_far {
            return Err(error());
        }
        if fault == Fault::None {
            Ok(())
        } else {
            Err(error())
        }
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        if self.fault() != Fault::None {
            return Err(error());
        }
        self.world()
            .marks
            .insert(aggregate.to_owned(), block.clone());
        Ok(())
    }
}

impl Publisher for &Services {
    async fn put(&self, records: &[Record]) -> Result<Vec<Result<(), Rejected>>, PutError> {
        let mut keys: Vec<&str> = records.iter().map(|r| r.partition_key.as_str()).collect();
        keys.sort_unstable();
        assert!(
            keys.windows(2).all(|pair| pair[0] != pair[1]),
            "a put carries two events of one"
        );
        let fault = self.fault();
        if fault == Fault::Lost {
            return Err(error().into());
        }
        let mut world = self.world();
        world.puts.push(records.len());
        let held = world.paged.saturating_sub(world.stream.len());
        world.most_held = world.most_held.max(held);
        if keys
            .iter()
            .any(|key| world.refused.iter().any(|id| id == key))
        {
            return Err(PutError::Refused {
                code: "InvalidArgumentException".into(),
            });
        }
        let throttled = world.throttled.clone();
        let mut answer = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let rejected = throttled.contains(&record.partition_key)
                || (fault == Fault::HalfStored && index % 2 == 1);
            if rejected {
                answer.push(Err(Rejected {
                    code: "ProvisionedThroughputExceededException".into(),
                }));
            } else {
                world.stream.push(record.clone());
                answer.push(Ok(()));
            }
        }
        if fault == Fault::Ambiguous {
            Err(error().into())
        } else {
            Ok(answer)
        }
    }
}
