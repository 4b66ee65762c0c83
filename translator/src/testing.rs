//! The translator's services in memory, with fault injection (feature `testing`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use millrace_core::{
    Aggregate, AggregateId, Attribute, Attributes, Columns, DecodeError, Domain, Envelope,
    Metadata, Sequence, Version, row,
};
use millrace_runtime::batch_put::{RecordOutcome, Rejected};
use millrace_runtime::testing::TestAmbient;
use millrace_runtime::{Ambient as _, Budget, ServiceError};

use crate::cursor::{Block, Cursor};
use crate::notification::{ChangeNotifications, InsertedRow};
use crate::ports::{
    Advance, CursorStore, EventRows, Loaded, MAX_ADVANCED, MAX_LOADED, MAX_PAGE_ROWS, Page,
    Publisher, PutError, Record, Saved,
};
use crate::service::{Outcome, PendingOutcome, Translator};

/// What happens to a call of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it succeeds.
    None,
    /// The call fails and has no effect.
    Lost,
    /// The call fails after it took effect.
    Ambiguous,
    /// A call with several records or cursors stores all but those at odd positions.
    HalfStored,
}

/// What the services contain, and how they fail.
#[derive(Debug, Default)]
pub struct World {
    /// The events table: by aggregate and version.
    pub table: BTreeMap<String, BTreeMap<u64, Attributes>>,
    /// Rows whose version is no integer.
    pub odd_rows: HashMap<(String, String), Attributes>,
    /// The cursor table.
    pub cursors: HashMap<String, Result<Cursor, DecodeError>>,
    /// A cursor that another writer saves just before the next one is.
    pub overtaken: Option<Cursor>,
    /// Blocks that were recorded in unreadable cursors.
    pub marks: HashMap<String, Block>,
    /// The domain stream.
    pub stream: Vec<Record>,
    /// The faults of the next calls, in order; later calls succeed.
    pub faults: VecDeque<Fault>,
    /// How many records each put had.
    pub puts: Vec<usize>,
    /// How many cursors each call that saves several had.
    pub advances: Vec<usize>,
    /// How many rows a page has at most.
    pub page_rows: usize,
    /// Aggregates whose records Kinesis never stores.
    pub throttled: Vec<String>,
    /// Aggregates for whose records Kinesis refuses the whole put.
    pub refused: Vec<String>,
    /// Aggregates whose rows can't be read.
    pub unavailable_rows: Vec<String>,
    /// Aggregates whose cursors can't be loaded, nor any that are loaded in the same call.
    pub unavailable_cursors: Vec<String>,
    /// Aggregates whose cursors can't be saved.
    pub unsaved_cursors: Vec<String>,
    /// Aggregates whose rows the table refuses to read, for good.
    pub refused_rows: Vec<String>,
    /// Aggregates whose cursors the table refuses to save, for good.
    pub refused_cursors: Vec<String>,
    /// How long each put takes.
    pub put_time: Duration,
    /// How long a put takes that contains a record of one of these aggregates.
    pub slow: BTreeMap<String, Duration>,
    /// The aggregates with a record in a put in flight.
    in_flight: BTreeSet<String>,
    /// How many puts were in flight at the same time at most.
    pub most_puts: usize,
    /// How many puts are in flight.
    puts_in_flight: usize,
    /// How many cursors a load processes at most.
    pub loaded_per_call: usize,
    /// How often cursors were loaded.
    pub loads: usize,
    /// The highest sequence of each aggregate that pages have returned.
    pub paged: HashMap<String, u64>,
    /// How many events that came in pages were at most not on the stream yet when a put was made.
    pub most_held: usize,
}

/// The events table, the cursor table and the domain stream of a domain.
#[derive(Debug)]
pub struct TestServices<D> {
    domain: D,
    world: Mutex<World>,
}

fn error() -> ServiceError {
    ServiceError::new("a simulated call", "a simulated fault")
}

fn refusal() -> ServiceError {
    ServiceError::permanent("a simulated call", "ValidationException")
}

