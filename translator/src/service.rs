//! The steps of a batch.

use std::collections::{BTreeMap, HashMap};

use futures_util::stream::{self, StreamExt};
use millrace_core::{DecodeError, Domain, Sequence};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use tracing::{Instrument as _, info_span};

use crate::cursor::{Block, Cursor, load_all};
use crate::notification::{InsertedRow, Notifications, by_aggregate};
use crate::ports::{CursorStore, EventRows, Publisher};
use crate::publication::{Counters, Publication, ReadyBytes, Sources};
use crate::publishing::{Progress, Queue, publish};

/// The most aggregates that are read or saved at the same time.
const CONCURRENCY: usize = 16;

/// The translator: the domain, and the services that it uses.
#[derive(Debug, Clone)]
pub struct Translator<D, R, C, P, A> {
    /// The domain, with its settings.
    pub domain: D,
    /// The events table.
    pub rows: R,
    /// The publication cursors.
    pub cursors: C,
    /// The domain stream.
    pub publisher: P,
    /// Time and randomness.
    pub ambient: A,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The position of the first record whose aggregate is incomplete; the batch has to be delivered
    /// again from this record on. `None` if all aggregates are completed.
    pub resume_at: Option<usize>,
    /// The number of aggregates that have a record in the batch.
    pub aggregates: usize,
    /// The number of these aggregates that are blocked.
    pub blocked: usize,
    /// The counters, in events, over all aggregates.
    pub counters: Counters,
}

/// A publication, and whether a service failed for it.
struct Attempt<D: Domain> {
    publication: Publication<D>,
    failed: bool,
}

/// An aggregate whose cursor can't be read.
struct UnreadableCursor {
    aggregate: String,
    first_position: usize,
    error: DecodeError,
}

impl<D: Domain> Attempt<D> {
    fn is_incomplete(&self) -> bool {
        self.failed || !self.publication.is_completed()
    }
}

