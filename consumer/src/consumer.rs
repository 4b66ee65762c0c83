//! Processes a batch of events.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use millrace_core::envelope::{Received, UnknownType};
use millrace_core::{DecodeError, Envelope, Sequence, SequenceGate};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::{BatchResponse, KinesisBatch, KinesisRecord};
use crate::positions::{Gap, Position, Positions, Save, Saved, StoreError};

/// How many aggregates of a batch are processed at the same time.
const CONCURRENCY: usize = 16;
/// The most attempts for an aggregate, including the first one. A further attempt follows if another invocation has
/// changed the position.
const ATTEMPTS: u32 = 6;
/// The longest wait before the second attempt. Each further attempt may wait twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// What a service does with events.
pub trait Handler: Send + Sync {
    /// The `source` of the events, such as `urn:millrace:shelves`. A record with another source is undecodable.
    const SOURCE: &'static str;

    /// The types and versions that the service knows: an enum whose variants have named fields, as
    /// [`Received::parse`] describes. The service need not know all types: others only move the position.
    type Event: DeserializeOwned + Send + Sync;
    /// What the service keeps of an aggregate, stored with the position as JSON; `()` for nothing.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// A write that belongs to an event; for positions in `DynamoDB` an entry of a transaction.
    type Write: Send;
    /// Why an event can't be applied. It is logged, so it contains no payload.
    type Error: Display + Send;

    /// Applies the next event of an aggregate: returns the new state, and what has to be written.
    ///
    /// An event takes effect only through the returned value, which is stored once. `apply` may be called several times
    /// for one event, so it must have no side effects: it doesn't send a message, for example, but writes that the
    /// message has to be sent.
    ///
    /// # Errors
    /// The aggregate is incomplete from this event on, and Lambda delivers the events again. Other aggregates
    /// continue.
    fn apply(
        &self,
        event: &Envelope<Self::Event>,
        state: Option<Self::State>,
    ) -> impl Future<Output = Result<Change<Self::State, Self::Write>, Self::Error>> + Send;

    /// Stores a record that contains no event of [`Handler::SOURCE`], so that it isn't lost. Afterwards the record
    /// counts as completed. It may be called more than once for a record.
    ///
    /// # Errors
    /// The record is incomplete, and Lambda delivers it again. Other records continue.
    fn undecodable(
        &self,
        record: Undecodable<'_>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What an event changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<S, W> {
    /// The state after the event; `None` for none.
    pub state: Option<S>,
    /// What is written in the transaction that moves the position to the event. They are at most
    /// [`Positions::MAX_WRITES`].
    pub writes: Vec<W>,
}

/// A record that contains no event.
#[derive(Debug, Clone, Copy)]
pub struct Undecodable<'a> {
    /// Lambda's id of the record, which is unique within the stream.
    pub stream_id: &'a str,
    /// The record's bytes.
    pub data: &'a [u8],
    /// Why the bytes are not an event. The error names members, with the keys of maps, and quotes no values.
    pub error: &'a DecodeError,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The response to Lambda.
    pub response: BatchResponse,
    /// How many events were applied, those of unknown types included.
    pub applied: usize,
    /// How many events were duplicates.
    pub duplicates: usize,
    /// How many aggregates have a gap: their later events are skipped until the missing ones are sent again.
    pub gaps: usize,
    /// How many records were undecodable.
    pub undecodable: usize,
    /// How many aggregates are incomplete.
    pub incomplete: usize,
}

/// A service's handler with its positions.
#[derive(Debug, Clone)]
pub struct Consumer<H, P> {
    handler: H,
    positions: P,
}

/// The events of an aggregate, with the positions of their records in the batch.
type Events<E> = Vec<(usize, Received<E>)>;

/// Why an aggregate is incomplete.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Handler(String),
    #[error("the handler panicked")]
    Panicked,
    #[error("an event has {writes} writes, more than the {limit} that can be stored together")]
    TooManyWrites { writes: usize, limit: usize },
    #[error("the stored state can't be read")]
    UnreadableState(#[source] serde_json::Error),
    #[error("the new state can't be written as JSON")]
    UnwritableState(#[source] serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "at each of {ATTEMPTS} attempts, another invocation changed the position, or the store throttled the call"
    )]
    Moved,
}

