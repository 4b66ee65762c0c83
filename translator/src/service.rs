//! The steps of a batch.
//!
//! Each aggregate is worked on independently: its cursor is saved, and its next events are made ready, as
//! often as needed. This work runs next to the puts, so an aggregate whose service calls fail waits alone.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use millrace_core::{DecodeError, Domain, Sequence, Timestamp};
use millrace_runtime::{Ambient, Budget, Chain, ConcurrentCalls, ServiceError};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field, info_span};

use crate::cursor::{Block, Cursor, load_all};
use crate::notification::{ChangeNotifications, Notifications};
use crate::ports::{
    Advance, CursorStore, EventRows, MAX_ADVANCED, MAX_LOADED, MAX_RECORDS, Publisher, Saved,
};
use crate::publication::{BACKOFF, CONCURRENCY, Counters, Mode, Publication, ReadyBytes, Sources};
use crate::publishing::{self, Next, Queue, next_put};

/// The time after the budget in which cursors and blocks are still saved. The handler reserves it.
pub(crate) const SAVING: Duration = Duration::from_secs(4);

/// The most puts in flight. Each contains other aggregates.
const MAX_PUTS: usize = 4;

/// How long events wait for the last put in flight before they have a put of their own. They share the next put
/// with the events that follow those in flight, so a stream that answers as usual gets few and large puts. A put
/// that hangs delays other aggregates by this time, until [`MAX_PUTS`] hang.
const PATIENCE: Duration = Duration::from_millis(50);

/// How often the publication of an aggregate is restarted in one invocation because another invocation has
/// changed its cursor. Two invocations that publish the same aggregate are rare: a mapping overlaps with
/// an operator's command.
const MAX_RESTARTS: u32 = 5;

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
    /// The number of these aggregates that are parked.
    pub parked: usize,
    /// The counters, in events, over all aggregates.
    pub counters: Counters,
}

/// How publishing an aggregate's pending events ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingOutcome {
    /// All rows that the events table contained are published, and the cursor is saved at this sequence.
    /// The aggregate isn't suspended.
    Published(Sequence),
    /// An event can't be published; the events before it are.
    Blocked(Block),
    /// The budget was spent. The progress is saved, and the aggregate is parked, or suspended as before.
    Unfinished,
    /// A service failed until the budget was spent, for this reason. What was published stays published.
    Failed(String),
    /// The cursor can't be read. Nothing was published or changed.
    CursorUnreadable(DecodeError),
}

/// One aggregate's publication in this batch.
struct Attempt<'a, D: Domain> {
    publication: Publication<'a, D>,
    /// How often it was restarted.
    restarts: u32,
    state: State,
    /// Whether the budget was spent before it ended.
    is_unfinished: bool,
}

/// Whether anything remains to be done for an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Events remain to be made ready or published, or the cursor to be saved.
    Open,
    /// The aggregate is blocked, and the block is stored although the cursor couldn't be saved.
    Marked,
    /// A service failed until the budget was spent, for this reason.
    Failed(String),
}

/// An aggregate whose cursor can't be read.
struct UnreadableCursor {
    aggregate: String,
    first_position: usize,
    error: DecodeError,
}

