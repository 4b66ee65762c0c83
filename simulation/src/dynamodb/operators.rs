//! The operators' commands' access to the events table and the cursor table.

use millrace_cli::operate::ports::{
    AggregateIds, CursorRepair, EventLog, IdPage, Reset, Segment, StoredCursor,
};
use millrace_core::DecodeError;
use millrace_core::ids::is_reserved_id;
use millrace_core::row::is_plainly_a_snapshot;
use millrace_core::{Attribute, Attributes, row};
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Block, Cursor, Suspension};

use super::events::{halves, text};
use crate::log::hash;
use crate::services::Services;
use crate::world::World;

/// A table that is scanned for its aggregates.
pub(crate) enum Scanned {
    Events(Services),
    /// The cursor table, with a filter for blocked cursors.
    Blocked(Services),
}

/// A stored cursor's item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CursorItem {
    cursor: Cursor,
    is_unreadable: bool,
}

/// The error for a cursor whose position isn't a number.
pub(crate) fn unreadable() -> DecodeError {
    DecodeError::new("PublishedThrough", "is not a whole number from 0 to 2^53-1")
}

impl AggregateIds for Scanned {
    async fn ids_page(
        &self,
        segment: Segment,
        after: Option<&Attributes>,
    ) -> Result<IdPage, ServiceError> {
        let (Self::Events(services) | Self::Blocked(services)) = self;
        let is_own = |id: &str| hash(id) % segment.count == segment.index;
        services
            .read("Scan of a table", |world| {
                let mut keys: Vec<(String, u64, bool)> = match self {
                    Self::Events(_) => world
                        .events
                        .all()
                        .map(|row| (text(row, row::ID), halves(&text(row, row::VERSION))))
                        .map(|(id, halves)| {
                            let passes = !is_reserved_id(&id);
                            (id, halves, passes)
                        })
                        .collect(),
                    Self::Blocked(_) => world
                        .cursors
                        .iter()
                        .map(|(id, cursor)| (id.clone(), 0, cursor.blocked().is_some()))
                        .collect(),
                };
                keys.retain(|(id, halves, _)| {
                    is_own(id) && after.is_none_or(|after| key(after) < (id.clone(), *halves))
                });
                // A page ends after a number of items, including those that the filter refuses. The last page
                // may be empty.
                let most = world.rng.usize(1..40);
                let is_last = keys.len() < most;
                keys.truncate(most);
                IdPage {
                    last: keys
                        .last()
                        .filter(|_| !is_last)
                        .map(|(id, halves, _)| item_key(id, *halves)),
                    ids: keys
                        .into_iter()
                        .filter_map(|(id, _, passes)| passes.then_some(id))
                        .collect(),
                }
            })
            .await
    }
}

fn item_key(id: &str, halves: u64) -> Attributes {
    [
        (row::ID.to_owned(), Attribute::text(id)),
        (row::VERSION.to_owned(), Attribute::number(halves)),
    ]
    .into()
}

fn key(of: &Attributes) -> (String, u64) {
    let halves = text(of, row::VERSION)
        .parse()
        .expect("the key of a previous page");
    (text(of, row::ID), halves)
}

impl EventLog for Services {
    async fn newest_event_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        self.read("Query of the newest rows", |world| {
            let mut rows = world.events.of(aggregate).rev().map(|(_, row)| row);
            rows.find(|row| !is_plainly_a_snapshot(row)).cloned()
        })
        .await
    }
}

impl World {
    fn cursor_item(&self, aggregate: &str) -> Option<CursorItem> {
        Some(CursorItem {
            cursor: self.cursors.get(aggregate)?.clone(),
            is_unreadable: self.unreadable_cursors.contains(aggregate),
        })
    }
}

impl CursorRepair for Services {
    type Item = CursorItem;

    async fn stored(
        &self,
        aggregate: &str,
    ) -> Result<Option<StoredCursor<CursorItem>>, ServiceError> {
        self.read("GetItem of a cursor", |world| {
            let item = world.cursor_item(aggregate)?;
            Some(StoredCursor {
                cursor: if item.is_unreadable {
                    Err(unreadable())
                } else {
                    Ok(item.cursor.clone())
                },
                item,
            })
        })
        .await
    }

    async fn reset(
        &self,
        aggregate: &str,
        read: &CursorItem,
        until_published: Option<&Block>,
    ) -> Result<Reset, ServiceError> {
        let (aggregate, read) = (aggregate.to_owned(), read.clone());
        let blocked = until_published.cloned();
        self.write("a reset of a cursor", move |world, now| {
            if world.cursor_item(&aggregate).as_ref() != Some(&read) {
                return Reset::Changed;
            }
            let line = format_args!("  {aggregate}: the cursor is reset");
            world.trace.note(now, line);
            world.unreadable_cursors.remove(&aggregate);
            world.damaged_cursors.remove(&aggregate);
            if blocked.is_some() {
                let cursor = Cursor {
                    suspended: blocked.map(Suspension::Blocked),
                    ..Cursor::default()
                };
                world.cursors.insert(aggregate, cursor);
            } else {
                world.cursors.remove(&aggregate);
            }
            Reset::Done
        })
        .await
    }
}