/// How an aggregate's events of a batch ended.
#[derive(Debug, Default)]
struct Ended {
    applied: usize,
    duplicates: usize,
    /// The record of the first event that was skipped after a gap, if the gap is still there.
    gap_at: Option<usize>,
    /// The record of the first event that isn't completed, and why.
    failure: Option<(usize, Failure)>,
}

/// How one attempt ended.
enum Attempt {
    Ended(Ended),
    /// Saving several events together failed.
    FailedTogether(StoreError),
    Moved,
}

/// The work on an aggregate since its position was saved last.
struct Unsaved<W> {
    read: Position,
    position: Position,
    writes: Vec<W>,
    /// The first event, if there is one: its record, and the highest sequence that was skipped before it.
    from: Option<(usize, Sequence)>,
}

impl<W> Unsaved<W> {
    fn of(read: Position) -> Self {
        Self {
            position: read.clone(),
            read,
            writes: Vec::new(),
            from: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.read == self.position && self.writes.is_empty()
    }
}

impl<H: Handler, P: Positions<H::Write>> Consumer<H, P> {
    /// A consumer.
    pub const fn new(handler: H, positions: P) -> Self {
        Self { handler, positions }
    }

    /// Processes an invocation's batch, given as the bytes that Lambda delivered, and logs how it ended. The
    /// function has to return [`Outcome::response`], and its mapping to have `ReportBatchItemFailures`.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no batch of a Kinesis mapping. Nothing was processed, and the function
    /// has to return the error, so that Lambda delivers the batch again.
    pub async fn process(&self, body: &[u8]) -> Result<Outcome, DecodeError> {
        let batch = KinesisBatch::read(body)?;
        let mut outcome = Outcome::default();
        let mut resume_at = batch.resume_at(None);
        let mut aggregates: BTreeMap<String, Events<H::Event>> = BTreeMap::new();
        for record in &batch.records {
            match Received::<H::Event>::parse(&record.data, H::SOURCE) {
                Ok(event) => {
                    let subject = match &event {
                        Received::Known(event) => event.subject.as_str(),
                        Received::Unknown(event) => event.subject.as_str(),
                    };
                    let events = aggregates.entry(subject.to_owned()).or_default();
                    events.push((record.position, event));
                }
                Err(error) => {
                    outcome.undecodable += 1;
                    if !self.set_aside(record, &error).await {
                        resume_at = resume_at.into_iter().chain([record.position]).min();
                    }
                }
            }
        }
        let results = stream::iter(aggregates)
            .map(async |(subject, events)| self.apply_all(&subject, &events).await)
            .buffer_unordered(CONCURRENCY);
        let mut results = std::pin::pin!(results);
        let stream_id = |position: usize| {
            let mut records = batch.records.iter();
            let record = records.find(|record| record.position == position);
            record.map_or("", |record| &*record.stream_id)
        };
        while let Some(ended) = results.next().await {
            outcome.applied += ended.applied;
            outcome.duplicates += ended.duplicates;
            if let Some(position) = ended.gap_at {
                outcome.gaps += 1;
                tracing::warn!(
                    stream_id = stream_id(position),
                    "events of an aggregate are skipped from this record on, because earlier ones are missing; its \
                     position says which"
                );
            }
            if let Some((position, failure)) = ended.failure {
                outcome.incomplete += 1;
                resume_at = resume_at.into_iter().chain([position]).min();
                tracing::error!(
                    stream_id = stream_id(position),
                    error = %Chain(&failure),
                    "an aggregate is incomplete; the batch will be retried from this record on"
                );
            }
        }
        outcome.response = batch.response(resume_at);
        log(&batch, &outcome, resume_at);
        Ok(outcome)
    }

    /// Passes a record that contains no event to the handler. Returns whether the record is completed.
    async fn set_aside(&self, record: &KinesisRecord<'_>, error: &DecodeError) -> bool {
        let undecodable = Undecodable {
            stream_id: &record.stream_id,
            data: &record.data,
            error,
        };
        let stream_id = &*record.stream_id;
        let calling = AssertUnwindSafe(self.handler.undecodable(undecodable)).catch_unwind();
        let failure = match calling.await {
            Ok(Ok(())) => {
                tracing::warn!(stream_id, error = %error, "a record contains no event");
                return true;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_panic) => Failure::Panicked.to_string(),
        };
        tracing::error!(
            stream_id,
            error = %error,
            failure,
            "a record contains no event, and could not be stored; the batch will be retried from this record on"
        );
        false
    }

