//! The read model, wherever it is kept.

use std::future::Future;

use millrace_domain::{AggregateId, HistoryEntry, RowError, Sequence, View};
use millrace_runtime::ServiceError;

/// Why the read model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A service failed: the client may try again.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An item can't be understood: trying again won't help, somebody has to mend it.
    #[error("an item can't be read")]
    Item(#[from] RowError),
    /// A history line is missing though the view is past it; the projector writes lines first.
    #[error("the history has no line {0}")]
    Hole(Sequence),
}

/// The read model. Every read is consistent: it sees all that was written before it began.
pub trait ReadModel: Send + Sync {
    /// An aggregate's view; `None` while there is none.
    ///
    /// # Errors
    /// [`ReadError`]: the service failed, or the item can't be understood.
    fn view(
        &self,
        id: &AggregateId,
    ) -> impl Future<Output = Result<Option<View>, ReadError>> + Send;

    /// The history lines at `newest` and below, newest first, `limit` of them or as many as there
    /// are.
    ///
    /// # Errors
    /// [`ReadError`]: the service failed, or a line can't be understood.
    fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<HistoryEntry>, ReadError>> + Send;

    /// The history line at `sequence`; `None` where there is none.
    ///
    /// # Errors
    /// [`ReadError`]: the service failed, or the line can't be understood.
    fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> impl Future<Output = Result<Option<HistoryEntry>, ReadError>> + Send;
}