impl World {
    fn check_rows(&self, aggregate: &str) -> Result<(), ServiceError> {
        let is_in = |ids: &[String]| ids.iter().any(|id| id == aggregate);
        if is_in(&self.unavailable_rows) {
            return Err(error());
        }
        if is_in(&self.refused_rows) {
            return Err(refusal());
        }
        Ok(())
    }

    /// Stores a cursor that only advances. Returns whether it is stored.
    fn advance<D: Domain>(&mut self, advance: &Advance<'_>) -> bool {
        let Advance {
            aggregate,
            cursor,
            read,
        } = *advance;
        assert!(cursor.only_advances(read), "a cursor has to be saved alone");
        let mut unsaved = self.unsaved_cursors.iter().chain(&self.refused_cursors);
        if unsaved.any(|id| id == aggregate) {
            return false;
        }
        if let Some(overtake) = self.overtaken.take() {
            self.cursors.insert(aggregate.to_owned(), Ok(overtake));
        }
        let stored = match self.cursors.get(aggregate) {
            Some(Ok(stored)) if !advance.is_new() => stored.clone(),
            None if advance.is_new() => Cursor::default(),
            Some(_) | None => return false,
        };
        if stored.suspended.is_some() || stored.published_through > cursor.published_through {
            return false;
        }
        self.check_acknowledged::<D>(aggregate, &stored, cursor);
        let cursor = cursor.clone();
        self.cursors.insert(aggregate.to_owned(), Ok(cursor));
        true
    }

    fn check_acknowledged<D: Domain>(&self, aggregate: &str, stored: &Cursor, cursor: &Cursor) {
        if cursor.published_through > stored.published_through {
            let published = self.stream.iter().rev();
            let mut own = published.filter(|record| record.partition_key == aggregate);
            assert!(
                own.any(|it| sequence::<D>(it) >= cursor.published_through),
                "the cursor passes what Kinesis has acknowledged"
            );
        }
    }
}

fn sequence<D: Domain>(record: &Record) -> Sequence {
    let envelope = Envelope::parse::<D>(&record.data);
    envelope.expect("an event").sequence
}

impl<D: Domain + Clone> TestServices<D> {
    /// Empty services without faults.
    pub fn new(domain: D) -> Self {
        Self {
            domain,
            world: Mutex::new(World {
                page_rows: 3,
                loaded_per_call: usize::MAX,
                ..World::default()
            }),
        }
    }

    /// What the services contain.
    ///
    /// # Panics
    /// If a test panicked while it had it.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .expect("no test panics while it holds the world")
    }

    fn fault(&self) -> Fault {
        self.world().faults.pop_front().unwrap_or(Fault::None)
    }

    /// Appends events to an aggregate as a writer does, and returns the inserted rows.
    ///
    /// # Panics
    /// If the rows can't be loaded or continued.
    pub fn append(&self, aggregate: &str, events: &[D::Event]) -> Vec<Attributes> {
        let mut world = self.world();
        let rows = world.table.entry(aggregate.to_owned()).or_default();
        let newest: Vec<Attributes> = rows.values().rev().cloned().collect();
        let id = AggregateId::new(aggregate).expect("valid");
        let loaded = Aggregate::load(&self.domain, id, &newest).expect("readable rows");
        let now = TestAmbient::default().now();
        let appended = loaded.append(events, now, &Metadata::default());
        let mut inserted = Vec::new();
        for (version, row) in appended.expect("events that continue it").1 {
            rows.insert(version.get(), row.clone());
            inserted.push(row);
        }
        inserted
    }

    /// Appends a copy of the row before as an event of this version.
    ///
    /// # Panics
    /// If there is no such row.
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

    /// Publishes all pending events of these aggregates before a deadline.
    pub async fn publish_pending(
        &self,
        aggregates: &[&str],
        time: Duration,
    ) -> BTreeMap<String, PendingOutcome> {
        let aggregates = aggregates.iter().map(|&id| id.to_owned()).collect();
        let budget = Budget::lasting(time);
        self.translator().publish_pending(aggregates, budget).await
    }

    fn translator(&self) -> Translator<D, &Self, &Self, &Self, TestAmbient> {
        Translator {
            domain: self.domain.clone(),
            rows: self,
            cursors: self,
            publisher: self,
            ambient: TestAmbient::default(),
        }
    }

    /// Translates notifications of these rows.
    pub async fn translate(&self, rows: &[Attributes]) -> Outcome {
        self.translate_within(rows, Duration::from_secs(50)).await
    }

    /// Translates notifications of these rows before a deadline.
    ///
    /// # Panics
    /// If a row's `Id` is no string.
    pub async fn translate_within(&self, rows: &[Attributes], time: Duration) -> Outcome {
        let translator = self.translator();
        let notifications = notifications(&translator.domain, rows);
        let budget = Budget::lasting(time);
        translator.translate(notifications, budget).await
    }

    /// The aggregate's sequences on the stream, in order, duplicates included.
    ///
    /// # Panics
    /// If a record is no event.
    pub fn sequences(&self, aggregate: &str) -> Vec<u64> {
        self.world()
            .stream
            .iter()
            .filter(|record| record.partition_key == aggregate)
            .map(|record| sequence::<D>(record).get())
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

    /// The aggregate's cursor.
    ///
    /// # Panics
    /// If it is unreadable.
    pub fn cursor(&self, aggregate: &str) -> Cursor {
        match self.world().cursors.get(aggregate) {
            None => Cursor::default(),
            Some(cursor) => cursor.clone().expect("a readable cursor"),
        }
    }
}

