//! The writer's access to the events table and the idempotency table.

use std::sync::Arc;
use std::time::Duration;

use millrace_core::ids::AggregateId;
use millrace_core::layout::SNAPSHOT_INTERVAL;
use millrace_core::{Attributes, Timestamp, Version, row};
use millrace_runtime::ServiceError;
use millrace_writer::idempotency::{EXPIRES_AT, KEY, seconds};
use millrace_writer::ports::{Append, Appended, CommittedRecord, EventStore};

use super::events::{halves, text};
use crate::faults::Fault;
use crate::sabotage::Sabotage;
use crate::service_limits;
use crate::services::Services;
use crate::upgrade::{is_previous_key, previous_append};
use crate::world::World;

/// The time for which DynamoDB honours a transaction's token after its success, in milliseconds
/// ([`ClientRequestToken`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)).
const TOKEN_HONOURED: u64 = 10 * 60 * 1_000;

/// The largest accepted difference between two writers' clocks, in milliseconds. A clock further off counts as
/// wrong.
const CLOCK_TOLERANCE: i64 = 5 * 60 * 1_000;

/// An item that a transaction writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Item {
    /// A row, by its aggregate and version in halves.
    Row(String, u64),
    /// An idempotency record, by its key.
    Record(String),
}

/// A transaction that DynamoDB remembers by its token.
#[derive(Debug)]
pub(crate) struct Transaction {
    append: Append,
    /// The time of its success, in milliseconds from the start; `None` while it is in progress.
    succeeded_at: Option<u64>,
}

impl EventStore for Services {
    async fn newest(&self, id: &AggregateId) -> Result<Vec<Attributes>, ServiceError> {
        let limit = usize::try_from(SNAPSHOT_INTERVAL).expect("small");
        self.read("Query of the newest rows", |world| {
            self.invocation.looked(self.sim.elapsed());
            let rows = world.visible_rows(id.as_str()).rev();
            rows.take(limit).map(|(_, row)| read(world, row)).collect()
        })
        .await
    }

    async fn row(
        &self,
        id: &AggregateId,
        version: Version,
    ) -> Result<Option<Attributes>, ServiceError> {
        self.read("GetItem of a row", |world| {
            self.invocation.looked(self.sim.elapsed());
            let mut rows = world.visible_rows(id.as_str());
            let row = rows.find(|(halves, _)| *halves == 2 * version.get());
            row.map(|(_, row)| read(world, row))
        })
        .await
    }

    async fn record(&self, key: &str) -> Result<Option<Attributes>, ServiceError> {
        let is_known = self.knows(key);
        self.read("GetItem of an outcome", |world| {
            let is_pending = world.is_pending(&Item::Record(key.to_owned()));
            let record = world.outcomes.get(key);
            let record = record.filter(|_| !is_pending && is_known);
            record.cloned()
        })
        .await
    }

    async fn committed_record(&self, key: &str) -> Result<CommittedRecord, ServiceError> {
        let is_known = self.knows(key);
        self.read("TransactGetItems of an outcome", |world| {
            if world.is_pending(&Item::Record(key.to_owned())) {
                return CommittedRecord::TransactionConflict;
            }
            let is_read = is_known && !world.is_sabotaged(Sabotage::RecordNotReadAgain);
            let record = world.outcomes.get(key).filter(|_| is_read);
            CommittedRecord::Read(record.cloned())
        })
        .await
    }

    async fn append(&self, append: Append) -> Result<Appended, ServiceError> {
        const ACTION: &str = "an append";
        let append = if self.is_previous {
            previous_append(&*self.sim.scenario, append)
        } else {
            append
        };
        let is_single = append.record.is_none() && append.rows.len() == 1;
        if self.strikes(Fault::TransactionConflict) {
            let answer = |_: &mut World| Appended::TransactionConflict;
            return self.read(ACTION, answer).await;
        }
        if is_single && self.strikes(Fault::ConflictAfterAppend) {
            return self.conflict_after(append).await;
        }
        if !is_single && self.strikes(Fault::TransactionInProgress) {
            return self.leave_in_progress(append).await;
        }
        // The SDK's retry of a transaction has the same token and therefore no effect. The retry of a single
        // put finds the row that the first attempt wrote.
        let is_repeated = is_single && self.strikes(Fault::CallRepeated);
        let items = items(&append);
        let invocation = Arc::clone(&self.invocation);
        let (appended, wait) = self
            .write(ACTION, move |world, now| {
                invocation.looked(now);
                let first = store(world, append.clone(), now);
                let appended = if is_repeated {
                    store(world, append, now)
                } else {
                    first
                };
                // The response to a transaction arrives after all its items have become visible.
                let visible_at = items.iter().filter_map(|item| world.pending.get(item));
                let wait = visible_at.max().map_or(0, |visible_at| visible_at - now);
                (appended, wait)
            })
            .await?;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok(appended)
    }
}

impl Services {
    /// Whether the function's version reads records of this key.
    fn knows(&self, key: &str) -> bool {
        if self.is_previous {
            return is_previous_key(key);
        }
        !is_previous_key(key) || !self.is_sabotaged(Sabotage::PreviousKeysIgnored)
    }

    /// The SDK's first attempt of a put is stored, immediately or later, and its second attempt gets a transaction
    /// conflict.
    async fn conflict_after(&self, append: Append) -> Result<Appended, ServiceError> {
        const ACTION: &str = "an append, and its retry that conflicts";
        let delay = {
            let mut world = self.sim.world();
            let is_delayed = world.rng.bool();
            is_delayed.then(|| world.rng.u64(1..20_000))
        };
        let Some(delay) = delay else {
            return self
                .write(ACTION, move |world, now| {
                    store(world, append, now);
                    Appended::TransactionConflict
                })
                .await;
        };
        let answer = |_: &mut World| Appended::TransactionConflict;
        let appended = self.read(ACTION, answer).await?;
        self.sim.land_later(delay, |world, now| {
            store(world, append, now);
        });
        Ok(appended)
    }

