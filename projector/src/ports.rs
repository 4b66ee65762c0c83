//! The read models that the projector updates, as a trait.

use std::collections::HashMap;
use std::future::Future;

use millrace_core::Attributes;
use millrace_runtime::ServiceError;

/// The attribute of a view item that every write changes: a unique id. Two items of the same sequence
/// may differ (one is damaged, the other is its repair), so the sequence alone doesn't show whether
/// another writer has changed the item. Items that the previous version wrote have none.
pub const REVISION: &str = "Revision";

/// The most aggregates of one call of [`ReadModel::read_views`]
/// ([BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
pub const MAX_VIEWS: usize = 100;

/// The most views of one call of [`ReadModel::save_views`]
/// ([BatchExecuteStatement](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html)).
pub const MAX_SAVES: usize = 25;

/// The most items that one call of [`ReadModel::put_history`] takes
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
pub const MAX_HISTORY_ITEMS: usize = 25;

/// The most bytes of one call of [`ReadModel::put_history`] as it is sent, in `DynamoDB`'s JSON: 16 MB
/// ([BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)).
/// The page doesn't say whether a MB has 10^6 or 2^20 bytes; this holds for both.
pub const MAX_HISTORY_BYTES: usize = 16_000_000;

/// The result of one [`ReadModel::read_views`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Views {
    /// The view items by aggregate. An aggregate that is neither here nor in `unprocessed` has none.
    pub found: HashMap<String, Attributes>,
    /// The aggregates that the service left unprocessed; they have to be read again.
    pub unprocessed: Vec<String>,
}

/// A view item to save in place of the one that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewSave {
    /// The item, which has a fresh [`REVISION`].
    pub item: Attributes,
    /// The item that was read, which has a [`REVISION`]; `None` where there was none.
    pub read: Option<Attributes>,
}

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

    /// Several aggregates' view items, read consistently in one call. The aggregates are at most
    /// [`MAX_VIEWS`], and no two of them are the same.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn read_views(
        &self,
        aggregates: &[&str],
    ) -> impl Future<Output = Result<Views, ServiceError>> + Send;

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

    /// Saves view items of different aggregates in one call, at most [`MAX_SAVES`], each on a condition of
    /// its own: the stored item has the revision that was read, or there is none where none was read.
    /// Attributes that the read item has and the new one lacks are removed.
    ///
    /// Returns for each item, in order, whether it is stored. An item for which `false` is returned has to
    /// be read again and saved alone, whatever the reason: another writer has changed it, the service
    /// refused or throttled this item, or it can't be saved together with others.
    ///
    /// # Errors
    /// [`ServiceError`]: some of the items may be stored.
    fn save_views(
        &self,
        saves: Vec<ViewSave>,
    ) -> impl Future<Output = Result<Vec<bool>, ServiceError>> + Send;

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