/// The result of work that ran next to publishing.
enum Worked<'a, D: Domain> {
    /// The cursors of some aggregates were loaded.
    Loaded {
        attempts: Vec<Attempt<'a, D>>,
        unreadable: Vec<UnreadableCursor>,
    },
    /// The cursors of these aggregates could not be loaded, for this reason.
    NotLoaded {
        aggregates: Vec<(String, usize)>,
        reason: String,
    },
    /// An aggregate's cursor was saved, and events were made ready.
    Prepared(Box<Attempt<'a, D>>),
    /// The first events of these aggregates were in the put of this number.
    Put {
        number: usize,
        attempts: Vec<Attempt<'a, D>>,
    },
    /// The cursors of these aggregates were to be saved together. Those with `false` were not saved.
    Advanced(Vec<(Attempt<'a, D>, bool)>),
    /// The work on an aggregate that isn't completed has ended, and its cursor was saved.
    Ended(Box<Attempt<'a, D>>),
    /// An unreadable cursor was marked, or could not be.
    Marked {
        first_position: usize,
        is_marked: bool,
    },
}

type Work<'a, D> = FuturesUnordered<Pin<Box<dyn Future<Output = Worked<'a, D>> + Send + 'a>>>;

/// The budget is spent, and events remain to be put.
struct OutOfTime;

/// Whether events that are ready can have a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CanPut {
    Now,
    /// After this time, unless a put in flight ends before.
    After(Duration),
    WhenOneEnds,
}

/// A batch in progress.
struct Batch<'a, D: Domain, R, C, P, A> {
    translator: &'a Translator<D, R, C, P, A>,
    sources: Sources<'a, D, R, A>,
    mode: Mode,
}

/// The aggregates of a batch by what they wait for.
struct Aggregates<'a, D: Domain> {
    work: Work<'a, D>,
    /// Those with events to be put, and in no put.
    ready: Vec<Attempt<'a, D>>,
    /// The number of puts that were made.
    puts: usize,
    /// When the puts in flight began, by their number.
    puts_in_flight: BTreeMap<usize, Instant>,
    /// Those that wait until fewer bytes are ready.
    deferred: Vec<Attempt<'a, D>>,
    /// Those whose cursors are to be saved together with others.
    advancing: Vec<(Attempt<'a, D>, Cursor)>,
    /// The number of calls in flight that save cursors together.
    advances_in_flight: usize,
    outcome: Outcome,
    /// How each aggregate ended, if all of its pending events were to be published.
    pending: BTreeMap<String, PendingOutcome>,
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
    /// cursor contains the reason why its publication is suspended. An aggregate with more than
    /// [`MAX_PENDING`](crate::MAX_PENDING) pending events is parked;
    /// [`Translator::publish_pending`] publishes the rest. Failed service calls are retried
    /// until the budget is spent; an aggregate that isn't completed by then is incomplete, and keeps no
    /// other from completion. The batch has to be delivered again from the first record of the first
    /// incomplete aggregate. All effects may be repeated: duplicates on the stream are byte-identical,
    /// and a cursor only advances.
    ///
    /// Cursors are saved for up to four seconds after the end of the budget.
    pub async fn translate(
        &self,
        notifications: ChangeNotifications<'_, D>,
        budget: Budget,
    ) -> Outcome {
        let notifications = notifications.into_sorted();
        let batch = self.batch(notifications.len(), Mode::Notified, budget);
        batch.run(notifications).await.0
    }

    /// Publishes all pending events of these aggregates, in the order and with the cursor rules of
    /// [`Translator::translate`], next to which it may run. A blocked aggregate is examined again. A parked
    /// one stays parked until the events through its marker's sequence are published; if a notification
    /// raises the marker meanwhile, publishing continues.
    ///
    /// Failed service calls are retried until the budget is spent. The cursors are saved while events are
    /// published, and for up to four seconds after the end of the budget, so the next call continues there.
    pub async fn publish_pending(
        &self,
        aggregates: Vec<String>,
        budget: Budget,
    ) -> BTreeMap<String, PendingOutcome> {
        let notifications: BTreeMap<String, Notifications<'_, D>> = aggregates
            .into_iter()
            .enumerate()
            .map(|(first_position, aggregate)| {
                let notifications = Notifications {
                    first_position,
                    trace_id: None,
                    images: Vec::new(),
                };
                (aggregate, notifications)
            })
            .collect();
        let batch = self.batch(notifications.len(), Mode::Pending, budget);
        batch.run(notifications).await.1
    }

    fn batch(&self, aggregates: usize, mode: Mode, budget: Budget) -> Batch<'_, D, R, C, P, A> {
        Batch {
            translator: self,
            sources: Sources {
                domain: &self.domain,
                rows: &self.rows,
                ambient: &self.ambient,
                ready: ReadyBytes::new(aggregates),
                calls: ConcurrentCalls::new(CONCURRENCY),
                budget,
            },
            mode,
        }
    }
}