/// Notifications of these rows, at their positions.
///
/// # Panics
/// If a row's `Id` is no string.
pub fn notifications<'a, D: Domain>(
    domain: &D,
    rows: &'a [Attributes],
) -> ChangeNotifications<'a, D> {
    let mut notifications = ChangeNotifications::default();
    for (position, row) in rows.iter().enumerate() {
        let inserted = InsertedRow {
            position,
            aggregate: text(row, row::ID).into(),
            columns: &mut Columns::from(row),
        };
        notifications.add(domain, inserted);
    }
    notifications
}

fn text(row: &Attributes, name: &str) -> String {
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

impl<D: Domain + Clone> EventRows for &TestServices<D> {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        assert!(
            (1..=MAX_PAGE_ROWS).contains(&limit),
            "a page of {limit} rows"
        );
        if self.fault() != Fault::None {
            return Err(error());
        }
        let mut world = self.world();
        world.check_rows(aggregate)?;
        let limit = limit.min(world.page_rows);
        let range = after.map_or(0, |after| after.get() + 1)..before.map_or(u64::MAX, Version::get);
        let rows = world.table.get(aggregate).into_iter();
        let whole = rows.flat_map(|rows| rows.range(range.clone()).take(limit + 1));
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
        let more = rows.len() > limit;
        rows.truncate(limit);
        if let Some(last) = rows.iter().filter_map(|row| row::version(row).ok()).max() {
            let paged = world.paged.entry(aggregate.to_owned()).or_default();
            *paged = (*paged).max(last.sequence().get());
        }
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
        world.check_rows(aggregate)?;
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

impl<D: Domain + Clone> CursorStore for &TestServices<D> {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        assert!(aggregates.len() <= MAX_LOADED, "a call asks for too many");
        if self.fault() != Fault::None {
            return Err(error());
        }
        let mut world = self.world();
        let is_unavailable = |id: &&str| world.unavailable_cursors.iter().any(|it| it == id);
        if aggregates.iter().any(is_unavailable) {
            return Err(error());
        }
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
        read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        let fault = self.fault();
        if fault == Fault::Lost {
            return Err(error());
        }
        let mut world = self.world();
        let is_in = |ids: &[String]| ids.iter().any(|id| id == aggregate);
        if is_in(&world.unsaved_cursors) {
            return Err(error());
        }
        if is_in(&world.refused_cursors) {
            return Err(refusal());
        }
        if let Some(overtake) = world.overtaken.take() {
            world.cursors.insert(aggregate.to_owned(), Ok(overtake));
        }
        let stored = match world.cursors.get(aggregate) {
            Some(Ok(cursor)) => cursor.clone(),
            _ => Cursor::default(),
        };
        let is_as_far = stored.published_through >= cursor.published_through;
        let is_ahead = cursor.blocked().is_some_and(Block::is_cursor_ahead);
        // The marker stays as it is stored: another invocation may have raised it.
        let keeps_parked = cursor.parked().is_some() && cursor.suspended == read.suspended;
        let has_marker = if keeps_parked {
            stored.parked().is_some()
        } else {
            stored.suspended == read.suspended
        };
        let may_be_saved = if is_ahead {
            stored.published_through == cursor.published_through
        } else {
            stored.published_through <= cursor.published_through
        };
        if may_be_saved && has_marker {
            world.check_acknowledged::<D>(aggregate, &stored, cursor);
            let mut saved = cursor.clone();
            if keeps_parked {
                saved.suspended = stored.suspended;
            }
            world.cursors.insert(aggregate.to_owned(), Ok(saved));
        } else if cursor.suspended.is_some() || !is_as_far {
            return Ok(Saved::Changed);
        }
        if fault == Fault::None {
            Ok(Saved::Stored)
        } else {
            Err(error())
        }
    }

    async fn advance(&self, advances: &[Advance<'_>]) -> Result<Vec<bool>, ServiceError> {
        assert!(advances.len() <= MAX_ADVANCED, "a call saves too many");
        let fault = self.fault();
        if fault == Fault::Lost {
            return Err(error());
        }
        let mut world = self.world();
        world.advances.push(advances.len());
        let mut stored = Vec::new();
        for (index, advance) in advances.iter().enumerate() {
            let is_lost = fault == Fault::HalfStored && index % 2 == 1;
            stored.push(!is_lost && world.advance::<D>(advance));
        }
        if fault == Fault::Ambiguous {
            Err(error())
        } else {
            Ok(stored)
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

/// A put in flight. It is dropped also when the translator waits no longer for it.
struct InFlight<'a, D: Domain + Clone> {
    services: &'a TestServices<D>,
    keys: Vec<String>,
}

impl<'a, D: Domain + Clone> InFlight<'a, D> {
    /// Checks that no other put contains a record of the same aggregate.
    fn begin(services: &'a TestServices<D>, keys: &[&str]) -> Self {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let mut world = services.world();
        let mut are_alone = true;
        for key in &keys {
            are_alone &= world.in_flight.insert(key.clone());
        }
        world.puts_in_flight += 1;
        world.most_puts = world.most_puts.max(world.puts_in_flight);
        drop(world);
        let put = Self { services, keys };
        assert!(are_alone, "two puts in flight carry events of one");
        put
    }
}

impl<D: Domain + Clone> Drop for InFlight<'_, D> {
    fn drop(&mut self) {
        let mut world = self.services.world();
        world.puts_in_flight -= 1;
        for key in &self.keys {
            world.in_flight.remove(key);
        }
    }
}

impl<D: Domain + Clone> Publisher for &TestServices<D> {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        let mut keys: Vec<&str> = records.iter().map(|r| r.partition_key.as_str()).collect();
        keys.sort_unstable();
        assert!(
            keys.windows(2).all(|pair| pair[0] != pair[1]),
            "a put carries two events of one"
        );
        let in_flight = InFlight::begin(self, &keys);
        let put_time = {
            let world = self.world();
            let slow = keys.iter().filter_map(|key| world.slow.get(*key));
            slow.copied().max().unwrap_or(world.put_time)
        };
        if !put_time.is_zero() {
            tokio::time::sleep(put_time).await;
        }
        drop(in_flight);
        let fault = self.fault();
        if fault == Fault::Lost {
            return Err(error().into());
        }
        let mut world = self.world();
        world.puts.push(records.len());
        let paged = usize::try_from(world.paged.values().sum::<u64>()).expect("it fits");
        let held = paged.saturating_sub(world.stream.len());
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
