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

/// What DynamoDB answered to an [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    Stored,
    /// A row of one of the versions exists. `by` is that row's `CommandId`, where the service
    /// returns it; the writer's own id means that an earlier attempt of this append was stored.
    VersionConflict {
        /// The command that appended the existing row.
        by: Option<String>,
    },
    /// A record of the key exists that has not expired.
    KeyTaken,
    /// Another transaction was writing one of the items. The SDK retries a call whose answer was
    /// lost, so an earlier attempt of this append may be stored.
    TransactionConflict,
    /// The transaction of this very token is still being processed: its outcome is open.
    TransactionInProgress,
}

/// What a transactional read of a record found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommittedRecord {
    /// The record, or none. No transaction was writing it.
    Read(Option<Attributes>),
    /// A transaction is writing the record, or has just done so: read it again.
    TransactionConflict,
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

    /// One row, read consistently.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn row(
        &self,
        id: &AggregateId,
        version: Version,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// The record of an idempotency key, read consistently; it may have expired. A transaction's
    /// items become visible one by one to this read, so the rows that belong to the record may be
    /// visible earlier than the record.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn record(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// The record of an idempotency key, read in a transaction; it may have expired. Once any row
    /// of an append is visible, this read returns the append's record or
    /// [`CommittedRecord::TransactionConflict`], never none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn committed_record(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<CommittedRecord, ServiceError>> + Send;

    /// Stores all of it or nothing.
    ///
    /// # Errors
    /// [`ServiceError`]: whether it is stored is unknown.
    fn append(&self, append: Append)
    -> impl Future<Output = Result<Appended, ServiceError>> + Send;
}