impl<D, R, C, P, A> Batch<'_, D, R, C, P, A>
where
    D: Domain,
    R: EventRows,
    C: CursorStore,
    P: Publisher,
    A: Ambient,
{
    async fn run<'a>(
        &'a self,
        notifications: BTreeMap<String, Notifications<'a, D>>,
    ) -> (Outcome, BTreeMap<String, PendingOutcome>) {
        let mut aggregates = Aggregates {
            work: Work::new(),
            ready: Vec::new(),
            puts: 0,
            puts_in_flight: BTreeMap::new(),
            deferred: Vec::new(),
            advancing: Vec::new(),
            advances_in_flight: 0,
            outcome: Outcome {
                aggregates: notifications.len(),
                ..Outcome::default()
            },
            pending: BTreeMap::new(),
        };
        let mut notifications = notifications.into_iter();
        loop {
            let chunk: Vec<_> = notifications.by_ref().take(MAX_LOADED).collect();
            if chunk.is_empty() {
                break;
            }
            aggregates.work.push(Box::pin(self.load(chunk)));
        }
        self.publish(&mut aggregates).await;

        // The remaining aggregates are incomplete; their progress is saved.
        let mut left = Vec::new();
        left.append(&mut aggregates.ready);
        left.append(&mut aggregates.deferred);
        for attempt in left {
            self.end(attempt, &mut aggregates);
        }
        self.advance_all(&mut aggregates);
        while let Some(worked) = aggregates.work.next().await {
            match worked {
                Worked::Loaded {
                    attempts,
                    unreadable,
                } => {
                    for attempt in &attempts {
                        aggregates.count(attempt);
                    }
                    self.mark_all(unreadable, &mut aggregates);
                }
                Worked::Prepared(attempt) => {
                    self.end(*attempt, &mut aggregates);
                    self.advance_all(&mut aggregates);
                }
                Worked::Put { attempts, .. } => {
                    for mut attempt in attempts {
                        let now = self.translator.ambient.now();
                        attempt.publication.block_at_refused(now);
                        self.end(attempt, &mut aggregates);
                    }
                    self.advance_all(&mut aggregates);
                }
                Worked::Advanced(attempts) => {
                    for (attempt, _) in attempts {
                        aggregates.work.push(Box::pin(self.save_last(attempt)));
                    }
                }
                Worked::Ended(attempt) => aggregates.count(&attempt),
                Worked::NotLoaded { .. } | Worked::Marked { .. } => {
                    self.receive(worked, &mut aggregates);
                }
            }
        }
        (aggregates.outcome, aggregates.pending)
    }

    /// Publishes until all aggregates have ended or the budget is spent.
    async fn publish<'a>(&'a self, aggregates: &mut Aggregates<'a, D>) {
        let budget = self.sources.budget;
        loop {
            // Whatever is ready by now shares the next put. Tokio lets a task that doesn't yield make a
            // limited number of steps only.
            while let Some(Some(worked)) = aggregates.work.next().now_or_never() {
                self.receive(worked, aggregates);
                while let Some(Some(worked)) = aggregates.work.next().now_or_never() {
                    self.receive(worked, aggregates);
                }
                tokio::task::yield_now().await;
            }
            if !aggregates.deferred.is_empty() && !self.sources.ready.is_full() {
                for attempt in aggregates.deferred.drain(..) {
                    aggregates.work.push(Box::pin(self.prepare(attempt)));
                }
                continue;
            }
            let Ok(wait) = self.put_some(aggregates) else {
                return;
            };
            let wait = wait.filter(|wait| budget.allows(*wait));
            if aggregates.work.is_empty() && wait.is_none() {
                return;
            }
            let until_due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(worked) = aggregates.work.next() => self.receive(worked, aggregates),
                () = until_due => {}
            }
        }
    }

    /// Starts the puts that are due. Returns the time until the next one is; `None` if that depends on the
    /// work in progress.
    fn put_some<'a>(
        &'a self,
        aggregates: &mut Aggregates<'a, D>,
    ) -> Result<Option<Duration>, OutOfTime> {
        loop {
            match aggregates.can_put() {
                CanPut::Now => {}
                CanPut::After(wait) => return Ok(Some(wait)),
                CanPut::WhenOneEnds => return Ok(None),
            }
            let before = aggregates.ready_bytes();
            let next = {
                let ready = aggregates.ready.iter_mut();
                let mut queues: Vec<&mut Queue> =
                    ready.map(|attempt| attempt.publication.queue()).collect();
                next_put(&mut queues)
            };
            let refused = before - aggregates.ready_bytes();
            self.sources.ready.remove(refused);
            let until_due = match next {
                Next::Put(_) if self.sources.budget.left().is_zero() => return Err(OutOfTime),
                Next::Put(queues) => {
                    self.put_next(queues, aggregates);
                    None
                }
                Next::Wait(wait) => Some(Some(wait)),
                Next::Nothing => Some(None),
            };
            self.take_drained(aggregates);
            if let Some(wait) = until_due {
                return Ok(wait);
            }
        }
    }

    /// Puts the first events of the ready aggregates at these indexes.
    fn put_next<'a>(&'a self, indexes: Vec<usize>, aggregates: &mut Aggregates<'a, D>) {
        aggregates.puts += 1;
        let number = aggregates.puts;
        aggregates.puts_in_flight.insert(number, Instant::now());
        let mut chosen = indexes.into_iter().peekable();
        let ready = std::mem::take(&mut aggregates.ready);
        let mut attempts = Vec::with_capacity(chosen.len());
        for (index, attempt) in ready.into_iter().enumerate() {
            let is_chosen = chosen.next_if_eq(&index).is_some();
            let into = if is_chosen {
                &mut attempts
            } else {
                &mut aggregates.ready
            };
            into.push(attempt);
        }
        aggregates.work.push(Box::pin(self.put(number, attempts)));
    }

    async fn put<'a>(&self, number: usize, mut attempts: Vec<Attempt<'a, D>>) -> Worked<'a, D> {
        let Translator {
            publisher, ambient, ..
        } = self.translator;
        let mut queues: Vec<&mut Queue> = attempts
            .iter_mut()
            .map(|attempt| attempt.publication.queue())
            .collect();
        let before: usize = queues.iter().map(|queue| queue.bytes()).sum();
        let budget = self.sources.budget;
        publishing::put(publisher, &mut queues, number, budget, ambient).await;
        let after: usize = queues.iter().map(|queue| queue.bytes()).sum();
        self.sources.ready.remove(before - after);
        Worked::Put { number, attempts }
    }

    /// Takes the aggregates whose ready events are all published or refused, and continues with them.
    fn take_drained<'a>(&'a self, aggregates: &mut Aggregates<'a, D>) {
        let now = self.translator.ambient.now();
        let ready = std::mem::take(&mut aggregates.ready);
        for mut attempt in ready {
            attempt.publication.block_at_refused(now);
            if attempt.publication.queue().pending() > 0 {
                aggregates.ready.push(attempt);
            } else if let Some(cursor) = attempt.advance() {
                aggregates.advancing.push((attempt, cursor));
            } else {
                aggregates.work.push(Box::pin(self.prepare(attempt)));
            }
        }
        self.advance_some(aggregates);
    }

    /// Saves waiting cursors together: as many calls as are full, and one with fewer cursors if no other is in
    /// flight. So the first cursor doesn't wait, and those that come while a call is in flight share the next one.
    fn advance_some<'a>(&'a self, aggregates: &mut Aggregates<'a, D>) {
        while aggregates.advancing.len() >= MAX_ADVANCED
            || (aggregates.advances_in_flight == 0 && !aggregates.advancing.is_empty())
        {
            self.advance_next(aggregates);
        }
    }

    /// Saves all waiting cursors.
    fn advance_all<'a>(&'a self, aggregates: &mut Aggregates<'a, D>) {
        while !aggregates.advancing.is_empty() {
            self.advance_next(aggregates);
        }
    }

    /// Saves waiting cursors in one call.
    fn advance_next<'a>(&'a self, aggregates: &mut Aggregates<'a, D>) {
        let count = aggregates.advancing.len().min(MAX_ADVANCED);
        let attempts = aggregates.advancing.drain(..count).collect();
        aggregates.work.push(Box::pin(self.advance(attempts)));
        aggregates.advances_in_flight += 1;
    }

    /// Sorts in what work has led to.
    fn receive<'a>(&'a self, worked: Worked<'a, D>, aggregates: &mut Aggregates<'a, D>) {
        match worked {
            Worked::Loaded {
                attempts,
                unreadable,
            } => {
                for attempt in attempts {
                    aggregates.work.push(Box::pin(self.prepare(attempt)));
                }
                self.mark_all(unreadable, aggregates);
            }
            Worked::NotLoaded {
                aggregates: ids,
                reason,
            } => {
                for (id, first_position) in ids {
                    self.sources.ready.end_aggregate();
                    aggregates.outcome.resume_at_first_of([first_position]);
                    let outcome = PendingOutcome::Failed(reason.clone());
                    aggregates.pending.insert(id, outcome);
                }
            }
            Worked::Prepared(mut attempt) => {
                if attempt.publication.queue().pending() > 0 {
                    aggregates.ready.push(*attempt);
                } else if attempt.is_open() {
                    aggregates.deferred.push(*attempt);
                } else {
                    self.sources.ready.end_aggregate();
                    aggregates.count(&attempt);
                }
            }
            Worked::Put {
                number,
                mut attempts,
            } => {
                aggregates.puts_in_flight.remove(&number);
                aggregates.ready.append(&mut attempts);
                self.take_drained(aggregates);
            }
            Worked::Advanced(attempts) => {
                aggregates.advances_in_flight -= 1;
                for (attempt, is_stored) in attempts {
                    if is_stored && attempt.publication.is_completed() {
                        self.sources.ready.end_aggregate();
                        aggregates.count(&attempt);
                    } else {
                        aggregates.work.push(Box::pin(self.prepare(attempt)));
                    }
                }
                self.advance_some(aggregates);
            }
            Worked::Ended(attempt) => aggregates.count(&attempt),
            Worked::Marked {
                first_position,
                is_marked,
            } => {
                aggregates.outcome.blocked += 1;
                let incomplete = (!is_marked).then_some(first_position);
                aggregates.outcome.resume_at_first_of(incomplete);
            }
        }
    }

    fn mark_all<'a>(
        &'a self,
        unreadable: Vec<UnreadableCursor>,
        aggregates: &mut Aggregates<'a, D>,
    ) {
        for cursor in unreadable {
            self.sources.ready.end_aggregate();
            if self.mode == Mode::Pending {
                let outcome = PendingOutcome::CursorUnreadable(cursor.error);
                aggregates.pending.insert(cursor.aggregate, outcome);
                continue;
            }
            aggregates.work.push(Box::pin(self.mark_unreadable(cursor)));
        }
    }

    /// Loads the cursors of up to [`MAX_LOADED`] aggregates, and begins their publications.
    async fn load<'a>(&self, notifications: Vec<(String, Notifications<'a, D>)>) -> Worked<'a, D> {
        let ids: Vec<&str> = notifications.iter().map(|(id, _)| id.as_str()).collect();
        match self.load_cursors(&ids).await {
            Ok(cursors) => {
                let now = self.translator.ambient.now();
                let (attempts, unreadable) = begin(notifications, cursors, self.mode, now);
                Worked::Loaded {
                    attempts,
                    unreadable,
                }
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "cursors could not be read; their aggregates will be retried");
                let ids = notifications.into_iter();
                Worked::NotLoaded {
                    aggregates: ids.map(|(id, it)| (id, it.first_position)).collect(),
                    reason: Chain(&error).to_string(),
                }
            }
        }
    }

    async fn load_cursors(
        &self,
        aggregates: &[&str],
    ) -> Result<HashMap<String, Result<Cursor, DecodeError>>, ServiceError> {
        let Translator {
            cursors, ambient, ..
        } = self.translator;
        load_all(cursors, aggregates, self.sources.budget, ambient).await
    }

    /// Saves an aggregate's cursor, and makes its next events ready.
    async fn prepare<'a>(&self, mut attempt: Attempt<'a, D>) -> Worked<'a, D> {
        let span = aggregate_span(&attempt);
        async {
            self.save(&mut attempt).await;
            if attempt.state != State::Open {
                return;
            }
            if let Err(error) = attempt.publication.prepare(&self.sources).await {
                self.reading_failed(&mut attempt, &error);
            }
            if attempt.publication.is_completed() {
                self.save(&mut attempt).await;
            }
        }
        .instrument(span)
        .await;
        Worked::Prepared(Box::new(attempt))
    }

    /// Saves the cursors of up to [`MAX_ADVANCED`] aggregates in one call.
    async fn advance<'a>(&self, advancing: Vec<(Attempt<'a, D>, Cursor)>) -> Worked<'a, D> {
        let advances: Vec<Advance<'_>> = advancing
            .iter()
            .map(|(attempt, cursor)| Advance {
                aggregate: attempt.publication.aggregate(),
                cursor,
                read: attempt.publication.stored_cursor(),
            })
            .collect();
        let Sources { calls, budget, .. } = &self.sources;
        let store = &self.translator.cursors;
        let call = calls.attempt(budget.extended(SAVING), store.advance(&advances));
        let stored = call.await.unwrap_or_else(|error| {
            let cursors = advances.len();
            tracing::warn!(cursors, error = %Chain(&error), "cursors could not be saved together; each will be saved alone");
            vec![false; cursors]
        });
        let attempts =
            advancing
                .into_iter()
                .zip(stored)
                .map(|((mut attempt, cursor), is_stored)| {
                    if is_stored {
                        attempt.publication.cursor_saved(cursor);
                    }
                    (attempt, is_stored)
                });
        Worked::Advanced(attempts.collect())
    }

    /// Ends the work on an aggregate in this invocation, and saves its progress.
    fn end<'a>(&'a self, mut attempt: Attempt<'a, D>, aggregates: &mut Aggregates<'a, D>) {
        attempt.stop(self.translator.ambient.now());
        match attempt.advance() {
            Some(cursor) => aggregates.advancing.push((attempt, cursor)),
            None => aggregates.work.push(Box::pin(self.save_last(attempt))),
        }
    }

    /// Saves the progress of an aggregate whose work ends in this invocation.
    async fn save_last<'a>(&self, mut attempt: Attempt<'a, D>) -> Worked<'a, D> {
        let span = aggregate_span(&attempt);
        attempt.stop(self.translator.ambient.now());
        self.save(&mut attempt).instrument(span).await;
        Worked::Ended(Box::new(attempt))
    }

    fn reading_failed(&self, attempt: &mut Attempt<'_, D>, error: &ServiceError) {
        if error.is_permanent() {
            tracing::error!(error = %Chain(error), "rows can't be read; the aggregate is blocked");
            let now = self.translator.ambient.now();
            let problem = "the rows can't be read";
            attempt.publication.block_at_error(problem, error, now);
        } else {
            tracing::error!(error = %Chain(error), "rows could not be read; the aggregate will be retried");
            attempt.state = State::Failed(Chain(error).to_string());
        }
    }

    /// Saves the cursor if it differs from the stored one. If another invocation has changed the stored
    /// one, loads it and restarts the publication there.
    async fn save(&self, attempt: &mut Attempt<'_, D>) {
        while attempt.state == State::Open
            && let Some(cursor) = attempt.publication.unsaved_cursor()
        {
            let publication = &attempt.publication;
            let (id, read) = (publication.aggregate(), publication.stored_cursor());
            let cursors = &self.translator.cursors;
            match self.write(|| cursors.save(id, &cursor, read)).await {
                Ok(Saved::Stored) => {
                    if let Some(block) = cursor.blocked().filter(|it| read.blocked() != Some(*it)) {
                        let (sequence, reason) = (block.sequence.get(), &block.reason);
                        tracing::error!(sequence, reason, "an aggregate is blocked");
                    }
                    attempt.publication.cursor_saved(cursor);
                }
                Ok(Saved::Changed) => self.restart(attempt).await,
                Err(error) if error.is_permanent() => self.mark_unsaved(attempt, &error).await,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "a cursor could not be saved; the aggregate will be retried");
                    attempt.state = State::Failed(Chain(&error).to_string());
                }
            }
        }
    }

    /// A write that is retried until the time for saving is over.
    async fn write<T, F: Future<Output = Result<T, ServiceError>>>(
        &self,
        operation: impl FnMut() -> F,
    ) -> Result<T, ServiceError> {
        let Sources { calls, budget, .. } = &self.sources;
        let ambient = &self.translator.ambient;
        calls
            .retry(budget.extended(SAVING), ambient, BACKOFF, operation)
            .await
    }

    /// Loads the cursor again and restarts the publication there, so that the next events are made ready
    /// from what the other invocation has stored.
    async fn restart(&self, attempt: &mut Attempt<'_, D>) {
        attempt.restarts += 1;
        let publication = &mut attempt.publication;
        let is_drained = publication.queue().pending() == 0;
        let is_endless = self.mode == Mode::Notified && attempt.restarts > MAX_RESTARTS;
        if !is_drained || is_endless {
            tracing::warn!(
                "another invocation has changed the cursor; the aggregate will be retried"
            );
            let reason = "another invocation has changed the cursor";
            attempt.state = State::Failed(reason.to_owned());
            return;
        }
        tracing::info!("another invocation has changed the cursor; it is loaded again");
        let id = publication.aggregate();
        let restarted = match self.load_cursors(&[id]).await {
            Ok(mut cursors) => cursors
                .remove(id)
                .unwrap_or_else(|| Ok(Cursor::default()))
                .and_then(|cursor| publication.restarted(cursor, self.translator.ambient.now()))
                .map_err(|error| error.to_string()),
            Err(error) => Err(Chain(&error).to_string()),
        };
        match restarted {
            Ok(restarted) => *publication = restarted,
            Err(error) => {
                tracing::error!(
                    error,
                    "a cursor could not be read again; the aggregate will be retried"
                );
                attempt.state = State::Failed(error);
            }
        }
    }

    /// Blocks an aggregate whose cursor the table refuses, such as one whose context is too large.
    async fn mark_unsaved(&self, attempt: &mut Attempt<'_, D>, error: &ServiceError) {
        let now = self.translator.ambient.now();
        let publication = &mut attempt.publication;
        publication.block_at_error("the cursor can't be saved", error, now);
        let Some(block) = publication.block() else {
            return;
        };
        attempt.state = if self.mark(publication.aggregate(), block).await {
            State::Marked
        } else {
            State::Failed("a block could not be recorded".to_owned())
        };
    }

    /// Blocks an aggregate whose cursor can't be read.
    async fn mark_unreadable<'a>(&self, cursor: UnreadableCursor) -> Worked<'a, D> {
        let block = Block {
            sequence: Sequence::NONE,
            row: None,
            reason: format!("the cursor can't be read: {}", cursor.error),
            since: self.translator.ambient.now(),
        };
        Worked::Marked {
            first_position: cursor.first_position,
            is_marked: self.mark(&cursor.aggregate, &block).await,
        }
    }

    /// Stores a block alone. Returns whether it is stored.
    async fn mark(&self, aggregate: &str, block: &Block) -> bool {
        tracing::error!(
            reason = block.reason,
            "a cursor can't be read or saved; its aggregate is blocked"
        );
        let cursors = &self.translator.cursors;
        let marked = self.write(|| cursors.mark(aggregate, block)).await;
        if let Err(error) = &marked {
            tracing::error!(error = %Chain(error), "a block could not be recorded; the aggregate will be retried");
        }
        marked.is_ok()
    }
}

