//! The tables that the writer reads and appends to, as a trait.

use std::future::Future;

use millrace_core::{AggregateId, Attributes, Timestamp, Version};
use millrace_runtime::ServiceError;
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};

/// The most items of one transaction
/// ([TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)).
pub const MAX_TRANSACTION_ITEMS: usize = 100;
/// The most bytes of a transaction's items together, 4 MB
/// ([TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)).
pub const MAX_TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

/// Rows and a record that are stored together or not at all. Nothing is stored if a row of one of the
/// versions exists, or an unexpired record of the key. There is at least one row or a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The append's unique token, which makes the SDK's retries of the append idempotent.
    pub token: String,
    /// The rows.
    pub rows: Vec<(Version, Attributes)>,
    /// The command's outcome, for duplicates of the command.
    pub record: Option<Attributes>,
    /// The time with which an existing record's expiry is compared.
    pub now: Timestamp,
}

/// Why an append can't be stored, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// A row, or the record, is larger than [`MAX_ITEM_BYTES`].
    #[error("the command leads to an item of {bytes} bytes, and the limit is {MAX_ITEM_BYTES}")]
    Item {
        /// The item's size.
        bytes: usize,
    },
    /// Rows and record are more than [`MAX_TRANSACTION_BYTES`] together.
    #[error(
        "the command leads to items of {bytes} bytes together, and the limit is \
         {MAX_TRANSACTION_BYTES}"
    )]
    Transaction {
        /// Their size.
        bytes: usize,
    },
    /// Rows and record are more than [`MAX_TRANSACTION_ITEMS`].
    #[error("the command leads to {items} items, and the limit is {MAX_TRANSACTION_ITEMS}")]
    TransactionItems {
        /// How many they are.
        items: usize,
    },
    /// DynamoDB counted more bytes than the writer.
    #[error(
        "the command leads to more than DynamoDB takes: {MAX_ITEM_BYTES} bytes for an item, and \
         {MAX_TRANSACTION_BYTES} for all items together"
    )]
    Refused,
}

impl Append {
    /// Compares the append with DynamoDB's limits.
    ///
    /// # Errors
    /// [`TooLarge`]: it is over one of them.
    pub fn check_size(&self) -> Result<(), TooLarge> {
        let rows = self.rows.iter().map(|(_, row)| row);
        let sizes: Vec<usize> = rows.chain(&self.record).map(item_size).collect();
        let largest = sizes.iter().copied().max().unwrap_or(0);
        if largest > MAX_ITEM_BYTES {
            return Err(TooLarge::Item { bytes: largest });
        }
        if sizes.len() > MAX_TRANSACTION_ITEMS {
            let items = sizes.len();
            return Err(TooLarge::TransactionItems { items });
        }
        let bytes = sizes.iter().sum();
        if bytes > MAX_TRANSACTION_BYTES {
            return Err(TooLarge::Transaction { bytes });
        }
        Ok(())
    }
}

/// DynamoDB's response to an [`Append`].
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
    /// The transaction of this token is still being processed: its outcome is unknown.
    TransactionInProgress,
    /// An item, or all of them together, is larger than DynamoDB takes: no attempt of this append is
    /// stored, now or later.
    TooLarge,
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
    /// [`SNAPSHOT_INTERVAL`](millrace_core::layout::SNAPSHOT_INTERVAL) of them, or all.
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

    /// Stores all of it or nothing. The append is within the limits of [`Append::check_size`].
    ///
    /// # Errors
    /// [`ServiceError`]: whether it is stored is unknown.
    fn append(&self, append: Append)
    -> impl Future<Output = Result<Appended, ServiceError>> + Send;
}
