//! What the operators' commands ask of the services. [`super::dynamodb`] implements these traits with
//! the AWS SDK; a simulation implements them over simulated services, and so runs the same commands.
//!
//! Every method is one call of a service. Loops over pages, retries and concurrency are the callers'.

use std::future::Future;

use millrace_core::{Attributes, DecodeError, Sequence};
use millrace_projector::ports::{ReadModel, Saved};
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Block, Cursor};
use millrace_translator::ports::{CursorStore, EventRows};

/// One of the parts that a table is scanned in, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which part, from 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdPage {
    /// The hash keys of the page's items, in the scan's order. An aggregate of several items appears
    /// several times, and may continue on the next page.
    pub ids: Vec<String>,
    /// The key of the last item that was read, from which the next page continues; `None` on the
    /// segment's last page. A page without ids may have a next one.
    pub last: Option<Attributes>,
}

/// Lists the aggregates that have items in a table, or those of its items that a filter passes.
pub trait AggregateIds: Send + Sync {
    /// One page of a segment, read consistently, after the item with the key `after`.
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
    /// The aggregate's newest row whose `Type` isn't a snapshot's, read consistently; `None` where
    /// there is none.
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

/// The read models' tables: what the projector does with them ([`ReadModel`]), and what comparing and
/// repairing them needs.
pub trait ReadModelRepair: ReadModel {
    /// One page of an aggregate's history items, read consistently, after the item with the key
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
    /// [`ServiceError`]: the item may be gone all the same.
    fn delete_view(
        &self,
        aggregate: &str,
        read: &Attributes,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;

    /// Removes a history item if its attributes are still those that were read. `columns` are those of the
    /// domain, which may have been added since.
    ///
    /// # Errors
    /// [`ServiceError`]: the item may be gone all the same.
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

/// How a reset ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The cursor is reset.
    Done,
    /// The item isn't the one that was read; nothing was changed.
    Changed,
}

/// The cursor table: what the translator does with it ([`CursorStore`]), and resetting a cursor that
/// is unreadable or wrong.
pub trait CursorRepair: CursorStore {
    /// An item as the table stores it, readable or not.
    type Item: Send + Sync;

    /// The aggregate's item, read consistently; `None` where there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn stored(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<StoredCursor<Self::Item>>, ServiceError>> + Send;

    /// Resets the aggregate's cursor to [`Sequence::NONE`] if its item is still the one that was read.
    /// All that the item contains then is the block `until_published`; without one, the item is
    /// removed. The aggregate is published from its first event on: duplicates on the stream are
    /// byte-identical.
    ///
    /// # Errors
    /// [`ServiceError`]: the cursor may be reset all the same.
    fn reset(
        &self,
        aggregate: &str,
        read: &Self::Item,
        until_published: Option<&Block>,
    ) -> impl Future<Output = Result<Reset, ServiceError>> + Send;
}

/// How far a run of `republish` has got, kept so that a later run can continue it.
pub trait RunProgress: Send + Sync {
    /// The highest sequence of the aggregate that the run has published again, with all before it;
    /// `None` where it hasn't begun.
    fn reached(&self, aggregate: &str) -> Option<Sequence>;

    /// Keeps that the run has reached this sequence.
    ///
    /// # Errors
    /// [`ServiceError`] when it could not be kept.
    fn record(&self, aggregate: &str, reached: Sequence) -> Result<(), ServiceError>;

    /// Keeps that the run has nothing left to do for the aggregate.
    ///
    /// # Errors
    /// [`ServiceError`] when it could not be kept.
    fn complete(&self, aggregate: &str) -> Result<(), ServiceError>;
}

/// The progress of a run that isn't continued.
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
