//! The publication cursor: how far an aggregate's events are on the stream.

use std::collections::HashMap;
use std::future::Future;

use millrace_domain::envelope::Context;
use millrace_domain::{RowError, Sequence, Timestamp};
use millrace_runtime::ServiceError;

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
    /// The sequence that can't be published; [`Sequence::NONE`] where the cursor itself can't be
    /// understood.
    pub sequence: Sequence,
    /// The row that can't be translated, by its `Version` as stored; `None` where none is there.
    pub row: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Where cursors are kept.
pub trait CursorStore: Send + Sync {
    /// The cursors of these aggregates, read consistently. An aggregate that has none yet is left
    /// out; a cursor that can't be understood comes as the error that says why.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read; the batch is to be tried again.
    fn load(
        &self,
        aggregates: &[&str],
    ) -> impl Future<Output = Result<HashMap<String, Result<Cursor, RowError>>, ServiceError>> + Send;

    /// Puts a cursor in place of the stored one, which was read with this block or without any.
    ///
    /// Where someone else has got as far and this cursor isn't blocked, nothing is written: theirs
    /// tells all that this one does, and a block of theirs stays.
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
