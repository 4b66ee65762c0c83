//! The view, once it is as new as the client needs it: how one reads one's own writes.
//!
//! A command answers with the sequence it led to, and the projector is there a moment later. A
//! query that names the sequence waits for that moment, but not for long: a wait holds a running
//! function, and a read model that stands still would hold them all.

use std::time::Duration;

use millrace_core::{AggregateId, Project, Sequence, View, ViewOf};
use millrace_runtime::{Ambient, Backoff, Budget};

use crate::ports::ReadModel;
use crate::service::{ReadError, Reader};

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The least time between two looks, whatever the jitter: every look is a read that is paid for.
const PAUSE: Duration = Duration::from_millis(25);
/// What comes on top of it.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(25),
    cap: Duration::from_millis(200),
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fresh<V> {
    /// The view, at the sequence asked for or after it.
    View(V),
    /// There is no view, and the client asked for no sequence.
    Unknown,
    /// The view, if there is one, didn't get there in time.
    Behind,
}

impl<D: Project, M: ReadModel, A: Ambient> Reader<D, M, A> {
    /// The view of `id` once it is at `at_least`, after a wait of [`LONGEST_WAIT`] at most, and never
    /// beyond `budget`. With [`Sequence::NONE`] the first look decides.
    ///
    /// # Errors
    /// [`ReadError`], at once: a look that fails was tried again by the SDK already, and an item that
    /// can't be decoded stays as it is.
    pub(crate) async fn fresh_view(
        &self,
        id: &AggregateId,
        at_least: Sequence,
        budget: Budget,
    ) -> Result<Fresh<ViewOf<D>>, ReadError> {
        let patience = Budget::lasting(budget.left().min(LONGEST_WAIT));
        let mut looks = 0;
        loop {
            match self.view(id).await? {
                Some(view) if view.sequence >= at_least => return Ok(Fresh::View(view)),
                None if at_least == Sequence::NONE => return Ok(Fresh::Unknown),
                Some(_) | None => {}
            }
            let pause = PAUSE + BACKOFF.delay(looks, &self.ambient);
            if !patience.allows(pause) {
                return Ok(Fresh::Behind);
            }
            tokio::time::sleep(pause).await;
            looks += 1;
        }
    }

    async fn view(&self, id: &AggregateId) -> Result<Option<ViewOf<D>>, ReadError> {
        match self.model.view(id).await? {
            Some(item) => Ok(View::read(&item)?),
            None => Ok(None),
        }
    }
}
