//! Folds one aggregate's events page by page into the view and the history entry after each event. Only one
//! page of rows is in memory, no matter how many events the aggregate has.

use std::collections::VecDeque;

use millrace_core::view::{self, HistoryEntryOf, ViewOf};
use millrace_core::{
    Attributes, DecodeError, Domain, EncodeError, Envelope, Project, Sequence, StoredRow,
    StoredRowOf, Version, row,
};
use millrace_runtime::ServiceError;
use millrace_translator::ports::MAX_PAGE_ROWS;

use super::ports::EventLog;

/// Why the fold of an aggregate ends before its last event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A row can't be decoded.
    #[error("row {version} can't be decoded: {error}")]
    Undecodable {
        /// The row's `Version`, or 0 if the version can't be read.
        version: u64,
        /// What is wrong.
        error: DecodeError,
    },
    /// A row is missing.
    #[error("event {0} is missing")]
    Missing(Sequence),
    /// No earlier event contains the data that the public event must repeat.
    #[error("event {0} repeats what no event before it contains")]
    Unpublishable(Sequence),
    /// The domain's public event has no type name, because it isn't an enum.
    #[error("event {sequence} can't be projected: {error}")]
    Unprojectable {
        /// The sequence of the event.
        sequence: Sequence,
        /// What is wrong.
        error: EncodeError,
    },
}

/// One event, with the view and the history entry after it.
pub struct Folded<D: Project> {
    /// The event.
    pub envelope: Envelope<D::PublicEvent>,
    /// The view after it.
    pub view: ViewOf<D>,
    /// Its history entry.
    pub entry: HistoryEntryOf<D>,
}

/// A fold of the events that have been read so far.
pub struct Fold<'a, D: Project, L> {
    domain: &'a D,
    events: &'a L,
    aggregate: &'a str,
    rows: VecDeque<Attributes>,
    /// The last row that was read.
    after: Option<Version>,
    /// Whether more rows may follow the last one that was read.
    more: bool,
    state: Option<D::State>,
    context: D::Context,
    view: Option<ViewOf<D>>,
    damage: Option<Damage>,
    wrong_snapshot: Option<Version>,
}

impl<'a, D: Project, L: EventLog> Fold<'a, D, L> {
    /// A fold before the first event. It reads nothing yet.
    pub fn new(domain: &'a D, events: &'a L, aggregate: &'a str) -> Self {
        Self {
            domain,
            events,
            aggregate,
            rows: VecDeque::new(),
            after: None,
            more: true,
            state: None,
            context: <D as Domain>::Context::default(),
            view: None,
            damage: None,
            wrong_snapshot: None,
        }
    }

    /// Reads the next event; `None` after the last row, or if the next event can't be read
    /// ([`Fold::damage`]).
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read; the call can be repeated.
    pub async fn next(&mut self) -> Result<Option<Folded<D>>, ServiceError> {
        while self.damage.is_none() {
            while let Some(row) = self.rows.pop_front() {
                match self.fold(&row) {
                    Ok(Some(folded)) => return Ok(Some(folded)),
                    Ok(None) => {}
                    Err(damage) => {
                        self.damage = Some(damage);
                        return Ok(None);
                    }
                }
            }
            if !self.more {
                break;
            }
            self.read().await?;
        }
        Ok(None)
    }

    /// Reads all remaining events.
    ///
    /// # Errors
    /// [`ServiceError`]: the fold can be continued with another call.
    pub async fn finish(&mut self, mut each: impl FnMut(&Folded<D>)) -> Result<(), ServiceError> {
        while let Some(folded) = self.next().await? {
            each(&folded);
        }
        Ok(())
    }

    /// Makes [`Fold::next`] read again at the end, because rows may have been appended since the end was
    /// reached.
    pub const fn look_again(&mut self) {
        self.more = true;
    }

    /// The view after the last event that was read; `None` before the first.
    #[must_use]
    pub const fn view(&self) -> Option<&ViewOf<D>> {
        self.view.as_ref()
    }

    /// The sequence of the last event that was read.
    #[must_use]
    pub fn through(&self) -> Sequence {
        let view = self.view.as_ref();
        view.map_or(Sequence::NONE, |view| view.sequence)
    }

    /// Why the next event can't be read; `None` if it can, or if there is none.
    #[must_use]
    pub const fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The version of the first snapshot that isn't the fold of the events before it.
    #[must_use]
    pub const fn wrong_snapshot(&self) -> Option<Version> {
        self.wrong_snapshot
    }

    async fn read(&mut self) -> Result<(), ServiceError> {
        let page = self
            .events
            .page(self.aggregate, self.after, None, MAX_PAGE_ROWS)
            .await?;
        // An empty page ends the rows: the request for another page would start at the same row.
        self.more = page.more && !page.rows.is_empty();
        // If the row's version can't be read, the fold ends at the row, so no later page is read.
        let last = page.rows.last().and_then(|row| row::version(row).ok());
        self.after = last.or(self.after);
        self.rows = page.rows.into();
        Ok(())
    }

    fn fold(&mut self, row: &Attributes) -> Result<Option<Folded<D>>, Damage> {
        let expected = self.through().next();
        let read: Result<StoredRowOf<D>, _> = StoredRow::read(self.domain, row);
        let event = match read.map_err(|error| Damage::Undecodable {
            version: row::version(row).map_or(0, Version::get),
            error,
        })? {
            StoredRow::Event(event) => event,
            StoredRow::Snapshot(snapshot) => {
                let is_here = snapshot.version.sequence().next() == expected;
                if is_here && Some(snapshot.state) != self.state {
                    self.wrong_snapshot.get_or_insert(snapshot.version);
                }
                return Ok(None);
            }
        };
        if event.sequence() != expected {
            return Err(Damage::Missing(expected));
        }
        let envelope = Envelope::publish::<D>(&mut self.context, &event)
            .ok_or(Damage::Unpublishable(expected))?;
        self.state = D::evolve(self.state.take(), &event.event);
        let (view, entry) = view::apply::<D>(self.view.as_ref(), &envelope).map_err(|error| {
            Damage::Unprojectable {
                sequence: expected,
                error,
            }
        })?;
        self.view = Some(view.clone());
        Ok(Some(Folded {
            envelope,
            view,
            entry,
        }))
    }
}