    /// Applies an aggregate's events.
    async fn apply_all(&self, subject: &str, events: &[(usize, Received<H::Event>)]) -> Ended {
        let mut wait = FIRST_WAIT;
        let mut together = true;
        let mut attempts = 0;
        loop {
            match self.attempt(subject, events, together).await {
                Attempt::Ended(ended) => return ended,
                // One of the events may be the cause. DynamoDB also refuses a transaction that writes an item twice.
                Attempt::FailedTogether(error) => {
                    tracing::info!(
                        error = %Chain(&error),
                        "saving several events of an aggregate together failed; each is saved alone"
                    );
                    together = false;
                }
                Attempt::Moved => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Ended {
                            failure: Some((first(events), Failure::Moved)),
                            ..Ended::default()
                        };
                    }
                    tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                    wait *= 2;
                }
            }
        }
    }

    async fn attempt(
        &self,
        subject: &str,
        events: &[(usize, Received<H::Event>)],
        together: bool,
    ) -> Attempt {
        let mut ended = Ended::default();
        let read = match self.positions.read(subject).await {
            Ok(read) => read,
            Err(error) => {
                ended.failure = Some((first(events), error.into()));
                return Attempt::Ended(ended);
            }
        };
        let mut unsaved = Unsaved::of(read);
        // The highest sequence that is skipped after a gap, and the record of the first such event.
        let (mut skipped, mut skipped_at) = (Sequence::NONE, None);
        for (record, event) in events {
            let sequence = match event {
                Received::Known(event) => event.sequence,
                Received::Unknown(event) => event.sequence,
            };
            let change = match SequenceGate::check(unsaved.position.sequence, sequence) {
                SequenceGate::Duplicate => {
                    ended.duplicates += 1;
                    continue;
                }
                SequenceGate::Gap { .. } => None,
                SequenceGate::Next => match event {
                    Received::Known(event) => match self.change(event, &unsaved.position).await {
                        Ok(change) => Some(change),
                        Err(failure) => {
                            ended.failure = Some((*record, failure));
                            break;
                        }
                    },
                    Received::Unknown(unknown) if is_skipped(unknown) => None,
                    Received::Unknown(_) => Some((unsaved.position.state.clone(), Vec::new())),
                },
            };
            let Some((state, writes)) = change else {
                skipped = skipped.max(sequence);
                skipped_at = skipped_at.or(Some(*record));
                continue;
            };
            let is_full = unsaved.writes.len() + writes.len() > P::MAX_WRITES;
            if is_full || (!together && unsaved.from.is_some()) {
                unsaved = match self.save(subject, unsaved, skipped).await {
                    Ok(saved) => saved,
                    Err(Unstored::Moved) => return Attempt::Moved,
                    Err(Unstored::Failed(error, _)) if together => {
                        return Attempt::FailedTogether(error);
                    }
                    Err(Unstored::Failed(error, before)) => {
                        ended.applied -= 1;
                        ended.gap_at = skipped_at;
                        return self.fail(subject, events, ended, error, *before).await;
                    }
                };
            }
            unsaved.position.sequence = sequence;
            unsaved.position.state = state;
            unsaved.writes.extend(writes);
            unsaved.from = unsaved.from.or(Some((*record, skipped)));
            ended.applied += 1;
        }
        match self.save(subject, unsaved, skipped).await {
            Ok(saved) => {
                ended.gap_at = saved.position.gap.and(skipped_at);
                Attempt::Ended(ended)
            }
            Err(Unstored::Moved) => Attempt::Moved,
            Err(Unstored::Failed(error, before)) => match before.from {
                Some(_) if together => Attempt::FailedTogether(error),
                Some(_) => {
                    ended.applied -= 1;
                    ended.gap_at = skipped_at;
                    self.fail(subject, events, ended, error, *before).await
                }
                // Only the gap could not be stored.
                None => {
                    ended.failure = Some((first(events), error.into()));
                    Attempt::Ended(ended)
                }
            },
        }
    }

    /// Ends an attempt whose event, the one in `unsaved`, can't be saved. The events that were skipped before it are
    /// completed, so their gap is stored.
    async fn fail(
        &self,
        subject: &str,
        events: &[(usize, Received<H::Event>)],
        mut ended: Ended,
        error: StoreError,
        unsaved: Unsaved<H::Write>,
    ) -> Attempt {
        let (record, skipped) = unsaved.from.unwrap_or((first(events), Sequence::NONE));
        match self.save(subject, Unsaved::of(unsaved.read), skipped).await {
            Ok(saved) => {
                let gap_at = saved.position.gap.and(ended.gap_at);
                ended.gap_at = gap_at.filter(|at| *at < record);
                ended.failure = Some((record, error.into()));
            }
            Err(Unstored::Moved) => return Attempt::Moved,
            Err(Unstored::Failed(error, _)) => {
                ended.gap_at = None;
                ended.failure = Some((first(events), error.into()));
            }
        }
        Attempt::Ended(ended)
    }

    /// The state after an event as JSON, and the event's writes.
    async fn change(
        &self,
        event: &Envelope<H::Event>,
        position: &Position,
    ) -> Result<(Option<String>, Vec<H::Write>), Failure> {
        let state = position.state.as_deref().map(serde_json::from_str);
        let state = state.transpose().map_err(Failure::UnreadableState)?;
        let applying = AssertUnwindSafe(self.handler.apply(event, state)).catch_unwind();
        let Change { state, writes } = applying
            .await
            .map_err(|_panic| Failure::Panicked)?
            .map_err(|error| Failure::Handler(error.to_string()))?;
        if writes.len() > P::MAX_WRITES {
            return Err(Failure::TooManyWrites {
                writes: writes.len(),
                limit: P::MAX_WRITES,
            });
        }
        let state = state.as_ref().map(serde_json::to_string);
        let state = state.transpose().map_err(Failure::UnwritableState)?;
        Ok((state, writes))
    }

    /// Saves what isn't saved, with the gap if `skipped` is the highest sequence that was skipped so far. Returns the
    /// position to continue from.
    async fn save(
        &self,
        subject: &str,
        mut unsaved: Unsaved<H::Write>,
        skipped: Sequence,
    ) -> Result<Unsaved<H::Write>, Unstored<H::Write>> {
        unsaved.position.gap = gap(&unsaved.position, skipped);
        if unsaved.is_empty() {
            return Ok(unsaved);
        }
        let save = Save {
            read: unsaved.read.clone(),
            position: unsaved.position.clone(),
            writes: std::mem::take(&mut unsaved.writes),
        };
        match self.positions.save(subject, save).await {
            Ok(Saved::Stored) => Ok(Unsaved::of(unsaved.position)),
            Ok(Saved::Moved) => Err(Unstored::Moved),
            Err(error) => Err(Unstored::Failed(error, Box::new(unsaved))),
        }
    }
}

