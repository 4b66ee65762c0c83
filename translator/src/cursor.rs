//! The publication cursor: how far an aggregate's events are on the stream.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use millrace_domain::envelope::Context;
use millrace_domain::{RowError, Sequence, Timestamp};
use millrace_runtime::{Ambient, Backoff, Budget, ServiceError};

/// One aggregate's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The highest sequence that Kinesis has acknowledged, with all before it.
    pub published_through: Sequence,
    /// What earlier events say that later envelopes repeat.
    pub context: Option<Context>,
    /// Why it stands still, if it does.
    pub blocked: Option<Block>,
}

/// Why an aggregate stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The sequence that can't be published; [`Sequence::NONE`] where the cursor itself is at fault:
    /// unreadable, or ahead of the events table.
    pub sequence: Sequence,
    /// The row that can't be translated, by its `Version` as stored; `None` where none is there. Of a
    /// cursor that is ahead, the row that it names and that wasn't there.
    pub row: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Block {
    /// Whether the block says that the cursor was found ahead of the events table. Only resetting the
    /// cursor lifts such a block: once events that are appended later have reached the cursor's
    /// sequence, no check can find that they were never published.
    #[must_use]
    pub fn is_cursor_ahead(&self) -> bool {
        self.sequence == Sequence::NONE && self.row.is_some()
    }

    /// The block of an aggregate whose cursor an operator resets. It ends, as every block of an event,
    /// once all events are published: until then the aggregate stays reported, also if the command
    /// that resets it ends before it publishes.
    #[must_use]
    pub fn after_reset(now: Timestamp) -> Self {
        Self {
            sequence: Sequence::NONE.next(),
            row: None,
            reason: RESET.to_owned(),
            since: now,
        }
    }

    /// Whether it is [`Block::after_reset`].
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reason == RESET
    }
}

/// The reason of [`Block::after_reset`].
const RESET: &str = "the cursor was reset, and not all events are published again yet";

/// The most aggregates that one [`CursorStore::load`] takes
/// ([BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
pub const MAX_LOADED: usize = 100;

/// Before aggregates that a load left unprocessed are asked for again, as `BatchGetItem`'s page
/// advises.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
};

/// What one [`CursorStore::load`] returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The cursors that there are; one that can't be read comes as the error that says why. An
    /// aggregate that has no cursor and isn't unprocessed is left out.
    pub found: HashMap<String, Result<Cursor, RowError>>,
    /// The aggregates that have to be asked for again.
    pub unprocessed: Vec<String>,
}

/// Where cursors are kept.
pub trait CursorStore: Send + Sync {
    /// The cursors of up to [`MAX_LOADED`] aggregates, read consistently in one call. The service may
    /// leave some of them unprocessed.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn load(
        &self,
        aggregates: &[&str],
    ) -> impl Future<Output = Result<Loaded, ServiceError>> + Send;

    /// Puts a cursor in place of the stored one, which was read with this block or without any.
    ///
    /// If the stored cursor has got as far and this cursor isn't blocked, nothing is written: the
    /// stored cursor contains all that this one does, and its block stays. A block that says that the
    /// cursor is ahead is saved only if the position is the one that was read: the cursor may have been
    /// reset.
    ///
    /// # Errors
    /// [`ServiceError`]: the cursor may stand where it was; publishing again from there is safe. It
    /// is also the answer where someone else has blocked it, lifted its block or passed it, and what
    /// was decided here rests on what was read before: then it is to be read again.
    fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: Option<&Block>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Marks an aggregate whose cursor can't be understood, and leaves the rest as it is.
    ///
    /// # Errors
    /// [`ServiceError`]: the mark may be missing.
    fn mark(
        &self,
        aggregate: &str,
        block: &Block,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// Loads the cursors of any number of aggregates, and asks again for those that were left
/// unprocessed until the budget is spent. An aggregate that has no cursor is left out.
///
/// # Errors
/// [`ServiceError`] when a call failed, or the budget was spent first.
pub async fn load_all(
    store: &impl CursorStore,
    aggregates: &[&str],
    budget: Budget,
    ambient: &impl Ambient,
) -> Result<HashMap<String, Result<Cursor, RowError>>, ServiceError> {
    let mut cursors = HashMap::new();
    for chunk in aggregates.chunks(MAX_LOADED) {
        let mut wanted: Vec<String> = chunk.iter().map(|&id| id.to_owned()).collect();
        let mut retry = 0;
        loop {
            let ids: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let Loaded { found, unprocessed } = store.load(&ids).await?;
            cursors.extend(found);
            if unprocessed.is_empty() {
                break;
            }
            wanted = unprocessed;
            let wait = BACKOFF.delay(retry, ambient);
            if !budget.allows(wait) {
                let left = format!(
                    "{} cursors were left unprocessed until the deadline",
                    wanted.len()
                );
                return Err(ServiceError::new("reading the cursors", left));
            }
            tokio::time::sleep(wait).await;
            retry += 1;
        }
    }
    Ok(cursors)
}
