//! The services that the operators' commands need, as traits. [`super::dynamodb`] implements them with the
//! AWS SDK. A simulation implements them with simulated services, and runs the same commands.
//!
//! Every method is one call of a service. The callers loop over pages, retry and limit the concurrency.

use std::future::Future;

use millrace_core::{Attributes, DecodeError, Sequence};
use millrace_projector::ports::{ReadModel, Saved};
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Block, Cursor};
use millrace_translator::ports::{CursorStore, EventRows};
use serde_json::Value;

use super::days::Days;

/// One of the segments in which a table is scanned in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The number of the segment, from 0.
    pub index: u32,
    /// The number of segments.
    pub count: u32,
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdPage {
    /// The hash keys of the page's items, in the scan's order. The id of an aggregate with several items
    /// appears several times, possibly also on the next page.
    pub ids: Vec<String>,
    /// The key of the last item that was read, from which the next page continues; `None` on the
    /// segment's last page. A page without ids may have a next one.
    pub last: Option<Attributes>,
}

/// Lists the aggregates that have items in a table; with a filter, only those with a matching item.
pub trait AggregateIds: Send + Sync {
    /// Reads one page of a segment consistently, starting after the item with the key `after`.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn ids_page(
        &self,
        segment: Segment,
        after: Option<&Attributes>,
    ) -> impl Future<Output = Result<IdPage, ServiceError>> + Send;
}

/// The events table: an aggregate's rows by page or by version ([`EventRows`]), and its newest row.
pub trait EventLog: EventRows {
    /// Reads the aggregate's newest row whose `Type` isn't a snapshot's, consistently; `None` if there is
    /// none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn newest_event_row(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;
}

/// One page of an aggregate's history items, by sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// The items as they are stored, readable or not.
    pub items: Vec<Attributes>,
    /// The key of the last item that was read, from which the next page continues; `None` on the last
    /// page.
    pub last: Option<Attributes>,
}

/// The read models' tables: the projector's methods ([`ReadModel`]), and those that compare and repair items.
pub trait ReadModelRepair: ReadModel {
    /// Reads one page of an aggregate's history items consistently, starting after the item with the key
    /// `after`.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn history_page(
        &self,
        aggregate: &str,
        after: Option<&Attributes>,
    ) -> impl Future<Output = Result<HistoryPage, ServiceError>> + Send;

    /// Removes an aggregate's view item, on the condition of [`ReadModel::save_view`].
    ///
    /// # Errors
    /// [`ServiceError`]: the item may have been removed nevertheless.
    fn delete_view(
        &self,
        aggregate: &str,
        read: &Attributes,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;

    /// Removes a history item if its attributes are still those that were read. `columns` are the domain's
    /// attributes, which another writer may have added since the read.
    ///
    /// # Errors
    /// [`ServiceError`]: the item may have been removed nevertheless.
    fn delete_history(
        &self,
        read: &Attributes,
        columns: &[&str],
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;
}

/// A cursor's item as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCursor<I> {
    /// The item, for the condition of [`CursorRepair::reset`].
    pub item: I,
    /// The cursor that the item contains, or why it can't be read.
    pub cursor: Result<Cursor, DecodeError>,
}

/// The result of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The cursor is reset.
    Done,
    /// The item has changed since it was read. The reset changed nothing.
    Changed,
}

/// The cursor table: the translator's methods ([`CursorStore`]), and the reset of a cursor that is unreadable
/// or wrong.
pub trait CursorRepair: CursorStore {
    /// An item as the table stores it, readable or not.
    type Item: Send + Sync;

    /// Reads the aggregate's item consistently; `None` if there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn stored(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<StoredCursor<Self::Item>>, ServiceError>> + Send;

    /// Resets the aggregate's cursor to [`Sequence::NONE`] if its item is still the one that was read. The
    /// item then contains only the block `until_published`; if that is `None`, the item is removed.
    /// Afterwards the aggregate is published from its first event on. The duplicates on the stream are
    /// byte-identical.
    ///
    /// # Errors
    /// [`ServiceError`]: the cursor may have been reset nevertheless.
    fn reset(
        &self,
        aggregate: &str,
        read: &Self::Item,
        until_published: Option<&Block>,
    ) -> impl Future<Output = Result<Reset, ServiceError>> + Send;
}

