//! The read model's tables, as a trait.

use std::future::Future;

use millrace_core::{AggregateId, Attributes, Sequence};
use millrace_runtime::ServiceError;

/// The read model's items. Every read is consistent: it sees all that was written before it began.
pub trait ReadModel: Send + Sync {
    /// The item of an aggregate's view; `None` while there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn view(
        &self,
        id: &AggregateId,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// The items of the history entries at `newest` and below, newest first, `limit` of them or as many
    /// as there are.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Attributes>, ServiceError>> + Send;

    /// The item of the history entry at `sequence`; `None` where there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;
}
