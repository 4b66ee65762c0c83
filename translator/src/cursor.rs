//! The publication cursor: the highest sequence of an aggregate that is published, with all before it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millrace_core::cursor::read_context;
use millrace_core::{Attributes, DecodeError, Domain, Sequence, Timestamp, Version};
use millrace_runtime::{Ambient, Backoff, Budget, ServiceError, retry};

use crate::ports::{CursorStore, Loaded, MAX_LOADED};

/// One aggregate's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The highest sequence that Kinesis has acknowledged, with all before it.
    pub published_through: Sequence,
    /// The domain's context after that event, as columns of the cursor's item. `None` if it isn't
    /// known: it is folded from the aggregate's rows then.
    pub context: Option<Attributes>,
    /// Why publication is suspended, if it is.
    pub suspended: Option<Suspension>,
}

/// Why publication of an aggregate is suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspension {
    /// An event can't be published.
    Blocked(Block),
    /// More events are pending than one invocation publishes.
    Parked(Parked),
}

/// The marker of an aggregate that has more pending events than one invocation of the translator publishes.
/// [`Translator::publish_pending`](crate::service::Translator::publish_pending) publishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// The highest sequence that a notification has announced. The notifications that came while the
    /// aggregate was parked are not delivered again, so the marker is removed only after this event is
    /// published.
    pub through: Sequence,
    /// Since when.
    pub since: Timestamp,
}

/// An event that can't be published. The events after it aren't published either, so that order is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The sequence that can't be published; [`Sequence::NONE`] if the cursor is the cause: it is
    /// unreadable, or ahead of the events table.
    pub sequence: Sequence,
    /// The `Version`, as stored, of the row that can't be translated; `None` if there is no such row. If
    /// the cursor is ahead, the version of its own event's row, which is missing.
    pub row: Option<String>,
    /// Why it can't be published, for the operator.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Suspension {
    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        match self {
            Self::Blocked(block) => block.since,
            Self::Parked(parked) => parked.since,
        }
    }
}

impl Cursor {
    /// The block, if the aggregate is blocked.
    #[must_use]
    pub const fn blocked(&self) -> Option<&Block> {
        match &self.suspended {
            Some(Suspension::Blocked(block)) => Some(block),
            Some(Suspension::Parked(_)) | None => None,
        }
    }

    /// The marker, if the aggregate is parked.
    #[must_use]
    pub const fn parked(&self) -> Option<&Parked> {
        match &self.suspended {
            Some(Suspension::Parked(parked)) => Some(parked),
            Some(Suspension::Blocked(_)) | None => None,
        }
    }

    /// Whether it only advances the cursor that was read: neither is suspended, and the context has all
    /// columns that it had.
    #[must_use]
    pub fn only_advances(&self, read: &Self) -> bool {
        let is_suspended = self.suspended.is_some() || read.suspended.is_some();
        !is_suspended && self.dropped_columns(read).next().is_none()
    }

    /// The context's columns that the cursor contained when it was read, and no longer contains.
    pub(crate) fn dropped_columns<'a>(
        &'a self,
        read: &'a Self,
    ) -> impl Iterator<Item = &'a String> {
        let kept = self.context.as_ref();
        let columns = read.context.iter().flat_map(Attributes::keys);
        columns.filter(move |name| kept.is_some_and(|kept| !kept.contains_key(*name)))
    }

    /// The domain's context after the cursor's event; `None` if it isn't known.
    ///
    /// # Errors
    /// [`DecodeError`] that names the column which can't be read.
    pub fn context<D: Domain>(&self) -> Result<Option<D::Context>, DecodeError> {
        self.context.as_ref().map(read_context::<D>).transpose()
    }

    /// The cursor itself, if the domain can read its context.
    ///
    /// # Errors
    /// [`DecodeError`] that names the column which can't be read.
    pub fn with_readable_context<D: Domain>(self) -> Result<Self, DecodeError> {
        self.context::<D>()?;
        Ok(self)
    }
}

impl Block {
    /// Whether the block says that the cursor was found ahead of the events table. Only resetting the
    /// cursor lifts such a block: once events that are appended later have reached the cursor's
    /// sequence, no check can find that they were never published.
    #[must_use]
    pub fn is_cursor_ahead(&self) -> bool {
        self.sequence == Sequence::NONE && self.row.is_some()
    }

    /// The block of an aggregate whose cursor is ahead of the events table.
    #[must_use]
    pub fn cursor_ahead(cursor: Sequence, now: Timestamp) -> Self {
        Self {
            sequence: Sequence::NONE,
            row: cursor.version().map(|version| version.to_string()),
            reason: format!("the cursor is at event {cursor}, which the events table lacks"),
            since: now,
        }
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

    /// Whether the block's reason is that the row of an announced event is missing and no later row exists.
    /// The remaining rows don't show the gap. So only a row for this event, or a reset of the cursor, lifts
    /// the block.
    #[must_use]
    pub fn is_announced_row_missing(&self) -> bool {
        let version = self.sequence.version();
        self.row.is_none() && version.is_some_and(|version| self.reason == missing_row(version))
    }

    /// Whether it is [`Block::after_reset`].
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reason == RESET
    }
}

/// The reason of a block at an announced event whose row is missing. A stored block is recognised by it, so
/// it must not change.
pub(crate) fn missing_row(version: Version) -> String {
    format!("row {version} is missing")
}

/// The reason of [`Block::after_reset`]. A stored block is recognised by it, so it must not change.
const RESET: &str = "the cursor was reset, and not all events are published again yet";

/// Before cursors that a load left unprocessed are loaded again, as `BatchGetItem`'s page advises, and
/// before a failed load is retried.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
};

/// Loads the cursors of any number of aggregates. Failed calls, and cursors that the service left
/// unprocessed, are retried until the budget is spent. An aggregate that has no cursor is left out.
///
/// # Errors
/// [`ServiceError`] if the budget was spent first.
pub async fn load_all(
    store: &impl CursorStore,
    aggregates: &[&str],
    budget: Budget,
    ambient: &impl Ambient,
) -> Result<HashMap<String, Result<Cursor, DecodeError>>, ServiceError> {
    let mut cursors = HashMap::new();
    for chunk in aggregates.chunks(MAX_LOADED) {
        let loaded = Mutex::new((chunk.to_vec(), HashMap::new()));
        let lock = || loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let load = || async {
            let wanted = lock().0.clone();
            let Loaded { found, unprocessed } = store.load(&wanted).await?;
            let mut loaded = lock();
            loaded.1.extend(found);
            loaded
                .0
                .retain(|id| unprocessed.iter().any(|left| left == id));
            if loaded.0.is_empty() {
                return Ok(());
            }
            let left = format!("{} cursors were left unprocessed", loaded.0.len());
            Err(ServiceError::new("reading the cursors", left))
        };
        retry(budget, ambient, BACKOFF, load).await?;
        cursors.extend(
            loaded
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .1,
        );
    }
    Ok(cursors)
}