/// Consecutive events of one aggregate that the lake contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The aggregate's id.
    pub subject: String,
    /// The sequence of the first event.
    pub first: u64,
    /// The sequence of the last event.
    pub last: u64,
}

/// A lake record of an event, with the order of [`Lake::records`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LakeRecord {
    /// The aggregate's id.
    pub subject: String,
    /// The event's sequence.
    pub sequence: u64,
    /// The event as JSON, with the members that have a column.
    pub json: String,
}

/// Why a query of the lake has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query reads more than one query may read. A query of fewer days may succeed. Contains the reason.
    #[error("{0}")]
    TooLarge(String),
    /// The query failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The result of a query, page by page.
pub trait Pages<T>: Send {
    /// Reads the next page, which may be empty; `None` after the last one.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn page(&mut self) -> impl Future<Output = Result<Option<Vec<T>>, ServiceError>> + Send;
}

/// The lake. A query reads the records that were delivered on certain days, of one aggregate or of all. It
/// ignores records that aren't events of an aggregate, such as those of type `UnreadableRecord`.
pub trait Lake: Send + Sync {
    /// The result of [`Lake::runs`].
    type Runs: Pages<Run>;
    /// The result of [`Lake::records`].
    type Records: Pages<LakeRecord>;

    /// The runs of consecutive sequences among the records, in any order.
    ///
    /// # Errors
    /// [`QueryError`].
    fn runs(
        &self,
        days: Days,
        aggregate: Option<&str>,
    ) -> impl Future<Output = Result<Self::Runs, QueryError>> + Send;

    /// The records, ordered by subject and sequence. Equal records are returned once.
    ///
    /// # Errors
    /// [`QueryError`].
    fn records(
        &self,
        days: Days,
        aggregate: Option<&str>,
    ) -> impl Future<Output = Result<Self::Records, QueryError>> + Send;

    /// Describes how much one query may read, and how an operator changes it.
    fn limit(&self) -> impl Future<Output = String> + Send;
}

/// How an invocation of a consumer ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Invoked {
    /// The function returned this response.
    Responded(Value),
    /// The function failed, for this reason. Its effects are unknown.
    Failed(String),
}

/// A Lambda function that consumes the domain stream.
pub trait ConsumerFunction: Send + Sync {
    /// Invokes the function once, and waits for its end.
    ///
    /// # Errors
    /// [`ServiceError`]: the function may have been invoked nevertheless. The error is
    /// [permanent](ServiceError::is_permanent) if every invocation would fail in the same way, because the
    /// function doesn't exist or may not be invoked.
    fn invoke(&self, payload: String)
    -> impl Future<Output = Result<Invoked, ServiceError>> + Send;
}

/// The progress of a run of `republish` or `replay`, stored so that a later run can continue it.
pub trait RunProgress: Send + Sync {
    /// The highest sequence of the aggregate through which the run has sent its events; `None` if none is
    /// recorded.
    fn reached(&self, aggregate: &str) -> Option<Sequence>;

    /// Whether the aggregate is completed. This implementation knows of none.
    fn is_completed(&self, aggregate: &str) -> bool {
        let _ = aggregate;
        false
    }

    /// Records that the run has sent the aggregate's events through this sequence.
    ///
    /// # Errors
    /// [`ServiceError`] if the progress could not be stored.
    fn record(&self, aggregate: &str, reached: Sequence) -> Result<(), ServiceError>;

    /// Records that the aggregate is completed.
    ///
    /// # Errors
    /// [`ServiceError`] if the progress could not be stored.
    fn complete(&self, aggregate: &str) -> Result<(), ServiceError>;
}

/// Stores no progress, for a run that can't be continued.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotKept;

impl RunProgress for NotKept {
    fn reached(&self, _: &str) -> Option<Sequence> {
        None
    }

    fn record(&self, _: &str, _: Sequence) -> Result<(), ServiceError> {
        Ok(())
    }

    fn complete(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}
