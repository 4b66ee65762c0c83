//! What the writer reads and appends.

use std::future::Future;

use millrace_domain::ids::AggregateId;
use millrace_domain::{Attributes, Timestamp, Version};
use millrace_runtime::ServiceError;

/// What is stored together, or not at all: each row where no row is yet, and the record where no
/// record of its key is, or only one that has expired. At least one of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Makes the service's own retries of this very append harmless; unique to it.
    pub token: String,
    /// The rows.
    pub rows: Vec<(Version, Attributes)>,
    /// The outcome, for repeats of the command.
    pub record: Option<Attributes>,
    /// The time that a record's expiry is held against.
    pub now: Timestamp,
}

/// What became of an [`Append`] that the service has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    Stored,
    /// Nothing is stored: there is a row already. `by` is its `CommandId`, where the service tells
    /// it; the writer's own means that an earlier try of this append was stored after all.
    RowTaken {
        /// Who has appended that row.
        by: Option<String>,
    },
    /// Nothing is stored: there is a record of the key already.
    KeyTaken,
    /// Nothing is stored: another transaction had its hands on one of the items.
    Busy,
}

/// The events table and the idempotency table.
pub trait EventStore: Send + Sync {
    /// An aggregate's newest rows, newest first and read consistently: at least
    /// [`SNAPSHOT_INTERVAL`](millrace_domain::layout::SNAPSHOT_INTERVAL) of them, or all.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn newest(
        &self,
        id: &AggregateId,
    ) -> impl Future<Output = Result<Vec<Attributes>, ServiceError>> + Send;

    /// The record of an idempotency key, read consistently; it may have expired.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn record(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// Stores all of it or nothing.
    ///
    /// # Errors
    /// [`ServiceError`]: whether it is stored is unknown.
    fn append(&self, append: Append)
    -> impl Future<Output = Result<Appended, ServiceError>> + Send;
}
