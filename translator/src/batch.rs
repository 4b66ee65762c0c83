//! What is done with a batch of news, step by step.

use std::collections::{BTreeMap, HashMap};

use futures_util::stream::{self, StreamExt};
use millrace_domain::{RowError, Sequence, Settings};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};

use crate::cursor::{Block, Cursor, CursorStore, load_all};
use crate::news::{Inserted, News, by_aggregate};
use crate::publish::{Progress, Publisher, Queue, publish};
use crate::rows::EventRows;
use crate::run::{ReadyBytes, Run, Sources, Tally};

/// How many aggregates are read or saved side by side.
const CONCURRENCY: usize = 16;

/// The translator with its services.
#[derive(Debug, Clone)]
pub struct Translator<R, C, P, A> {
    /// The events table.
    pub rows: R,
    /// The publication cursors.
    pub cursors: C,
    /// The domain stream.
    pub publisher: P,
    /// Time and randomness.
    pub ambient: A,
    /// The domain's settings.
    pub settings: Settings,
}

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The place of the first record whose aggregate isn't through; from there the batch is to be
    /// delivered again. `None`: all are through.
    pub resume_at: Option<usize>,
    /// How many aggregates the batch told of.
    pub aggregates: usize,
    /// How many of them stand blocked.
    pub blocked: usize,
    /// What came of it in events.
    pub tally: Tally,
}

/// A run, and whether a service let it down.
struct Attempt {
    run: Run,
    failed: bool,
}

impl<R: EventRows, C: CursorStore, P: Publisher, A: Ambient> Translator<R, C, P, A> {
    /// Translates a batch.
    ///
    /// An aggregate is through once its events are acknowledged and its cursor says so, or once the
    /// cursor says why it stands still. Service errors and a spent budget leave aggregates behind,
    /// each on its own; the batch is taken up again at the first record of the first of them. All
    /// effects may be repeated: repeats on the stream are byte-identical, and a cursor only moves
    /// forward.
    pub async fn translate(&self, inserted: Vec<Inserted>, budget: Budget) -> Outcome {
        let news = by_aggregate(inserted, &self.settings);
        let first = news.values().map(|news| news.first).min();
        let aggregates = news.len();
        let cursors = match self.load_cursors(&news, budget).await {
            Ok(cursors) => cursors,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the batch could not be begun");
                return Outcome {
                    resume_at: first,
                    aggregates,
                    ..Outcome::default()
                };
            }
        };
        let (mut attempts, damaged) = runs(news, cursors);
        let unreadable = damaged.len();
        let unmarked = self.mark_damaged(damaged).await;

        loop {
            self.fill(&mut attempts).await;
            let mut queues: Vec<&mut Queue> = attempts
                .iter_mut()
                .map(|attempt| attempt.run.queue())
                .collect();
            let progress = publish(&self.publisher, &mut queues, budget, &self.ambient).await;
            for attempt in &mut attempts {
                attempt.run.block_at_refused(&self.ambient);
            }
            self.save(&mut attempts).await;
            let unfinished = attempts
                .iter()
                .any(|attempt| !attempt.failed && !attempt.run.is_through());
            if !unfinished || progress == Progress::OutOfTime {
                break;
            }
        }

        let behind = attempts
            .iter()
            .filter(|attempt| attempt.failed || !attempt.run.is_through())
            .map(|attempt| attempt.run.first());
        Outcome {
            resume_at: behind.chain(unmarked).min(),
            aggregates,
            blocked: unreadable
                + attempts
                    .iter()
                    .filter(|attempt| attempt.run.is_blocked())
                    .count(),
            tally: attempts
                .iter()
                .map(|attempt| attempt.run.tally())
                .fold(Tally::default(), Tally::and),
        }
    }

    async fn load_cursors(
        &self,
        news: &BTreeMap<String, News>,
        budget: Budget,
    ) -> Result<HashMap<String, Result<Cursor, RowError>>, ServiceError> {
        let aggregates: Vec<&str> = news.keys().map(String::as_str).collect();
        load_all(&self.cursors, &aggregates, budget, &self.ambient).await
    }

    /// Sets aside the aggregates whose cursor can't be understood. Answers with the places of those
    /// that could not even be marked.
    async fn mark_damaged(&self, damaged: Damaged) -> Vec<usize> {
        let mut unmarked = Vec::new();
        for (aggregate, first, error) in damaged {
            let block = Block {
                sequence: Sequence::NONE,
                row: None,
                reason: format!("the cursor can't be read: {error}"),
                since: self.ambient.now(),
            };
            tracing::error!(reason = block.reason, "an aggregate is blocked");
            if let Err(error) = self.cursors.mark(&aggregate, &block).await {
                tracing::error!(error = %Chain(&error), "a block could not be recorded");
                unmarked.push(first);
            }
        }
        unmarked
    }

    async fn fill(&self, attempts: &mut [Attempt]) {
        let sources = Sources {
            rows: &self.rows,
            settings: &self.settings,
            ambient: &self.ambient,
            ready: &ReadyBytes::default(),
        };
        stream::iter(attempts.iter_mut().filter(|attempt| !attempt.failed))
            .for_each_concurrent(CONCURRENCY, async |attempt| {
                if let Err(error) = attempt.run.fill(&sources).await {
                    tracing::error!(error = %Chain(&error), "rows could not be read");
                    attempt.failed = true;
                }
            })
            .await;
    }

    async fn save(&self, attempts: &mut [Attempt]) {
        stream::iter(attempts.iter_mut())
            .for_each_concurrent(CONCURRENCY, async |attempt| {
                let Some(cursor) = attempt.run.unsaved_cursor() else {
                    return;
                };
                let read = attempt.run.stored_block();
                let saving = self.cursors.save(attempt.run.aggregate(), &cursor, read);
                match saving.await {
                    Ok(()) => attempt.run.saved(cursor),
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "a cursor could not be saved");
                        attempt.failed = true;
                    }
                }
            })
            .await;
    }
}

type Damaged = Vec<(String, usize, RowError)>;

/// A run for each aggregate, and aside those whose cursor can't be understood.
fn runs(
    news: BTreeMap<String, News>,
    mut cursors: HashMap<String, Result<Cursor, RowError>>,
) -> (Vec<Attempt>, Damaged) {
    let mut attempts = Vec::new();
    let mut damaged = Vec::new();
    for (aggregate, news) in news {
        match cursors
            .remove(&aggregate)
            .unwrap_or_else(|| Ok(Cursor::default()))
        {
            Ok(cursor) => {
                attempts.push(Attempt {
                    run: Run::new(aggregate, cursor, news),
                    failed: false,
                });
            }
            Err(error) => damaged.push((aggregate, news.first, error)),
        }
    }
    (attempts, damaged)
}
