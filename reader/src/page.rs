//! A page of an aggregate's history, newest entry first.
//!
//! A page begins below a sequence. Entries that are written between two requests have higher sequences,
//! so they neither shift a page nor repeat entries.

use millrace_core::answer::{self, HistoryPage};
use millrace_core::{HistoryEntry, HistoryEntryOf, Project, Sequence, ViewOf};

use crate::ports::ReadModel;
use crate::service::{ReadError, Reader};

impl<D: Project, M: ReadModel, A> Reader<D, M, A> {
    /// The page of `limit` entries that begins below `before`, or with the entry of the view's own
    /// sequence. The view is one that has reached the event before `before`.
    ///
    /// # Errors
    /// [`ReadError`]: the service failed, an entry can't be decoded, or one is missing. A page with a
    /// gap would look like any other.
    pub(crate) async fn history_page(
        &self,
        view: &ViewOf<D>,
        limit: usize,
        before: Option<Sequence>,
    ) -> Result<HistoryPage<D::Entry>, ReadError> {
        let newest = before.map_or(view.sequence, preceding);
        let items = self.model.history(&view.id, newest, limit).await?;
        let entries = items
            .iter()
            .map(HistoryEntry::read)
            .collect::<Result<Vec<HistoryEntryOf<D>>, _>>()?;
        let last = without_gap(&entries, newest, limit)?;
        let next = Some(last).filter(|last| preceding(*last) != Sequence::NONE);
        Ok(answer::history_page::<D>(view.id.clone(), entries, next))
    }
}

/// The sequence before this one; of the first one and of [`Sequence::NONE`], `NONE`.
pub(crate) fn preceding(sequence: Sequence) -> Sequence {
    Sequence::new(sequence.get().saturating_sub(1)).expect("lower than a sequence")
}

/// The last entry's sequence, if the entries are `newest`, the one below it, and so on, `limit` of
/// them or down to the first event.
fn without_gap<E>(
    entries: &[HistoryEntry<E>],
    newest: Sequence,
    limit: usize,
) -> Result<Sequence, ReadError> {
    let mut last = newest.next();
    let mut expected = newest;
    for entry in entries {
        if entry.sequence != expected {
            return Err(ReadError::Missing(expected));
        }
        last = expected;
        expected = preceding(expected);
    }
    if entries.len() < limit && expected != Sequence::NONE {
        return Err(ReadError::Missing(expected));
    }
    Ok(last)
}
