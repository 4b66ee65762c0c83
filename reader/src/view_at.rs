//! The view of an aggregate at a time: what it was after the last event effective by then.
//!
//! An entry's effective time is never earlier than that of the entry before it, and the sequences up to
//! the view's have no gap. So a binary search finds the entry: 20 reads for a million events. A second
//! index by time would need one read, but would double the cost of each event's write.

use millrace_core::answer::{self, Answer};
use millrace_core::{HistoryEntry, HistoryEntryOf, Project, Sequence, Timestamp, ViewOf};
use millrace_runtime::Ambient;

use crate::ports::ReadModel;
use crate::service::{ReadError, Reader};

impl<D: Project, M: ReadModel, A: Ambient> Reader<D, M, A> {
    /// The view at `at`, or now; `None` if nothing had happened by then.
    ///
    /// The response for a time before the view's last event is final. For a later time it may still
    /// change, because an event that isn't projected yet may have an effective time up to then. For a
    /// time in the future, it is the current view.
    ///
    /// # Errors
    /// [`ReadError`]: the service failed, an entry can't be decoded, or one is missing.
    pub(crate) async fn view_at(
        &self,
        view: &ViewOf<D>,
        at: Option<Timestamp>,
    ) -> Result<Option<Answer<D::View>>, ReadError> {
        // A writer's clock may be ahead of this one, so the view may have a later time.
        let latest = self.ambient.now().max(view.updated_at);
        let at = at.map_or(latest, |at| at.min(latest));
        let (sequence, shown) = if at >= view.updated_at {
            (view.sequence, view.view.clone())
        } else if at < view.opened_at {
            return Ok(None);
        } else {
            let entry = self.last_effective_by(view, at).await?;
            let after = D::view_after(&entry.entry);
            (
                entry.sequence,
                after.ok_or(ReadError::NoView(entry.sequence))?,
            )
        };
        Ok(Some(answer::view_at::<D>(&view.id, sequence, shown, at)))
    }

    /// The last entry effective by `at`, which is before the view's last event and not before its
    /// first.
    async fn last_effective_by(
        &self,
        view: &ViewOf<D>,
        at: Timestamp,
    ) -> Result<HistoryEntryOf<D>, ReadError> {
        let mut effective: Option<HistoryEntryOf<D>> = None;
        // The entry at `low` is effective by `at`, the one at `high` isn't.
        let (mut low, mut high) = (1, view.sequence.get());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let entry = self.entry(view, middle).await?;
            if entry.effective_at <= at {
                low = middle;
                effective = Some(entry);
            } else {
                high = middle;
            }
        }
        match effective {
            Some(entry) => Ok(entry),
            None => self.entry(view, low).await,
        }
    }

    async fn entry(&self, view: &ViewOf<D>, sequence: u64) -> Result<HistoryEntryOf<D>, ReadError> {
        let sequence = Sequence::new(sequence).expect("no higher than the view's");
        let item = self.model.entry(&view.id, sequence).await?;
        Ok(HistoryEntry::read(
            &item.ok_or(ReadError::Missing(sequence))?,
        )?)
    }
}
