//! In-memory implementations of the operators' ports, for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use millrace_core::DecodeError;
use millrace_core::{
    Aggregate, AggregateId, Attributes, Envelope, Metadata, Sequence, Version, row,
};
use millrace_domain::money::Amount;
use millrace_domain::{Accounts, Event};
use millrace_projector::ports::{ReadModel, Saved as SavedView, ViewSave, Views};
use millrace_projector::testing::{Items, history_key};
use millrace_runtime::batch_put::RecordOutcome;
use millrace_runtime::testing::TestAmbient;
use millrace_runtime::{Ambient as _, ServiceError};
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{
    CursorStore, EventRows, Loaded, Page, Publisher, PutError, Record, Saved,
};

use super::days::{Day, Days};
use super::ports::{
    AggregateIds, CursorRepair, EventLog, HistoryPage, IdPage, Lake, LakeRecord, Pages, QueryError,
    ReadModelRepair, Reset, Run, Segment, StoredCursor,
};
use super::publish::Publication;

/// The simulated latency of each put.
const PUT: Duration = Duration::from_millis(50);
const PAGE_ROWS: usize = 500;

type Item = Result<Cursor, DecodeError>;

#[derive(Default)]
pub(super) struct World {
    pub(super) rows: BTreeMap<String, BTreeMap<u64, Attributes>>,
    pub(super) cursors: BTreeMap<String, Item>,
    pub(super) stream: Vec<Record>,
    /// Aggregates whose rows can't be read.
    pub(super) unavailable: BTreeSet<String>,
    /// The number of puts after which the stream fails; `None` if it never does.
    pub(super) puts_left: Option<usize>,
    /// The number of next loads of cursors that leave all keys unprocessed.
    pub(super) unprocessed: usize,
    /// The cursor that another writer saves just before the next reset.
    pub(super) saved_before_reset: Option<(String, Cursor)>,
}

#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<World>>);

/// A list of aggregate ids, read in pages.
pub(super) struct Ids(pub(super) Vec<String>);

/// The clock of all tests.
pub(super) static AMBIENT: LazyLock<TestAmbient> = LazyLock::new(TestAmbient::default);

pub(super) fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

pub(super) fn at(sequence: u64) -> Cursor {
    Cursor {
        published_through: Sequence::new(sequence).expect("valid"),
        ..Cursor::default()
    }
}

fn unavailable() -> ServiceError {
    ServiceError::new("a call in memory", "it is unavailable")
}

impl Memory {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("no test panics while it has locked the world")
    }

    pub(super) fn publication(
        &self,
    ) -> Publication<Accounts, Self, Self, Self, &'static TestAmbient> {
        Publication {
            events: self.clone(),
            cursors: self.clone(),
            publisher: self.clone(),
            ambient: &AMBIENT,
            domain: accounts(),
        }
    }

    /// An aggregate with this many events, published through the sequence `published`.
    pub(super) fn add(&self, aggregate: &str, events: usize, published: u64) {
        let created = Event::AccountCreated {
            currency: accounts().default_currency,
        };
        let credited = Event::BalanceCredited {
            amount: Amount::new(5).expect("valid"),
        };
        let events: Vec<Event> = std::iter::once(created)
            .chain(std::iter::repeat_n(credited, events - 1))
            .collect();
        let opened = Aggregate::<Accounts>::new(AggregateId::new(aggregate).expect("valid"));
        let appended = opened.append(&events, AMBIENT.now(), &Metadata::default());
        let rows = appended.expect("events that continue it").1;
        let rows = rows.into_iter().map(|(version, row)| (version.get(), row));
        let mut world = self.world();
        world.rows.insert(aggregate.to_owned(), rows.collect());
        if published > 0 {
            world
                .cursors
                .insert(aggregate.to_owned(), Ok(at(published)));
        }
    }

    pub(super) fn ids(&self) -> Ids {
        Ids(self.world().rows.keys().cloned().collect())
    }

    pub(super) fn published_through(&self, aggregate: &str) -> u64 {
        match self.world().cursors.get(aggregate) {
            None => 0,
            Some(cursor) => cursor.as_ref().expect("readable").published_through.get(),
        }
    }

    /// The aggregate's sequences on the stream, in order, duplicates included.
    pub(super) fn stream(&self, aggregate: &str) -> Vec<u64> {
        let world = self.world();
        let records = world.stream.iter();
        records
            .filter(|record| record.partition_key == aggregate)
            .map(|record| {
                Envelope::parse::<Accounts>(&record.data)
                    .expect("an event")
                    .sequence
            })
            .map(Sequence::get)
            .collect()
    }

    fn rows(&self, aggregate: &str) -> Result<BTreeMap<u64, Attributes>, ServiceError> {
        let world = self.world();
        if world.unavailable.contains(aggregate) {
            return Err(unavailable());
        }
        Ok(world.rows.get(aggregate).cloned().unwrap_or_default())
    }
}

