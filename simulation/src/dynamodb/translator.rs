//! The translator's access to the events table and the cursor table.

use millrace_core::{Attributes, Sequence, Version};
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::{
    Advance, CursorStore, EventRows, Loaded, MAX_ADVANCED, MAX_LOADED, Page, Saved,
};

use super::events::halves;
use super::operators::unreadable;
use crate::faults::Fault;
use crate::sabotage::Sabotage;
use crate::services::Services;
use crate::world::World;

impl EventRows for Services {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        let page = self
            .read("Query of a range of rows", |world| {
                // A page ends at 1 MB, which may be after any row.
                let most = world.rng.usize(1..30).min(limit);
                let after = after.map_or(0, |after| 2 * after.get());
                let before = before.map_or(u64::MAX, |before| 2 * before.get());
                let mut rows = world
                    .visible_rows_from(aggregate, after + 1)
                    .take_while(|(halves, _)| *halves < before)
                    .map(|(_, row)| row.clone());
                Page {
                    rows: rows.by_ref().take(most).collect(),
                    more: rows.next().is_some(),
                }
            })
            .await?;
        self.refuse_poison(&page.rows)?;
        Ok(page)
    }

    async fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> Result<Option<Attributes>, ServiceError> {
        let row = self
            .read("GetItem of a row", |world| {
                let halves = halves(version);
                let mut rows = world.visible_rows(aggregate);
                let row = rows.find(|(it, _)| *it == halves);
                row.map(|(_, row)| row.clone())
            })
            .await?;
        self.refuse_poison(row.as_slice())?;
        Ok(row)
    }
}

impl Services {
    fn refuse_poison(&self, rows: &[Attributes]) -> Result<(), ServiceError> {
        if self.is_sabotaged(Sabotage::PoisonTriedAgain) {
            let world = self.sim.world();
            if !rows.iter().all(|row| world.is_readable(row)) {
                return Err(ServiceError::new("reading a row", "it can't be read"));
            }
        }
        Ok(())
    }
}

impl CursorStore for Services {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        self.read("BatchGetItem of cursors", |world| {
            if aggregates.len() > MAX_LOADED {
                world.violated("4", "a BatchGetItem exceeds its limit");
            }
            let mut loaded = Loaded::default();
            for id in aggregates {
                let id = (*id).to_owned();
                if is_cut_short && world.rng.bool() {
                    loaded.unprocessed.push(id);
                } else if world.unreadable_cursors.contains(&id) {
                    loaded.found.insert(id, Err(unreadable()));
                } else if let Some(cursor) = world.cursors.get(&id) {
                    loaded.found.insert(id, Ok(cursor.clone()));
                }
            }
            loaded
        })
        .await
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        let aggregate = aggregate.to_owned();
        let mut cursor = cursor.clone();
        let read = read.suspended.clone();
        self.write("UpdateItem of a cursor", move |world, now| {
            if world.is_sabotaged(Sabotage::CursorAhead) {
                cursor.published_through = cursor.published_through.next();
            }
            if world.is_sabotaged(Sabotage::BlockForgotten) {
                cursor.suspended = None;
            }
            if world.is_sabotaged(Sabotage::ParkedWithoutAnnounced)
                && let Some(Suspension::Parked(parked)) = &mut cursor.suspended
            {
                parked.through = cursor.published_through;
            }
            if world.unreadable_cursors.contains(&aggregate) {
                return Saved::Changed;
            }
            let stored = world.cursors.get(&aggregate).cloned().unwrap_or_default();
            let has_moved = cursor.published_through > stored.published_through;
            let through = cursor.published_through;
            let suspended = &cursor.suspended;
            let line = format_args!("  {aggregate}: through {through}, suspended {suspended:?}");
            world.trace.note(now, line);
            let is_as_far = stored.published_through >= through;
            // The stored marker is kept, because another invocation may have raised it.
            let keeps_parked = cursor.parked().is_some() && cursor.suspended == read;
            let is_as_read = if keeps_parked {
                cursor.suspended.clone_from(&stored.suspended);
                stored.parked().is_some()
            } else {
                stored.suspended == read || world.is_sabotaged(Sabotage::BlockWiped)
            };
            let is_ahead = cursor.blocked().is_some_and(Block::is_cursor_ahead);
            let may_be_saved = if is_ahead {
                stored.published_through == through
            } else {
                stored.published_through <= through
            };
            if may_be_saved && is_as_read {
                if has_moved {
                    check(world, &aggregate, through);
                }
                world.cursors.insert(aggregate, cursor);
            } else if keeps_parked || cursor.suspended.is_some() || !is_as_far {
                return Saved::Changed;
            }
            Saved::Stored
        })
        .await
    }

    async fn advance(&self, advances: &[Advance<'_>]) -> Result<Vec<bool>, ServiceError> {
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        let advances: Vec<(String, Cursor, bool)> = advances
            .iter()
            .map(|advance| {
                let cursor = advance.cursor.clone();
                (advance.aggregate.to_owned(), cursor, advance.is_new())
            })
            .collect();
        self.write("BatchExecuteStatement of cursors", move |world, now| {
            if advances.len() > MAX_ADVANCED {
                world.violated("4", "a BatchExecuteStatement exceeds its limit");
            }
            let advances = advances.into_iter();
            let stored = advances.map(|(aggregate, cursor, is_new)| {
                let is_left = is_cut_short && world.rng.bool();
                !is_left && advance(world, now, aggregate, cursor, is_new)
            });
            stored.collect()
        })
        .await
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        let aggregate = aggregate.to_owned();
        let block = block.clone();
        self.write("UpdateItem of a cursor's mark", move |world, _| {
            let cursor = world.cursors.entry(aggregate).or_default();
            cursor.suspended = Some(Suspension::Blocked(block));
        })
        .await
    }
}

/// Stores a cursor that only advances: a new item, or an update of the stored one. Returns whether it is
/// stored.
fn advance(
    world: &mut World,
    now: u64,
    aggregate: String,
    mut cursor: Cursor,
    is_new: bool,
) -> bool {
    if world.is_sabotaged(Sabotage::CursorAhead) {
        cursor.published_through = cursor.published_through.next();
    }
    let is_stored = world.cursors.contains_key(&aggregate);
    if world.unreadable_cursors.contains(&aggregate) || is_stored == is_new {
        return false;
    }
    let through = cursor.published_through;
    let stored = world.cursors.get(&aggregate).cloned().unwrap_or_default();
    let is_suspended = stored.suspended.is_some() && !world.is_sabotaged(Sabotage::BlockWiped);
    if is_suspended || stored.published_through > through {
        return false;
    }
    let line = format_args!("  {aggregate}: through {through}");
    world.trace.note(now, line);
    if through > stored.published_through {
        check(world, &aggregate, through);
    }
    world.cursors.insert(aggregate, cursor);
    true
}

/// Checks property 2 at a save of a cursor.
fn check(world: &mut World, aggregate: &str, through: Sequence) {
    let missing = (1..=through.get()).find(|sequence| {
        !world
            .acknowledged
            .contains(&(aggregate.to_owned(), *sequence))
    });
    if let Some(sequence) = missing {
        let what =
            format!("{aggregate}: the cursor is at {through}, and {sequence} wasn't acknowledged");
        world.violated("2", what);
    }
}
