//! Reads a view that includes at least the sequence that the client names, so that a client can read
//! its own writes.
//!
//! The response to a command contains the sequence of its last event, and the projector applies the
//! event a moment later. A query that names the sequence waits until then, but at most
//! [`LONGEST_WAIT`]: a waiting query occupies an execution environment, and a lagging read model would
//! make all queries wait.

use std::time::Duration;

use millrace_core::{AggregateId, Project, Sequence, View, ViewOf};
use millrace_runtime::{Ambient, Backoff, Budget};

use crate::ports::ReadModel;
use crate::service::{ReadError, Reader};

/// The longest wait of a query for a sequence.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The shortest pause between two reads, with any jitter. It limits the number of reads, which are
/// billed.
const PAUSE: Duration = Duration::from_millis(25);
/// The backoff that is added to [`PAUSE`].
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(25),
    cap: Duration::from_millis(200),
};

/// The result of [`Reader::fresh_view`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fresh<V> {
    /// The view, at the sequence asked for or after it.
    View(V),
    /// There is no view, and the client asked for no sequence.
    Unknown,
    /// The view didn't reach the sequence in time, or doesn't exist yet.
    Lagging,
}

impl<D: Project, M: ReadModel, A: Ambient> Reader<D, M, A> {
    /// Reads the view of `id` until it has reached `at_least`, for at most [`LONGEST_WAIT`] and within
    /// `budget`. With [`Sequence::NONE`] it reads once.
    ///
    /// # Errors
    /// [`ReadError`] of the first read that fails: the SDK has retried the call already, and a retry
    /// doesn't help with an item that can't be decoded.
    pub(crate) async fn fresh_view(
        &self,
        id: &AggregateId,
        at_least: Sequence,
        budget: Budget,
    ) -> Result<Fresh<ViewOf<D>>, ReadError> {
        let patience = Budget::lasting(budget.left().min(LONGEST_WAIT));
        let mut reads = 0;
        loop {
            match self.view(id).await? {
                Some(view) if view.sequence >= at_least => return Ok(Fresh::View(view)),
                None if at_least == Sequence::NONE => return Ok(Fresh::Unknown),
                Some(_) | None => {}
            }
            let pause = PAUSE + BACKOFF.delay(reads, &self.ambient);
            if !patience.allows(pause) {
                return Ok(Fresh::Lagging);
            }
            tokio::time::sleep(pause).await;
            reads += 1;
        }
    }

    async fn view(&self, id: &AggregateId) -> Result<Option<ViewOf<D>>, ReadError> {
        match self.model.view(id).await? {
            Some(item) => Ok(View::read(&item)?),
            None => Ok(None),
        }
    }
}
