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
/// How often an aggregate's events are applied again because another invocation was faster.
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
    /// The event takes effect by what this returns, which is stored once. The function itself may be called more
    /// than once for an event, so it has no effect of its own: it doesn't send a message, for example, but writes
    /// that the message has to be sent.
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
    /// Why they are no event. It quotes none of them.
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
    /// How many aggregates have a gap: events of them are held until the missing ones arrive.
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
    #[error("other invocations changed the position at each of {ATTEMPTS} attempts")]
    Moved,
}

/// How an aggregate's events of a batch ended.
#[derive(Debug, Default)]
struct Counts {
    applied: usize,
    duplicates: usize,
    has_gap: bool,
}

/// How one attempt ended.
enum Attempt {
    Completed(Counts),
    /// The position of the first record that isn't completed.
    Failed(usize, Failure),
    /// The same, and the failure is one of saving several events together.
    FailedTogether(usize, StoreError),
    Moved,
}

/// The work on an aggregate since its position was saved last.
struct Unsaved<W> {
    read: Position,
    position: Position,
    writes: Vec<W>,
}

impl<W> Unsaved<W> {
    fn of(read: Position) -> Self {
        Self {
            position: read.clone(),
            read,
            writes: Vec::new(),
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
        while let Some(result) = results.next().await {
            match result {
                Ok(applied) => {
                    outcome.applied += applied.applied;
                    outcome.duplicates += applied.duplicates;
                    outcome.gaps += usize::from(applied.has_gap);
                }
                Err((position, failure)) => {
                    outcome.incomplete += 1;
                    resume_at = resume_at.into_iter().chain([position]).min();
                    tracing::error!(
                        position,
                        error = %Chain(&failure),
                        "an aggregate is incomplete; the batch will be retried from this record on"
                    );
                }
            }
        }
        outcome.response = batch.response(resume_at);
        log(&batch, &outcome, resume_at);
        Ok(outcome)
    }

    /// Passes a record to the handler that contains no event. Returns whether the record is completed.
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

    /// Applies an aggregate's events. The error contains the position of the first record that isn't completed.
    async fn apply_all(
        &self,
        subject: &str,
        events: &[(usize, Received<H::Event>)],
    ) -> Result<Counts, (usize, Failure)> {
        let mut wait = FIRST_WAIT;
        let mut together = true;
        for attempt in 1..=ATTEMPTS {
            match self.attempt(subject, events, together).await {
                Attempt::Completed(counts) => return Ok(counts),
                // One of the events may be the cause. DynamoDB also refuses a transaction that writes an item twice.
                Attempt::FailedTogether(_, _) if together => together = false,
                Attempt::FailedTogether(position, error) => return Err((position, error.into())),
                Attempt::Failed(position, failure) => return Err((position, failure)),
                Attempt::Moved if attempt == ATTEMPTS => {}
                Attempt::Moved => {
                    tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
                    wait *= 2;
                }
            }
        }
        Err((first(events), Failure::Moved))
    }

    async fn attempt(
        &self,
        subject: &str,
        events: &[(usize, Received<H::Event>)],
        together: bool,
    ) -> Attempt {
        let read = match self.positions.read(subject).await {
            Ok(read) => read,
            Err(error) => return Attempt::Failed(first(events), error.into()),
        };
        let mut unsaved = Unsaved::of(read);
        let mut counts = Counts::default();
        // The highest sequence that is held, and the first record that isn't saved.
        let (mut seen, mut unsaved_from) = (Sequence::NONE, None);
        let mut failed = None;
        for (record, event) in events {
            let sequence = match event {
                Received::Known(event) => event.sequence,
                Received::Unknown(event) => event.sequence,
            };
            match SequenceGate::check(unsaved.position.sequence, sequence) {
                SequenceGate::Duplicate => {
                    counts.duplicates += 1;
                    continue;
                }
                SequenceGate::Gap { .. } => {
                    seen = seen.max(sequence);
                    continue;
                }
                SequenceGate::Next => {}
            }
            let change = match event {
                Received::Known(event) => match self.change(event, &unsaved.position).await {
                    Ok(change) => change,
                    Err(failure) => {
                        failed = Some((*record, failure));
                        break;
                    }
                },
                Received::Unknown(unknown) if is_held(unknown) => {
                    seen = seen.max(sequence);
                    continue;
                }
                Received::Unknown(_) => (unsaved.position.state.clone(), Vec::new()),
            };
            let (state, writes) = change;
            let is_full = unsaved.writes.len() + writes.len() > P::MAX_WRITES;
            if is_full || (!together && unsaved_from.is_some()) {
                match self.save(subject, unsaved).await {
                    Ok(Some(saved)) => unsaved = saved,
                    Ok(None) => return Attempt::Moved,
                    Err(error) => {
                        return Attempt::FailedTogether(unsaved_from.unwrap_or(*record), error);
                    }
                }
                unsaved_from = None;
            }
            unsaved.position.sequence = sequence;
            unsaved.position.state = state;
            unsaved.writes.extend(writes);
            unsaved_from = unsaved_from.or(Some(*record));
            counts.applied += 1;
        }
        unsaved.position.gap = gap(&unsaved.position, seen);
        counts.has_gap = unsaved.position.gap.is_some();
        match self.save(subject, unsaved).await {
            Ok(Some(_)) => match failed {
                None => Attempt::Completed(counts),
                Some((record, failure)) => Attempt::Failed(record, failure),
            },
            Ok(None) => Attempt::Moved,
            Err(error) => {
                let position = unsaved_from.unwrap_or_else(|| first(events));
                Attempt::FailedTogether(position, error)
            }
        }
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

    /// Saves what isn't saved, and returns the position to continue from; `None` if another invocation was faster.
    async fn save(
        &self,
        subject: &str,
        unsaved: Unsaved<H::Write>,
    ) -> Result<Option<Unsaved<H::Write>>, StoreError> {
        if unsaved.is_empty() {
            return Ok(Some(unsaved));
        }
        let position = unsaved.position;
        let save = Save {
            read: unsaved.read,
            position: position.clone(),
            writes: unsaved.writes,
        };
        match self.positions.save(subject, save).await? {
            Saved::Stored => Ok(Some(Unsaved::of(position))),
            Saved::Moved => Ok(None),
        }
    }
}

/// The position of the first event's record.
fn first<E>(events: &[(usize, E)]) -> usize {
    events.first().map_or(0, |(position, _)| *position)
}

/// Whether an event that the consumer doesn't know can't be counted: the consumer applies the type, but doesn't know
/// this version.
const fn is_held(unknown: &Envelope<UnknownType>) -> bool {
    unknown.event.is_known_in_other_version
}

/// The gap after a batch in which `seen` is the highest sequence that is held. It includes the gap that was stored
/// before, and events that were held before the handler failed, because their records are completed.
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
    if gaps > 0 {
        tracing::warn!(
            gaps,
            "events of some aggregates are held, because earlier ones are missing; their positions say which"
        );
    }
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