/// Why a position isn't saved.
enum Unstored<W> {
    /// Another invocation has changed it.
    Moved,
    /// The store failed. Contains what wasn't saved, without the writes.
    Failed(StoreError, Box<Unsaved<W>>),
}

/// The position of the first event's record.
fn first<E>(events: &[(usize, E)]) -> usize {
    events.first().map_or(0, |(position, _)| *position)
}

/// Whether an unknown event is skipped like one after a gap: the consumer knows the type, but not this version.
const fn is_skipped(unknown: &Envelope<UnknownType>) -> bool {
    unknown.event.is_known_in_other_version
}

/// The gap after a batch in which `seen` is the highest sequence that was skipped after a gap. It includes the gap that
/// was stored before, and events that were skipped before the handler failed, because their records are completed.
fn gap(position: &Position, seen: Sequence) -> Option<Gap> {
    let seen = position.gap.map_or(seen, |gap| gap.seen.max(seen));
    (seen > position.sequence).then(|| Gap {
        missing: position.sequence.next(),
        seen,
    })
}

fn log(batch: &KinesisBatch<'_>, outcome: &Outcome, resume_at: Option<usize>) {
    let records = batch.delivered();
    let &Outcome {
        applied,
        duplicates,
        gaps,
        undecodable,
        incomplete,
        ..
    } = outcome;
    tracing::info!(
        records,
        applied,
        duplicates,
        gaps,
        undecodable,
        incomplete,
        resume_at,
        "processed a batch"
    );
}

/// An error with its sources.
struct Chain<'a>(&'a dyn std::error::Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