impl AggregateIds for Ids {
    /// Two ids a page, and a page without ids at the end.
    async fn ids_page(
        &self,
        segment: Segment,
        after: Option<&Attributes>,
    ) -> Result<IdPage, ServiceError> {
        let begin = after.map_or(0, Attributes::len) * 2;
        let ids: Vec<&String> = self
            .0
            .iter()
            .skip(usize::try_from(segment.index).expect("small"))
            .step_by(usize::try_from(segment.count).expect("small"))
            .collect();
        let page: Vec<String> = ids
            .iter()
            .skip(begin)
            .take(2)
            .map(|&id| id.clone())
            .collect();
        // The key has as many attributes as pages were read.
        let mut last = after.cloned().unwrap_or_default();
        last.insert(begin.to_string(), millrace_core::Attribute::number(1));
        Ok(IdPage {
            last: (!page.is_empty()).then_some(last),
            ids: page,
        })
    }
}

impl EventRows for Memory {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        let world = self.world();
        if world.unavailable.contains(aggregate) {
            return Err(unavailable());
        }
        let Some(rows) = world.rows.get(aggregate) else {
            return Ok(Page::default());
        };
        let mut rows =
            rows.range(after.map_or(0, Version::get) + 1..before.map_or(u64::MAX, Version::get));
        let page = rows.by_ref().take(PAGE_ROWS.min(limit));
        Ok(Page {
            rows: page.map(|(_, row)| row.clone()).collect(),
            more: rows.next().is_some(),
        })
    }

    async fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> Result<Option<Attributes>, ServiceError> {
        let version = version.parse().expect("an integer");
        Ok(self.rows(aggregate)?.remove(&version))
    }
}

impl EventLog for Memory {
    async fn newest_event_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let mut rows = self.rows(aggregate)?.into_values().rev();
        Ok(rows.find(|row| !row::is_plainly_a_snapshot(row)))
    }
}

/// Read models in memory.
#[derive(Clone, Default)]
pub(super) struct ModelInMemory(Arc<Mutex<Items>>);

impl ModelInMemory {
    pub(super) fn items(&self) -> MutexGuard<'_, Items> {
        self.0
            .lock()
            .expect("no test panics while it has locked the items")
    }
}

impl ReadModel for ModelInMemory {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        Ok(self.items().views.get(aggregate).cloned())
    }

    async fn read_views(&self, _: &[&str]) -> Result<Views, ServiceError> {
        unreachable!("the operators' commands read one view")
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        self.items().put_history(items);
        Ok(Vec::new())
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<SavedView, ServiceError> {
        Ok(self.items().save_view(item, read))
    }

    async fn save_views(&self, _: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        unreachable!("the operators' commands save one view")
    }

    async fn set_stale(
        &self,
        _: &str,
        _: Attributes,
        _: &Attributes,
    ) -> Result<SavedView, ServiceError> {
        unreachable!("the operators' commands replace views")
    }
}

