//! Reads the published events of an aggregate again, from the events table, as the translator published them:
//! in order, and with the same bytes.
//!
//! The reconciler sends them to the projector, and `millrace replay` to one consumer. Nothing is published.

use std::collections::VecDeque;

use millrace_core::{
    Attributes, Domain, Envelope, Sequence, StoredRow, StoredRowOf, Timestamp, Version, row,
};
use millrace_runtime::{ServiceError, isolated};

use crate::ports::{EventRows, MAX_PAGE_ROWS};

/// A published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEvent {
    /// Its sequence.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Timestamp,
    /// The bytes of its record on the domain stream.
    pub data: Vec<u8>,
}

/// Why the next event can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A service failed. Nothing was read; the call can be repeated.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The row of the event can't be read, or the event can't be encoded. A repeated call fails in the same way.
    #[error("event {sequence} can't be read: {reason}")]
    Unreadable {
        /// The event.
        sequence: Sequence,
        /// What is wrong.
        reason: String,
    },
    /// The events table has no row of the event. A repeated call fails in the same way.
    #[error("event {0} is missing in the events table")]
    Missing(Sequence),
}

/// The events of one aggregate after the sequence `after`, up to the sequence `through` of its publication
/// cursor. One page of rows is in memory.
#[derive(Debug)]
pub struct PublishedEvents<'a, D: Domain, R> {
    domain: &'a D,
    rows: &'a R,
    aggregate: String,
    after: Sequence,
    through: Sequence,
    context: D::Context,
    /// Rows that were read and not taken yet.
    pending: VecDeque<Attributes>,
    /// The last row that was taken.
    last_row: Option<Version>,
    /// The last event that was taken.
    reached: Sequence,
    /// Whether more rows may follow those that were read.
    more: bool,
    /// Whether a page was read.
    is_begun: bool,
    /// The row after which the last page was read.
    page_after: Option<Version>,
}

/// What a row contains.
struct Read {
    version: Version,
    /// `None` if the row is a snapshot.
    sequence: Option<Sequence>,
    /// The event, if it is after `after`.
    event: Option<PublishedEvent>,
}

impl<'a, D: Domain, R: EventRows> PublishedEvents<'a, D, R> {
    /// The events after `after`, up to `through`. The rows are read from the first one on, because a public
    /// event may repeat data of earlier events. Nothing is read yet.
    pub fn new(
        domain: &'a D,
        rows: &'a R,
        aggregate: impl Into<String>,
        after: Sequence,
        through: Sequence,
    ) -> Self {
        Self {
            domain,
            rows,
            aggregate: aggregate.into(),
            after,
            through,
            context: D::Context::default(),
            pending: VecDeque::new(),
            last_row: None,
            reached: Sequence::NONE,
            more: true,
            is_begun: false,
            page_after: None,
        }
    }

    /// Includes the events up to `through`, to which the publication cursor has moved. Reading continues where it is.
    pub fn extend(&mut self, through: Sequence) {
        if through > self.through {
            self.through = through;
            self.more = true;
            self.is_begun = false;
        }
    }

    /// The next event; `None` after the one at `through`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<PublishedEvent>, ReadError> {
        while self.reached < self.through && self.after < self.through {
            let expected = self.reached.next();
            let Some(row) = self.pending.front() else {
                // Without a row to continue after, another page would be the same one.
                if !self.more || (self.is_begun && self.page_after == self.last_row) {
                    return Err(ReadError::Missing(expected));
                }
                self.read_page().await?;
                continue;
            };
            let (domain, context, after) = (self.domain, &mut self.context, self.after);
            let read = isolated(|| read_row(domain, context, row, after))
                .unwrap_or_else(|_| Err("decoding it panicked".to_owned()));
            let read = match read {
                Ok(read) => read,
                Err(_) if has_no_events_version(row) => {
                    self.last_row = row::version(row).ok().or(self.last_row);
                    self.pending.pop_front();
                    continue;
                }
                Err(reason) => {
                    return Err(ReadError::Unreadable {
                        sequence: expected,
                        reason,
                    });
                }
            };
            if read.sequence.is_some_and(|sequence| sequence != expected) {
                return Err(ReadError::Missing(expected));
            }
            self.pending.pop_front();
            self.last_row = Some(read.version);
            self.reached = read.sequence.unwrap_or(self.reached);
            if read.event.is_some() {
                return Ok(read.event);
            }
        }
        Ok(None)
    }

    async fn read_page(&mut self) -> Result<(), ServiceError> {
        let page = self
            .rows
            .page(&self.aggregate, self.last_row, None, MAX_PAGE_ROWS)
            .await?;
        self.is_begun = true;
        self.page_after = self.last_row;
        self.more = page.more;
        self.pending = page.rows.into();
        Ok(())
    }
}

/// Reads a row. `context` contains the events before it.
///
/// # Errors
/// Why the row can't be read, or its event not be encoded.
fn read_row<D: Domain>(
    domain: &D,
    context: &mut D::Context,
    row: &Attributes,
    after: Sequence,
) -> Result<Read, String> {
    let read = StoredRowOf::<D>::read(domain, row);
    let row = read.map_err(|error| error.to_string())?;
    let version = row.version();
    let StoredRow::Event(event) = row else {
        return Ok(Read {
            version,
            sequence: None,
            event: None,
        });
    };
    let sequence = event.sequence();
    let envelope = Envelope::publish::<D>(context, &event);
    let published = if sequence > after {
        let envelope = envelope.ok_or("it repeats what no event before it contains")?;
        let data = envelope.to_bytes::<D>();
        Some(PublishedEvent {
            sequence,
            time: envelope.time,
            data: data.map_err(|error| error.to_string())?,
        })
    } else {
        None
    };
    Ok(Read {
        version,
        sequence: Some(sequence),
        event: published,
    })
}

/// Whether an undecodable row has a version that no event has. Such a row was never published, so the events
/// after it don't depend on it.
fn has_no_events_version(row: &Attributes) -> bool {
    row::version(row).map_or(true, Version::is_snapshot)
}
