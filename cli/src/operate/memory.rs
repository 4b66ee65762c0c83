//! In-memory implementations of the operators' ports, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use millrace_core::DecodeError;
use millrace_core::{
    Aggregate, AggregateId, Attributes, Envelope, Metadata, Sequence, Version, row,
};
use millrace_domain::money::Amount;
use millrace_domain::{Accounts, Event};
use millrace_runtime::batch_put::RecordOutcome;
use millrace_runtime::testing::TestAmbient;
use millrace_runtime::{Ambient as _, ServiceError};
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{
    CursorStore, EventRows, Loaded, Page, Publisher, PutError, Record, Saved,
};

use super::ports::{AggregateIds, CursorRepair, EventLog, IdPage, Reset, Segment, StoredCursor};
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
