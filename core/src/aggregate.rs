//! An aggregate as a writer uses it: the state folded from its newest rows, and the rows that are
//! appended next.
//!
//! Invariant: the rows that [`Aggregate::append`] returns keep a snapshot among the newest
//! [`SNAPSHOT_INTERVAL`](crate::layout::SNAPSHOT_INTERVAL) rows, also where a legacy writer left the
//! next snapshot out.

use std::fmt;
use std::time::Duration;

use crate::attribute::Attributes;
use crate::domain::Domain;
use crate::error::{DecodeError, EncodeError};
use crate::ids::{AggregateId, Metadata};
use crate::layout::{Sequence, Version};
use crate::refusal::Refusal;
use crate::row::{self, RecordedEvent, Snapshot, StoredRow};
use crate::time::Timestamp;

/// How far two writers' clocks may plausibly be apart. Lambda's are synchronised to well below a
/// second.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// An aggregate after its newest row.
pub struct Aggregate<D: Domain> {
    id: AggregateId,
    state: Option<D::State>,
    newest: Option<(Version, Timestamp)>,
}

/// Rows that don't fold to a state. The aggregate can't be continued until they are repaired; a retry
/// fails in the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A row can't be decoded.
    #[error("row {version} can't be read: {source}")]
    Row {
        /// The row's version, or 0 if that can't be read either.
        version: u64,
        /// Which attribute, and why.
        source: DecodeError,
    },
    /// A row is missing between others.
    #[error("row {version} is missing")]
    Missing {
        /// Its version.
        version: u64,
    },
    /// The newest rows contain no snapshot and don't reach back to the first.
    #[error("the newest rows, down to row {oldest}, contain no snapshot")]
    NoSnapshot {
        /// The oldest row that was given.
        oldest: Version,
    },
}

impl<D: Domain> Aggregate<D> {
    /// An aggregate that has no row yet.
    #[must_use]
    pub const fn new(id: AggregateId) -> Self {
        Self {
            id,
            state: None,
            newest: None,
        }
    }

    /// Folds the newest rows, given newest first, from the newest snapshot or else from row 1. Without
    /// rows, it is an aggregate that has no row yet.
    ///
    /// # Errors
    /// [`LoadError`] if the rows don't fold to a state.
    pub fn load(
        domain: &D,
        id: AggregateId,
        newest_first: &[Attributes],
    ) -> Result<Self, LoadError> {
        let mut aggregate = Self::new(id);
        let mut events = Vec::new();
        let mut expected: Option<Version> = None;
        let mut complete = newest_first.is_empty();
        for attributes in newest_first {
            let row = StoredRow::read(domain, attributes).map_err(|source| LoadError::Row {
                version: row::version(attributes).map_or(0, Version::get),
                source,
            })?;
            let version = row.version();
            if let Some(expected) = expected.filter(|expected| *expected != version) {
                return Err(LoadError::Missing {
                    version: expected.get(),
                });
            }
            aggregate.newest.get_or_insert((version, row.time()));
            match row {
                StoredRow::Snapshot(snapshot) => {
                    aggregate.state = Some(snapshot.state);
                    complete = true;
                }
                StoredRow::Event(event) => {
                    events.push(event.event);
                    complete = version == Version::FIRST;
                }
            }
            if complete {
                break;
            }
            expected = Version::new(version.get() - 1);
        }
        if !complete {
            let oldest = expected.map_or(Version::FIRST, Version::next);
            return Err(LoadError::NoSnapshot { oldest });
        }
        aggregate.state = events.iter().rev().fold(aggregate.state, D::evolve);
        Ok(aggregate)
    }

    /// The aggregate's id.
    #[must_use]
    pub const fn id(&self) -> &AggregateId {
        &self.id
    }

    /// The state after the newest row; `None` before the first event.
    #[must_use]
    pub const fn state(&self) -> Option<&D::State> {
        self.state.as_ref()
    }

    /// The sequence of the newest event.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.newest
            .map_or(Sequence::NONE, |(version, _)| version.sequence())
    }

    /// The events that a command leads to, in order.
    ///
    /// # Errors
    /// The domain's [`Refusal`].
    pub fn decide(&self, domain: &D, command: D::Command) -> Result<Vec<D::Event>, Refusal> {
        domain.decide(self.state(), command)
    }

    /// The aggregate after these events, and the rows that append them, snapshots included. All rows
    /// belong together: they are written in one transaction or not at all.
    ///
    /// An event is no earlier than the row before it, even if this writer's clock is slightly slower
    /// than the previous writer's. There is one exception: a row whose time is more than
    /// [`CLOCK_TOLERANCE`] ahead of this writer's clock was written with a wrong clock. The event then
    /// gets this writer's time, which is earlier than the row's. Otherwise all later events of the
    /// aggregate would get the row's time until that time is reached. The read model orders by
    /// sequence, and its effective time is the latest up to each event.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's types have no form as rows, the first event isn't
    /// [`Domain::BEGINS`], or there is no state after an event. Nothing may be written then.
    pub fn append(
        &self,
        events: &[D::Event],
        at: Timestamp,
        metadata: &Metadata,
    ) -> Result<(Self, Vec<(Version, Attributes)>), EncodeError> {
        let mut after = self.clone();
        let mut rows = Vec::new();
        let at = self.newest.map_or(at, |(_, newest)| plausible(newest, at));
        for event in events {
            rows.extend(after.snapshot_if_due(at)?);
            let recorded = RecordedEvent {
                id: self.id.clone(),
                version: after.next_version(),
                time: at,
                metadata: metadata.clone(),
                event: event.clone(),
            };
            rows.push((recorded.version, recorded.to_row::<D>()?));
            after.newest = Some((recorded.version, at));
            after.state = D::evolve(after.state, event);
            if after.state.is_none() {
                return Err(EncodeError::new("is an event that leaves no state"));
            }
        }
        rows.extend(after.snapshot_if_due(at)?);
        Ok((after, rows))
    }

    fn snapshot_if_due(
        &mut self,
        at: Timestamp,
    ) -> Result<Option<(Version, Attributes)>, EncodeError> {
        let version = self.next_version();
        let Some(state) = self.state.clone().filter(|_| version.is_snapshot()) else {
            return Ok(None);
        };
        let snapshot = Snapshot {
            id: self.id.clone(),
            version,
            time: at,
            state,
        };
        self.newest = Some((version, at));
        Ok(Some((version, snapshot.to_row::<D>()?)))
    }

    fn next_version(&self) -> Version {
        self.newest
            .map_or(Version::FIRST, |(version, _)| version.next())
    }
}

/// The time of an event after a row of time `newest`, by a writer whose clock shows `now`.
fn plausible(newest: Timestamp, now: Timestamp) -> Timestamp {
    let ahead = newest.unix_millis() - now.unix_millis();
    let tolerance = i64::try_from(CLOCK_TOLERANCE.as_millis()).unwrap_or(i64::MAX);
    if ahead > tolerance {
        now
    } else {
        newest.max(now)
    }
}

// Derived, these would ask for the same of `D`, which is no data.

impl<D: Domain> Clone for Aggregate<D> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            state: self.state.clone(),
            newest: self.newest,
        }
    }
}

impl<D: Domain> PartialEq for Aggregate<D> {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.state, self.newest) == (&other.id, &other.state, other.newest)
    }
}

impl<D: Domain> fmt::Debug for Aggregate<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregate")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("newest", &self.newest)
            .finish()
    }
}
