//! The cursors from which `republish` starts.

use std::collections::HashMap;
use std::sync::Mutex;

use millrace_core::Sequence;
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Block, Cursor};
use millrace_translator::ports::{CursorStore, Loaded, Saved};

use super::ports::RunProgress;

/// Cursors that start before the first event to be published again. Each acknowledged event advances its
/// cursor and is recorded as the run's progress. A stored cursor changes only when publishing passes it. The
/// translator reads a stored suspension (blocked or parked) only from the stored cursor on: the events before
/// it have been published once, so they can be published again.
pub(super) struct RepublishCursors<'a, C, R> {
    stored: C,
    begin: Sequence,
    progress: &'a R,
    cursors: Mutex<HashMap<String, Restarted>>,
}

#[derive(Debug, Clone, Default)]
struct Restarted {
    /// The cursor in the table.
    stored: Cursor,
    /// The cursor that the translator reads.
    republished: Cursor,
}

impl<'a, C: CursorStore, R: RunProgress> RepublishCursors<'a, C, R> {
    /// Cursors at `begin`, or at the sequence that an earlier run has recorded.
    pub(super) fn new(stored: C, begin: Sequence, progress: &'a R) -> Self {
        Self {
            stored,
            begin,
            progress,
            cursors: Mutex::default(),
        }
    }

    fn restarted(&self, aggregate: &str) -> Option<Restarted> {
        let cursors = self.cursors.lock().expect("the lock isn't poisoned");
        cursors.get(aggregate).cloned()
    }

    fn keep(&self, aggregate: &str, restarted: Restarted) {
        let mut cursors = self.cursors.lock().expect("the lock isn't poisoned");
        cursors.insert(aggregate.to_owned(), restarted);
    }

    /// The cursor from which republishing starts. It is at most the stored cursor, because a later start
    /// would leave a gap on the stream.
    fn start(&self, aggregate: &str, stored: &Cursor) -> Cursor {
        let reached = self.progress.reached(aggregate).unwrap_or(self.begin);
        Cursor {
            published_through: reached.max(self.begin).min(stored.published_through),
            context: None,
            suspended: None,
        }
    }
}

impl<C: CursorStore, R: RunProgress> CursorStore for RepublishCursors<'_, C, R> {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        let mut loaded = self.stored.load(aggregates).await?;
        for &aggregate in aggregates {
            if loaded.unprocessed.iter().any(|id| id == aggregate) {
                continue;
            }
            let stored = match loaded.found.get(aggregate) {
                Some(Err(_)) => continue,
                Some(Ok(stored)) => stored.clone(),
                None => Cursor::default(),
            };
            let mut republished = self.restarted(aggregate).map_or_else(
                || self.start(aggregate, &stored),
                |restarted| restarted.republished,
            );
            if republished.published_through >= stored.published_through {
                republished.suspended.clone_from(&stored.suspended);
            }
            loaded
                .found
                .insert(aggregate.to_owned(), Ok(republished.clone()));
            self.keep(
                aggregate,
                Restarted {
                    stored,
                    republished,
                },
            );
        }
        Ok(loaded)
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        let Restarted { mut stored, .. } = self.restarted(aggregate).unwrap_or_default();
        if cursor.published_through >= stored.published_through {
            let mut passing = cursor.clone();
            if read.suspended.is_none() && stored.suspended.is_some() {
                // The translator hasn't read the stored suspension, so it must not remove it.
                passing.suspended.clone_from(&stored.suspended);
            }
            if passing != stored {
                if self.stored.save(aggregate, &passing, &stored).await? == Saved::Changed {
                    return Ok(Saved::Changed);
                }
                stored = passing;
            }
        }
        let republished = cursor.clone();
        self.keep(
            aggregate,
            Restarted {
                stored,
                republished,
            },
        );
        self.progress.record(aggregate, cursor.published_through)?;
        Ok(Saved::Stored)
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        self.stored.mark(aggregate, block).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::ports::NotKept;
    use super::*;

    /// A cursor may become unreadable during `republish`.
    #[tokio::test]
    async fn a_block_of_an_unreadable_cursor_is_stored() {
        let memory = Memory::default();
        let cursors = RepublishCursors::new(memory.clone(), Sequence::NONE, &NotKept);
        let block = Block {
            sequence: Sequence::NONE,
            row: None,
            reason: "the cursor can't be read".to_owned(),
            since: millrace_core::Timestamp::from_unix_millis(0).expect("valid"),
        };
        cursors.mark("a", &block).await.expect("stored");
        let stored = memory.world().cursors["a"].clone().expect("readable");
        assert_eq!(stored.blocked(), Some(&block));
    }
}