    /// The SDK's first attempt of a transaction is still in progress when the second arrives. The first one ends
    /// later, in some cases without any effect.
    async fn leave_in_progress(&self, append: Append) -> Result<Appended, ServiceError> {
        let begun = append.clone();
        let appended = self
            .write("an append that stays in progress", move |world, now| {
                let honoured = honoured(world, &begun, now);
                honoured.unwrap_or_else(|| {
                    let transaction = Transaction {
                        append: begun.clone(),
                        succeeded_at: None,
                    };
                    world.transactions.insert(begun.token, transaction);
                    Appended::TransactionInProgress
                })
            })
            .await;
        if !matches!(appended, Ok(Appended::Stored)) {
            let (delay, is_dropped) = {
                let mut world = self.sim.world();
                (world.rng.u64(1..20_000), world.rng.u8(0..3) == 0)
            };
            self.sim.land_later(delay, move |world, now| {
                let is_in_progress = |it: &mut Transaction| it.succeeded_at.is_none();
                if world
                    .transactions
                    .get_mut(&append.token)
                    .is_some_and(is_in_progress)
                {
                    world.transactions.remove(&append.token);
                    if !is_dropped {
                        store(world, append, now);
                    }
                }
            });
        }
        appended
    }
}

/// A row as the writer reads it.
fn read(world: &World, row: &Attributes) -> Attributes {
    let mut row = row.clone();
    if world.is_sabotaged(Sabotage::OwnCommandIdIgnored) {
        row.remove(row::COMMAND_ID);
    }
    row
}

fn item(row: &Attributes) -> Item {
    Item::Row(text(row, row::ID), halves(&text(row, row::VERSION)))
}

/// The items that an append writes.
fn items(append: &Append) -> Vec<Item> {
    let rows = append.rows.iter().map(|(_, row)| item(row));
    let record = append.record.iter();
    let record = record.map(|record| Item::Record(text(record, KEY)));
    rows.chain(record).collect()
}

/// The result of a repeated transaction according to its token; `None` if the token is unknown or expired.
fn honoured(world: &mut World, append: &Append, now: u64) -> Option<Appended> {
    let transaction = world.transactions.get(&append.token)?;
    let is_another = transaction.append != *append;
    let answer = match transaction.succeeded_at {
        None => Appended::TransactionInProgress,
        Some(at) if now <= at + TOKEN_HONOURED => Appended::Stored,
        Some(_) => return None,
    };
    if is_another {
        world.violated("W", format!("IdempotentParameterMismatch: {append:?}"));
    }
    Some(answer)
}

/// Stores the whole append or nothing. If several conditions fail, the result is that of the key's record.
fn store(world: &mut World, append: Append, now: u64) -> Appended {
    let is_single = append.record.is_none() && append.rows.len() == 1;
    if !is_single && let Some(answer) = honoured(world, &append, now) {
        return answer;
    }
    let Append {
        token,
        mut rows,
        mut record,
        now: time,
    } = append.clone();
    if world.is_sabotaged(Sabotage::OutcomeForgotten) {
        record = None;
    }
    if world.is_sabotaged(Sabotage::TraceForgotten) {
        for (_, row) in &mut rows {
            row.remove("TraceParent");
        }
    }
    if let Err(what) = service_limits::append(&append) {
        world.violated("W", what);
        return Appended::TooLarge;
    }
    let items = items(&append);
    if items.iter().any(|item| world.is_pending(item)) {
        return Appended::TransactionConflict;
    }
    if let Some(record) = &record
        && let Some(there) = world.outcomes.get(&text(record, KEY))
        && there[EXPIRES_AT].as_integer() > Some(seconds(time))
    {
        return Appended::KeyTaken;
    }
    let taken = rows.iter().find_map(|(_, row)| {
        let there = world
            .events
            .get(&text(row, row::ID), &text(row, row::VERSION))?;
        let by = text(there, row::COMMAND_ID);
        Some((!by.is_empty()).then_some(by))
    });
    if let Some(by) = taken
        && !world.is_sabotaged(Sabotage::RowConditionForgotten)
    {
        return Appended::VersionConflict { by };
    }
    for (_, row) in &rows {
        // The writer doesn't follow the time of an event that is further ahead than this.
        let stamped = Timestamp::parse(&text(row, "Timestamp"));
        let stamped = stamped.map_or(i64::MAX, Timestamp::unix_millis);
        if stamped > time.unix_millis() + CLOCK_TOLERANCE {
            let what = format!("the time of {row:?} is far from its writer's, {time}");
            world.violated("W", what);
        }
        let of = text(row, "CorrelationId");
        world.committed.entry(of).or_insert(now);
    }
    if !is_single {
        let succeeded_at = Some(now);
        let transaction = Transaction {
            append,
            succeeded_at,
        };
        world.transactions.insert(token, transaction);
        if world.strikes(Fault::TransactionSpread, now) {
            for item in items {
                let visible_at = now + world.rng.u64(0..300);
                world.pending.insert(item, visible_at);
            }
        }
    }
    // A transaction's items arrive on the stream in any order, but not before they are visible.
    world.rng.shuffle(&mut rows);
    for (_, row) in rows {
        let visible_at = world.pending.get(&item(&row)).copied();
        world.put_row(row, visible_at.unwrap_or(now));
    }
    if let Some(record) = record {
        world.outcomes.insert(text(&record, KEY), record);
    }
    Appended::Stored
}