impl ReadModelRepair for ModelInMemory {
    async fn history_page(
        &self,
        aggregate: &str,
        after: Option<&Attributes>,
    ) -> Result<HistoryPage, ServiceError> {
        let items = self.items();
        let after = after.map(history_key);
        let mut items = items
            .history_of(aggregate)
            .filter(|item| Some(history_key(item)) > after)
            .cloned();
        let page: Vec<_> = items.by_ref().take(2).collect();
        Ok(HistoryPage {
            last: items.next().and_then(|_| page.last().cloned()),
            items: page,
        })
    }

    async fn delete_view(
        &self,
        aggregate: &str,
        read: &Attributes,
    ) -> Result<SavedView, ServiceError> {
        let mut items = self.items();
        if !items.is_unchanged(aggregate, Some(read)) {
            return Ok(SavedView::Moved);
        }
        items.views.remove(aggregate);
        Ok(SavedView::Stored)
    }

    async fn delete_history(
        &self,
        read: &Attributes,
        _: &[&str],
    ) -> Result<SavedView, ServiceError> {
        self.items().history.remove(&history_key(read));
        Ok(SavedView::Stored)
    }
}

impl CursorStore for Memory {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        let mut world = self.world();
        if let Some(left) = world.unprocessed.checked_sub(1) {
            world.unprocessed = left;
            return Ok(Loaded {
                unprocessed: aggregates.iter().map(|&id| id.to_owned()).collect(),
                ..Loaded::default()
            });
        }
        Ok(Loaded {
            found: aggregates
                .iter()
                .filter_map(|&id| Some((id.to_owned(), world.cursors.get(id)?.clone())))
                .collect(),
            unprocessed: Vec::new(),
        })
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        _read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        let mut world = self.world();
        if let Some(Ok(stored)) = world.cursors.get(aggregate) {
            assert!(
                stored.published_through <= cursor.published_through,
                "a stored cursor never goes back"
            );
        }
        world
            .cursors
            .insert(aggregate.to_owned(), Ok(cursor.clone()));
        Ok(Saved::Stored)
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        let marked = Cursor {
            suspended: Some(Suspension::Blocked(block.clone())),
            ..Cursor::default()
        };
        let mut world = self.world();
        world.cursors.insert(aggregate.to_owned(), Ok(marked));
        Ok(())
    }
}

impl CursorRepair for Memory {
    type Item = Item;

    async fn stored(&self, aggregate: &str) -> Result<Option<StoredCursor<Item>>, ServiceError> {
        let cursor = self.world().cursors.get(aggregate).cloned();
        Ok(cursor.map(|cursor| StoredCursor {
            item: cursor.clone(),
            cursor,
        }))
    }

    async fn reset(
        &self,
        aggregate: &str,
        read: &Item,
        until_published: Option<&Block>,
    ) -> Result<Reset, ServiceError> {
        let mut world = self.world();
        if let Some((id, cursor)) = world.saved_before_reset.take() {
            world.cursors.insert(id, Ok(cursor));
        }
        if world.cursors.get(aggregate) != Some(read) {
            return Ok(Reset::Changed);
        }
        if let Some(block) = until_published {
            let cursor = Cursor {
                suspended: Some(Suspension::Blocked(block.clone())),
                ..Cursor::default()
            };
            world.cursors.insert(aggregate.to_owned(), Ok(cursor));
        } else {
            world.cursors.remove(aggregate);
        }
        Ok(Reset::Done)
    }
}

impl Publisher for Memory {
    async fn put(&self, records: &[Record]) -> Result<Vec<RecordOutcome>, PutError> {
        tokio::time::sleep(PUT).await;
        let mut world = self.world();
        if let Some(left) = &mut world.puts_left {
            *left = left.checked_sub(1).ok_or_else(unavailable)?;
        }
        world.stream.extend_from_slice(records);
        Ok(vec![Ok(()); records.len()])
    }
}