impl Outcome {
    /// Notes that the aggregates of the records at these positions are incomplete.
    fn resume_at_first_of(&mut self, positions: impl IntoIterator<Item = usize>) {
        self.resume_at = self.resume_at.into_iter().chain(positions).min();
    }
}

impl<D: Domain> Attempt<'_, D> {
    /// Whether events remain to be made ready.
    fn is_open(&self) -> bool {
        self.state == State::Open && !self.publication.is_completed()
    }

    /// The cursor to be saved, if saving it only advances the stored one.
    fn advance(&self) -> Option<Cursor> {
        let cursor = self.publication.unsaved_cursor();
        cursor.filter(|cursor| {
            self.state == State::Open && cursor.only_advances(self.publication.stored_cursor())
        })
    }

    /// Notes that its work ends in this invocation, completed or not.
    fn stop(&mut self, now: Timestamp) {
        self.is_unfinished |= !self.publication.is_completed();
        self.publication.park_unfinished(now);
    }

    fn is_incomplete(&self) -> bool {
        match self.state {
            State::Open => !self.publication.is_completed(),
            State::Marked => false,
            State::Failed(_) => true,
        }
    }
}

impl<D: Domain> Aggregates<'_, D> {
    /// The bytes of the events to be put.
    fn ready_bytes(&mut self) -> usize {
        let ready = self.ready.iter_mut();
        ready
            .map(|attempt| attempt.publication.queue().bytes())
            .sum()
    }

    /// Whether events that are ready can have a put.
    fn can_put(&self) -> CanPut {
        let in_flight = self.puts_in_flight.len();
        let Some((_, last)) = self.puts_in_flight.last_key_value() else {
            return CanPut::Now;
        };
        if in_flight >= MAX_PUTS || self.ready.is_empty() {
            return CanPut::WhenOneEnds;
        }
        let left = PATIENCE.saturating_sub(last.elapsed());
        if left.is_zero() || self.ready.len() >= MAX_RECORDS {
            return CanPut::Now;
        }
        CanPut::After(left)
    }

    /// Adds an aggregate that has ended to the outcome.
    fn count(&mut self, attempt: &Attempt<'_, D>) {
        let publication = &attempt.publication;
        let incomplete = attempt.is_incomplete();
        let incomplete = incomplete.then(|| publication.first_position());
        self.outcome.resume_at_first_of(incomplete);
        self.outcome.blocked += usize::from(publication.block().is_some());
        self.outcome.parked += usize::from(publication.is_parked());
        self.outcome.counters = self.outcome.counters.add(publication.counters());
        let outcome = match (&attempt.state, publication.block()) {
            (State::Failed(reason), _) => PendingOutcome::Failed(reason.clone()),
            _ if attempt.is_unfinished || incomplete.is_some() => PendingOutcome::Unfinished,
            (_, Some(block)) => PendingOutcome::Blocked(block.clone()),
            _ => PendingOutcome::Published(publication.published_through()),
        };
        let id = publication.aggregate().to_owned();
        self.pending.insert(id, outcome);
    }
}

