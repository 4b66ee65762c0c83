//! The events table and the idempotency table as the writer sees them.

use millrace_domain::ids::AggregateId;
use millrace_domain::layout::SNAPSHOT_INTERVAL;
use millrace_domain::{Attributes, Version, row};
use millrace_runtime::ServiceError;
use millrace_writer::idempotency::{EXPIRES_AT, KEY, seconds};
use millrace_writer::store::{Append, Appended, CommittedRecord, EventStore};

use super::events::text;
use crate::simulation::faults::Fault;
use crate::simulation::sabotage::Sabotage;
use crate::simulation::services::Services;
use crate::simulation::world::World;

impl EventStore for Services {
    async fn newest(&self, id: &AggregateId) -> Result<Vec<Attributes>, ServiceError> {
        let limit = usize::try_from(SNAPSHOT_INTERVAL).expect("small");
        self.read("Query of the newest rows", |world| {
            let rows = world.events.of(id.as_str()).rev();
            rows.take(limit).map(|(_, row)| row.clone()).collect()
        })
        .await
    }

    async fn row(
        &self,
        id: &AggregateId,
        version: Version,
    ) -> Result<Option<Attributes>, ServiceError> {
        self.read("GetItem of a row", |world| {
            let row = world.events.get(id.as_str(), &version.to_string());
            row.cloned()
        })
        .await
    }

    async fn record(&self, key: &str) -> Result<Option<Attributes>, ServiceError> {
        self.read("GetItem of an outcome", |world| {
            world.outcomes.get(key).cloned()
        })
        .await
    }

    async fn committed_record(&self, key: &str) -> Result<CommittedRecord, ServiceError> {
        self.read("TransactGetItems of an outcome", |world| {
            CommittedRecord::Read(world.outcomes.get(key).cloned())
        })
        .await
    }

    async fn append(&self, append: Append) -> Result<Appended, ServiceError> {
        if self.strikes(Fault::TransactionConflict) {
            return self
                .read("an append", |_| Appended::TransactionConflict)
                .await;
        }
        // The SDK's own retry of a transaction carries its token, so it is none; of a single put, it
        // finds the row that it has put itself.
        let is_single = append.record.is_none() && append.rows.len() == 1;
        let is_repeated = self.strikes(Fault::CallRepeated);
        self.write("an append", move |world, now| {
            let first = store(world, append.clone(), now);
            if is_repeated && is_single {
                store(world, append, now)
            } else {
                first
            }
        })
        .await
    }
}

/// All of it or nothing. What a cancelled transaction tells first is the record of the key.
fn store(world: &mut World, mut append: Append, now: u64) -> Appended {
    if world.is_sabotaged(Sabotage::OutcomeForgotten) {
        append.record = None;
    }
    if let Some(record) = &append.record
        && let Some(there) = world.outcomes.get(&text(record, KEY))
        && there[EXPIRES_AT].as_integer() > Some(seconds(append.now))
    {
        return Appended::KeyTaken;
    }
    let taken = append.rows.iter().find_map(|(_, row)| {
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
    // A transaction's items come onto the stream in any order.
    world.rng.shuffle(&mut append.rows);
    for (_, row) in append.rows {
        world.put_row(row, now);
    }
    if let Some(record) = append.record {
        world.outcomes.insert(text(&record, KEY), record);
    }
    Appended::Stored
}
