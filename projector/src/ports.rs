//! The read models that the projector updates, as a trait.

use std::future::Future;

use millrace_core::Attributes;
use millrace_runtime::ServiceError;

/// The attribute of a view item that every write changes: a unique id. Two items of the same sequence
/// may differ (one is damaged, the other is its repair), so the sequence alone doesn't show whether
/// another writer has changed the item. Items that the previous version wrote have none.
pub const REVISION: &str = "Revision";

/// The most items that one call of [`ReadModel::put_history`] takes
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
pub const MAX_HISTORY_ITEMS: usize = 25;

/// The most bytes of one call of [`ReadModel::put_history`] as it is sent, in `DynamoDB`'s JSON: 16 MB
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
/// The page doesn't say whether a MB has 10^6 or 2^20 bytes; this holds for both.
pub const MAX_HISTORY_BYTES: usize = 16_000_000;

/// How a conditional write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The item is stored.
    Stored,
    /// Nothing is stored: another writer has changed the item since it was read.
    Moved,
}

/// The view table and the history table.
pub trait ReadModel: Send + Sync {
    /// An aggregate's view item, read consistently; `None` where there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn view(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// Puts history items in one call, at most [`MAX_HISTORY_ITEMS`] and [`MAX_HISTORY_BYTES`]. Each
    /// replaces an item of its key. Returns the items that the service left unprocessed.
    ///
    /// # Errors
    /// [`ServiceError`]: some of the items may be stored. Putting them again changes nothing.
    fn put_history(
        &self,
        items: Vec<Attributes>,
    ) -> impl Future<Output = Result<Vec<Attributes>, ServiceError>> + Send;

    /// Puts a view item, which has a fresh [`REVISION`], in place of the one that was read, `None`
    /// where there was none.
    ///
    /// Nothing is stored unless the stored item has the revision that was read. Where the item that
    /// was read has none, the stored one must have none either, and the same sequence and the same
    /// stale sequence, because a projector of the previous version changes only these.
    ///
    /// # Errors
    /// [`ServiceError`]: whether it is stored is unknown.
    fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;

    /// Sets the stale attributes of a view item that can't be decoded, and a fresh [`REVISION`], and
    /// leaves the rest as it is; on the condition of [`ReadModel::save_view`].
    ///
    /// # Errors
    /// [`ServiceError`]: whether they are set is unknown.
    fn set_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;
}
