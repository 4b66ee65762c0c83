//! Folds one aggregate's events page by page into the view and the history entry after each event. Only one
//! page of rows is in memory, no matter how many events the aggregate has.
//!
//! The events come from a [`Source`]: the events table ([`EventLog`]), or the lake.

use std::collections::VecDeque;
use std::future::Future;

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

/// A source of aggregates' events. Every [`EventLog`] is one.
pub trait Source<D: Project>: Send + Sync {
    /// Whether the source has all events. Otherwise, an aggregate may have more events than the source has of
    /// it, so items of later events aren't wrong.
    const HAS_ALL: bool;

    /// The events of one aggregate.
    type Events<'a>: EventsOf<D>
    where
        Self: 'a;

    /// The events of one aggregate, from the first one on. It reads nothing yet.
    fn events<'a>(&'a self, domain: &'a D, aggregate: &'a str) -> Self::Events<'a>;
}

/// The events of one aggregate, in order.
pub trait EventsOf<D: Project>: Send {
    /// Reads the event of the sequence `expected`, which follows the one that was read before; `None` if there
    /// are no more events. If the event can't be read, the call returns the reason, and isn't repeated.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read; the call can be repeated.
    fn next(
        &mut self,
        expected: Sequence,
    ) -> impl Future<Output = Result<Option<Readable<D>>, ServiceError>> + Send;

    /// Makes [`EventsOf::next`] read again at the end, because events may have been appended since the end
    /// was reached.
    fn look_again(&mut self);

    /// The version of the first snapshot that isn't the fold of the events before it.
    fn wrong_snapshot(&self) -> Option<Version>;
}

/// An event, or why it can't be read.
pub type Readable<D> = Result<Envelope<<D as Domain>::PublicEvent>, Damage>;

impl<D: Project, L: EventLog> Source<D> for L {
    const HAS_ALL: bool = true;

    type Events<'a>
        = Rows<'a, D, L>
    where
        L: 'a;

    fn events<'a>(&'a self, domain: &'a D, aggregate: &'a str) -> Rows<'a, D, L> {
        Rows {
            domain,
            events: self,
            aggregate,
            pending: VecDeque::new(),
            after: None,
            more: true,
            state: None,
            context: <D as Domain>::Context::default(),
            wrong_snapshot: None,
        }
    }
}

/// An aggregate's rows in the events table.
pub struct Rows<'a, D: Project, L> {
    domain: &'a D,
    events: &'a L,
    aggregate: &'a str,
    /// Rows that were read and aren't folded yet.
    pending: VecDeque<Attributes>,
    /// The last row that was read.
    after: Option<Version>,
    /// Whether more rows may follow the last one that was read.
    more: bool,
    state: Option<D::State>,
    context: D::Context,
    wrong_snapshot: Option<Version>,
}

impl<D: Project, L: EventLog> EventsOf<D> for Rows<'_, D, L> {
    async fn next(&mut self, expected: Sequence) -> Result<Option<Readable<D>>, ServiceError> {
        loop {
            while let Some(row) = self.pending.pop_front() {
                if let Some(event) = self.event(&row, expected).transpose() {
                    return Ok(Some(event));
                }
            }
            if !self.more {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    fn look_again(&mut self) {
        self.more = true;
    }

    fn wrong_snapshot(&self) -> Option<Version> {
        self.wrong_snapshot
    }
}

impl<D: Project, L: EventLog> Rows<'_, D, L> {
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
        self.pending = page.rows.into();
        Ok(())
    }

    /// The event of a row; `None` if the row is a snapshot.
    fn event(
        &mut self,
        row: &Attributes,
        expected: Sequence,
    ) -> Result<Option<Envelope<D::PublicEvent>>, Damage> {
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
        Ok(Some(envelope))
    }
}

/// A fold of the events that have been read so far.
pub struct Fold<'a, D: Project, S: Source<D> + 'a> {
    events: S::Events<'a>,
    view: Option<ViewOf<D>>,
    damage: Option<Damage>,
}

impl<'a, D: Project, S: Source<D>> Fold<'a, D, S> {
    /// A fold before the first event. It reads nothing yet.
    pub fn new(domain: &'a D, source: &'a S, aggregate: &'a str) -> Self {
        Self {
            events: source.events(domain, aggregate),
            view: None,
            damage: None,
        }
    }

    /// Reads the next event; `None` after the last one, or if the next event can't be read
    /// ([`Fold::damage`]).
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read; the call can be repeated.
    pub async fn next(&mut self) -> Result<Option<Folded<D>>, ServiceError> {
        if self.damage.is_some() {
            return Ok(None);
        }
        let read = self.events.next(self.through().next()).await?;
        match read.map(|event| event.and_then(|envelope| self.fold(envelope))) {
            None => Ok(None),
            Some(Ok(folded)) => Ok(Some(folded)),
            Some(Err(damage)) => {
                self.damage = Some(damage);
                Ok(None)
            }
        }
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

    /// Makes [`Fold::next`] read again at the end, because events may have been appended since the end was
    /// reached.
    pub fn look_again(&mut self) {
        self.events.look_again();
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

    /// Whether the aggregate may have events after the last one that can be read: the next one can't be read,
    /// or the source doesn't have all events.
    #[must_use]
    pub const fn may_continue(&self) -> bool {
        self.damage.is_some() || !S::HAS_ALL
    }

    /// The version of the first snapshot that isn't the fold of the events before it.
    #[must_use]
    pub fn wrong_snapshot(&self) -> Option<Version> {
        self.events.wrong_snapshot()
    }

    fn fold(&mut self, envelope: Envelope<D::PublicEvent>) -> Result<Folded<D>, Damage> {
        let (view, entry) = view::apply::<D>(self.view.as_ref(), &envelope).map_err(|error| {
            Damage::Unprojectable {
                sequence: envelope.sequence,
                error,
            }
        })?;
        self.view = Some(view.clone());
        Ok(Folded {
            envelope,
            view,
            entry,
        })
    }
}