impl<D, R, C, P, A> Translator<D, R, C, P, A>
where
    D: Domain,
    R: EventRows,
    C: CursorStore,
    P: Publisher,
    A: Ambient,
{
    /// Publishes the events of a batch's notifications.
    ///
    /// An aggregate is completed when its events are acknowledged and its cursor is saved, or when the
    /// cursor contains the reason why its publication is suspended. After a service error, or at the
    /// deadline, an aggregate is incomplete; this doesn't keep other aggregates from completion. The
    /// batch has to be delivered again from the first record of the first incomplete aggregate. All
    /// effects may be repeated: duplicates on the stream are byte-identical, and a cursor only advances.
    pub async fn translate(&self, inserted: Vec<InsertedRow>, budget: Budget) -> Outcome {
        let notifications = by_aggregate(inserted, &self.domain);
        let first_position = notifications
            .values()
            .map(|notifications| notifications.first_position)
            .min();
        let aggregates = notifications.len();
        let cursors = match self.load_cursors(&notifications, budget).await {
            Ok(cursors) => cursors,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the cursors could not be read; the batch will be retried");
                return Outcome {
                    resume_at: first_position,
                    aggregates,
                    ..Outcome::default()
                };
            }
        };
        let (mut attempts, unreadable) = begin(notifications, cursors);
        let unmarked = self.mark_unreadable(&unreadable).await;

        loop {
            self.prepare(&mut attempts).await;
            let mut queues: Vec<&mut Queue> = attempts
                .iter_mut()
                .map(|attempt| attempt.publication.queue())
                .collect();
            let progress = publish(&self.publisher, &mut queues, budget, &self.ambient).await;
            for attempt in &mut attempts {
                attempt.publication.block_at_refused(self.ambient.now());
            }
            self.save_cursors(&mut attempts).await;
            let is_finished = attempts
                .iter()
                .all(|attempt| attempt.failed || attempt.publication.is_completed());
            if is_finished || progress == Progress::OutOfTime {
                break;
            }
        }

        let incomplete = attempts
            .iter()
            .filter(|attempt| attempt.is_incomplete())
            .map(|attempt| attempt.publication.first_position());
        let publications = || attempts.iter().map(|attempt| &attempt.publication);
        let blocked = publications().filter(|publication| publication.block().is_some());
        Outcome {
            resume_at: incomplete.chain(unmarked).min(),
            aggregates,
            blocked: unreadable.len() + blocked.count(),
            counters: publications()
                .map(Publication::counters)
                .fold(Counters::default(), Counters::add),
        }
    }

    async fn load_cursors(
        &self,
        notifications: &BTreeMap<String, Notifications<D>>,
        budget: Budget,
    ) -> Result<HashMap<String, Result<Cursor, DecodeError>>, ServiceError> {
        let aggregates: Vec<&str> = notifications.keys().map(String::as_str).collect();
        load_all(&self.cursors, &aggregates, budget, &self.ambient).await
    }

    /// Blocks the aggregates whose cursor can't be read. Returns the positions of the aggregates whose
    /// block could not be saved.
    async fn mark_unreadable(&self, unreadable: &[UnreadableCursor]) -> Vec<usize> {
        let mut unmarked = Vec::new();
        for cursor in unreadable {
            let block = Block {
                sequence: Sequence::NONE,
                row: None,
                reason: format!("the cursor can't be read: {}", cursor.error),
                since: self.ambient.now(),
            };
            tracing::error!(reason = block.reason, "an aggregate is blocked");
            if let Err(error) = self.cursors.mark(&cursor.aggregate, &block).await {
                tracing::error!(error = %Chain(&error), "a block could not be recorded; the batch will be retried");
                unmarked.push(cursor.first_position);
            }
        }
        unmarked
    }

    async fn prepare(&self, attempts: &mut [Attempt<D>]) {
        let sources = Sources {
            domain: &self.domain,
            rows: &self.rows,
            ambient: &self.ambient,
            ready: &ReadyBytes::default(),
        };
        stream::iter(attempts.iter_mut().filter(|attempt| !attempt.failed))
            .for_each_concurrent(CONCURRENCY, async |attempt| {
                let span = info_span!("aggregate", position = attempt.publication.first_position());
                let prepared = attempt.publication.prepare(&sources).instrument(span.clone());
                if let Err(error) = prepared.await {
                    tracing::error!(parent: &span, error = %Chain(&error), "rows could not be read; the batch will be retried");
                    attempt.failed = true;
                }
            })
            .await;
    }

    async fn save_cursors(&self, attempts: &mut [Attempt<D>]) {
        stream::iter(attempts.iter_mut())
            .for_each_concurrent(CONCURRENCY, async |attempt| {
                let publication = &mut attempt.publication;
                let Some(cursor) = publication.unsaved_cursor() else {
                    return;
                };
                let span = info_span!("aggregate", position = publication.first_position());
                let read = publication.stored_cursor();
                let saving = self.cursors.save(publication.aggregate(), &cursor, read);
                match saving.instrument(span.clone()).await {
                    Ok(()) => publication.cursor_saved(cursor),
                    Err(error) => {
                        tracing::error!(parent: &span, error = %Chain(&error), "a cursor could not be saved; the batch will be retried");
                        attempt.failed = true;
                    }
                }
            })
            .await;
    }
}

/// A publication for each aggregate, and the aggregates whose cursor can't be read.
fn begin<D: Domain>(
    notifications: BTreeMap<String, Notifications<D>>,
    mut cursors: HashMap<String, Result<Cursor, DecodeError>>,
) -> (Vec<Attempt<D>>, Vec<UnreadableCursor>) {
    let mut attempts = Vec::new();
    let mut unreadable = Vec::new();
    for (aggregate, notifications) in notifications {
        let first_position = notifications.first_position;
        let cursor = cursors
            .remove(&aggregate)
            .unwrap_or_else(|| Ok(Cursor::default()));
        let publication =
            cursor.and_then(|cursor| Publication::new(aggregate.clone(), cursor, notifications));
        match publication {
            Ok(publication) => attempts.push(Attempt {
                publication,
                failed: false,
            }),
            Err(error) => unreadable.push(UnreadableCursor {
                aggregate,
                first_position,
                error,
            }),
        }
    }
    (attempts, unreadable)
}
