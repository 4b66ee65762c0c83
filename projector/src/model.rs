//! Where the read models are kept.

use std::future::Future;

use millrace_domain::Attributes;
use millrace_runtime::ServiceError;

/// What became of a view that was to be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is stored.
    Stored,
    /// Nothing is stored: the item is no longer the one that was read.
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

    /// Puts an aggregate's history lines, each in place of whatever is there.
    ///
    /// # Errors
    /// [`ServiceError`]: some of them may be there. Putting them again changes nothing.
    fn put_history(
        &self,
        lines: Vec<Attributes>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Puts a view item in place of the one that was read, `None` where there was none, unless its
    /// sequence or its mark is another by now.
    ///
    /// # Errors
    /// [`ServiceError`]: whether it is stored is unknown.
    fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;

    /// Sets attributes of a view item that can't be understood, and leaves the rest as it is.
    ///
    /// # Errors
    /// [`ServiceError`]: whether they are set is unknown.
    fn mark(
        &self,
        aggregate: &str,
        attributes: Attributes,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;
}