/// The span of an aggregate's log lines: its first record in the batch, by its position and its trace.
fn aggregate_span<D: Domain>(attempt: &Attempt<'_, D>) -> Span {
    let publication = &attempt.publication;
    info_span!(
        "aggregate",
        position = publication.first_position(),
        trace_id = publication.trace_id().map(field::display)
    )
}

/// A publication for each aggregate, and the aggregates whose cursor can't be read.
fn begin<D: Domain>(
    notifications: Vec<(String, Notifications<'_, D>)>,
    mut cursors: HashMap<String, Result<Cursor, DecodeError>>,
    mode: Mode,
    now: Timestamp,
) -> (Vec<Attempt<'_, D>>, Vec<UnreadableCursor>) {
    let mut attempts = Vec::new();
    let mut unreadable = Vec::new();
    for (aggregate, notifications) in notifications {
        let first_position = notifications.first_position;
        let cursor = cursors
            .remove(&aggregate)
            .unwrap_or_else(|| Ok(Cursor::default()));
        let publication = cursor.and_then(|cursor| {
            Publication::new(aggregate.clone(), cursor, notifications, mode, now)
        });
        match publication {
            Ok(publication) => attempts.push(Attempt {
                publication,
                restarts: 0,
                state: State::Open,
                is_unfinished: false,
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