/// The day so many days after the lake's first one.
pub(super) fn day(after: i64) -> Day {
    (0..after).fold(Day::FIRST, |day, _| day.next())
}

/// The lake's records with their days of delivery.
#[derive(Debug, Default)]
pub(super) struct LakeInMemory {
    pub(super) records: Vec<(Day, LakeRecord)>,
    /// The number of records that one query may read.
    pub(super) limit: Option<usize>,
    /// Whether every query fails.
    pub(super) is_down: bool,
}

/// A result in pages of two, with an empty one at the end.
pub(super) struct InPages<T>(VecDeque<Vec<T>>);

impl<T: Clone + Send> Pages<T> for InPages<T> {
    async fn page(&mut self) -> Result<Option<Vec<T>>, ServiceError> {
        Ok(self.0.pop_front())
    }
}

impl<T: Clone> InPages<T> {
    pub(super) fn of(rows: &[T]) -> Self {
        let pages = rows.chunks(2).map(<[T]>::to_vec);
        Self(pages.chain([Vec::new()]).collect())
    }
}

impl LakeInMemory {
    /// Adds records of an aggregate: the day of delivery and the sequence of each.
    pub(super) fn add(&mut self, subject: &str, delivered: &[(i64, u64)]) {
        for &(on, sequence) in delivered {
            let record = LakeRecord {
                subject: subject.to_owned(),
                sequence,
                json: format!("{subject}:{sequence}"),
            };
            self.records.push((day(on), record));
        }
    }

    /// The number of records of the day with most of them.
    pub(super) fn busiest_day(&self) -> usize {
        let mut count: BTreeMap<Day, usize> = BTreeMap::new();
        for (day, _) in &self.records {
            *count.entry(*day).or_default() += 1;
        }
        count.into_values().max().unwrap_or_default()
    }

    /// The records of these days, each once and in order. The limit applies to those of all aggregates.
    fn read(
        &self,
        days: Days,
        aggregate: Option<&str>,
    ) -> Result<BTreeSet<LakeRecord>, QueryError> {
        if self.is_down {
            return Err(ServiceError::new("a query of the lake", "it is down").into());
        }
        let records = self.records.iter();
        let records = records.filter(|(day, _)| (days.first..=days.last).contains(day));
        if self
            .limit
            .is_some_and(|limit| records.clone().count() > limit)
        {
            let reason = "Bytes scanned limit was exceeded";
            return Err(QueryError::TooLarge(reason.to_owned()));
        }
        let records = records.map(|(_, record)| record.clone());
        let is_asked = |record: &LakeRecord| aggregate.is_none_or(|id| id == record.subject);
        Ok(records.filter(is_asked).collect())
    }
}

impl Lake for LakeInMemory {
    type Runs = InPages<Run>;
    type Records = InPages<LakeRecord>;

    async fn runs(&self, days: Days, aggregate: Option<&str>) -> Result<Self::Runs, QueryError> {
        let mut runs: Vec<Run> = Vec::new();
        for LakeRecord {
            subject, sequence, ..
        } in self.read(days, aggregate)?
        {
            match runs.last_mut() {
                Some(run) if run.subject == subject && run.last + 1 >= sequence => {
                    run.last = sequence;
                }
                _ => runs.push(Run {
                    subject,
                    first: sequence,
                    last: sequence,
                }),
            }
        }
        // Athena returns them in any order.
        runs.reverse();
        Ok(InPages::of(&runs))
    }

    async fn records(
        &self,
        days: Days,
        aggregate: Option<&str>,
    ) -> Result<Self::Records, QueryError> {
        let records: Vec<LakeRecord> = self.read(days, aggregate)?.into_iter().collect();
        Ok(InPages::of(&records))
    }

    async fn limit(&self) -> String {
        format!("{} records", self.limit.unwrap_or_default())
    }
}
