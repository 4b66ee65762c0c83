//! Executes a command: loads the history, decides, appends, and starts again after a version conflict.
//!
//! # Ambiguous appends
//!
//! If an append's response was lost, or the append conflicted with another transaction, it may be stored,
//! or may still be stored later. The command therefore keeps the append as an `Attempt` and looks for
//! its own `CommandId` each time it loads the history:
//!
//! * its own row at the version: the append was stored, and its response is returned;
//! * another command's row at the version: the append can't be stored any more;
//! * no row at the version: the state is the one on which the append was decided, so the same decision
//!   is appended at the same version. The condition on the version ensures that only one is stored.
//!
//! So a command is never decided on another state while one of its appends may still be stored, and at
//! most one append is unresolved. A definite refusal is returned only if no append is unresolved and, if
//! the command has a key, a transactional read after that of the history finds no record of the key.
//! Otherwise the outcome is unknown: 503.

use std::time::Duration;

use millrace_core::resource::item_path;
use millrace_core::{
    Aggregate, Attribute, Attributes, DecodeError, Domain, LoadError, Refusal, RefusalKind,
    Sequence, TraceParent, Version, answer, row,
};
use millrace_runtime::http::{CORRELATION_ID, Problem, Request, Response};
use millrace_runtime::{Ambient, Backoff, Budget, Chain, ServiceError};
use tracing::{Span, field};

use crate::idempotency::Key;
use crate::ports::{Append, Appended, CommittedRecord, EventStore, TooLarge};
use crate::precondition::entity_tag;
use crate::request::{Prepared, prepare};

/// How often a command is decided before repeated version conflicts become a 409.
pub const MAX_ATTEMPTS: u32 = 5;
/// The wait between two attempts. An append takes a few milliseconds, so the waits are as short.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(10),
    cap: Duration::from_millis(200),
};
/// How often a call is made again because a transaction is not finished. With [`SETTLING`] these
/// are up to 2.2 seconds; a transaction takes some ten milliseconds.
const MAX_RETRIES: u32 = 8;
/// The wait between two calls while a transaction isn't finished.
const SETTLING: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_millis(500),
};
/// After how many seconds a client may retry after a 409 or 503.
const RETRY_AFTER: u32 = 1;

/// The writer with its services.
#[derive(Debug, Clone)]
pub struct Writer<D, S, A> {
    /// The domain, with its settings.
    pub domain: D,
    /// The tables.
    pub store: S,
    /// Time, ids and randomness.
    pub ambient: A,
}

/// The version conflicts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Races {
    /// How many appends failed because another command had appended the version first.
    pub lost: u64,
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command is refused.
    #[error("refused")]
    Refused(Problem),
    /// The stored history can't be continued.
    #[error("the history can't be read")]
    Unreadable(#[from] LoadError),
    /// The record of an earlier outcome can't be used.
    #[error("an outcome that was kept can't be read")]
    Outcome(#[from] DecodeError),
    /// A service call failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An append of the command may still be stored.
    #[error("it is unknown whether an append was stored")]
    Unresolved,
    /// The invocation's time is over.
    #[error("the time budget is spent")]
    OutOfTime,
}

/// An append that may be stored although no response has confirmed it.
#[derive(Debug)]
struct Attempt {
    /// The version of its first event's row, which contains the command's id.
    version: Version,
    /// The response to the client if the append is stored.
    response: Response,
}

/// The state of an [`Attempt`] according to the events table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The append is stored.
    Stored,
    /// The append can't be stored any more: another command's row has its version.
    Excluded,
    /// No row has its version.
    Open,
}

/// The result of loading the history.
enum Loaded<D: Domain> {
    /// An earlier attempt was stored.
    Stored(Response),
    Aggregate(Aggregate<D>),
}

/// The result of deciding a command.
enum Decision {
    /// The command's events are to be appended.
    Accepted {
        response: Response,
        rows: Vec<(Version, Attributes)>,
        /// The row of the first event; `None` if there is no event.
        first: Option<Version>,
    },
    /// A rule refuses the command. Like an acceptance, this outcome is stored in the key's record.
    RefusedByRule(Problem),
    /// The command can't be decided on this state. No outcome is stored.
    Refused(Problem),
}

impl<D: Domain, S: EventStore, A: Ambient> Writer<D, S, A> {
    /// Responds to a request within the budget. Every response has the correlation id, and none may be
    /// cached. The current span gets the `correlation_id` and the `trace_id`.
    pub async fn answer(&self, request: &Request, budget: Budget) -> (Response, Races) {
        let mut races = Races::default();
        let trace_parent = request.own_span(&self.ambient);
        Span::current().record("trace_id", field::display(trace_parent.trace_id()));
        let response = match request.correlation_id(&self.ambient) {
            Ok(correlation_id) => {
                Span::current().record("correlation_id", &correlation_id);
                let executed =
                    self.execute(request, &correlation_id, trace_parent, budget, &mut races);
                // Lambda would end the function in the middle of a call, and the client would get
                // API Gateway's own 500.
                tokio::time::timeout(budget.left(), executed)
                    .await
                    .unwrap_or(Err(Failure::OutOfTime))
                    .unwrap_or_else(|failure| failure.into_problem().into_response())
                    .with_header(CORRELATION_ID, correlation_id)
            }
            Err(problem) => problem.into_response(),
        };
        (response.with_header("cache-control", "no-store"), races)
    }

    async fn execute(
        &self,
        request: &Request,
        correlation_id: &str,
        trace_parent: TraceParent,
        budget: Budget,
        races: &mut Races,
    ) -> Result<Response, Failure> {
        let command = prepare::<D>(request, correlation_id, trace_parent, &self.ambient)?;
        let execution = Execution {
            writer: self,
            command: &command,
            budget,
            unresolved: None,
        };
        execution.run(races).await
    }
}

/// The execution of one command.
struct Execution<'a, D, S, A> {
    writer: &'a Writer<D, S, A>,
    command: &'a Prepared,
    budget: Budget,
    /// The append of which it is unknown whether it is stored.
    unresolved: Option<Attempt>,
}

impl<D: Domain, S: EventStore, A: Ambient> Execution<'_, D, S, A> {
    async fn run(mut self, races: &mut Races) -> Result<Response, Failure> {
        if let Some(outcome) = self.recorded_outcome().await? {
            return Ok(outcome);
        }
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 && !self.wait(BACKOFF, attempt - 1).await {
                break;
            }
            if let Some(response) = self.attempt().await? {
                return Ok(response);
            }
            races.lost += 1;
        }
        tracing::warn!(
            "every attempt of the command ended in a conflict; it is not attempted again"
        );
        if self.unresolved.is_some()
            && let Loaded::Stored(response) = self.load().await?
        {
            return Ok(response);
        }
        let problem = Problem::new(
            409,
            "conflict",
            "each attempt ended in a conflict with another write; nothing was appended",
        );
        self.refuse(problem.with_header("retry-after", RETRY_AFTER.to_string()))
            .await
    }

    /// Decides and appends once; `None` if another attempt is needed.
    async fn attempt(&mut self) -> Result<Option<Response>, Failure> {
        let aggregate = match self.load().await? {
            Loaded::Stored(response) => return Ok(Some(response)),
            Loaded::Aggregate(aggregate) => aggregate,
        };
        let (response, rows, first) = match self.decide(&aggregate) {
            Decision::Accepted {
                response,
                rows,
                first,
            } => {
                if self
                    .unresolved
                    .as_ref()
                    .is_some_and(|it| Some(it.version) != first)
                {
                    return Err(Failure::Unresolved);
                }
                if first.is_none() && self.command.key.is_none() {
                    return Ok(Some(response));
                }
                (response, rows, first)
            }
            Decision::RefusedByRule(problem)
                if self.command.key.is_some() && self.unresolved.is_none() =>
            {
                (problem.into_response(), Vec::new(), None)
            }
            Decision::RefusedByRule(problem) | Decision::Refused(problem) => {
                return self.refuse(problem).await.map(Some);
            }
        };
        let now = self.writer.ambient.now();
        let key = self.command.key.as_ref();
        let append = Append {
            token: self.writer.ambient.unique_id(),
            rows,
            record: key.map(|key| key.record(&response, now)),
            now,
        };
        if let Err(error) = append.check_size() {
            return self.refuse(too_large(error)).await.map(Some);
        }
        let was_unresolved = self.unresolved.is_some();
        if let Some(version) = first {
            let response = response.clone();
            self.unresolved = Some(Attempt { version, response });
        }
        match self.append(append).await {
            Ok(Appended::Stored) => Ok(Some(response)),
            Ok(Appended::VersionConflict { by: Some(by) }) if by == self.command.id() => {
                tracing::info!(
                    "an earlier append of this command was stored; its response is returned"
                );
                Ok(Some(response))
            }
            Ok(Appended::VersionConflict { by: Some(_) }) => {
                self.unresolved = None;
                Ok(None)
            }
            // The next load of the history finds out whose row it is, and whether the append is stored.
            Ok(Appended::VersionConflict { by: None } | Appended::TransactionConflict) => Ok(None),
            Ok(Appended::KeyTaken) => self.committed_outcome().await,
            Ok(Appended::TooLarge) => {
                if !was_unresolved {
                    self.unresolved = None;
                }
                self.refuse(too_large(TooLarge::Refused)).await.map(Some)
            }
            Ok(Appended::TransactionInProgress) => {
                tracing::warn!(
                    "a transaction is still in progress; the command will look up its outcome"
                );
                self.settle().await
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "an append failed; the command will look up its outcome");
                self.settle().await
            }
        }
    }

    /// Calls the service, and calls it again with the same token while the transaction is in progress.
    async fn append(&self, append: Append) -> Result<Appended, ServiceError> {
        let mut retry = 0;
        loop {
            let appended = self.writer.store.append(append.clone()).await?;
            if appended != Appended::TransactionInProgress
                || retry == MAX_RETRIES
                || !self.wait(SETTLING, retry).await
            {
                return Ok(appended);
            }
            retry += 1;
        }
    }

    /// Checks once whether an append without a response was stored. `None` if it can't be stored any
    /// more.
    async fn settle(&mut self) -> Result<Option<Response>, Failure> {
        let has_rows = self.unresolved.is_some();
        if has_rows && let Loaded::Stored(response) = self.load().await? {
            return Ok(Some(response));
        }
        if let Some(outcome) = self.committed_outcome().await? {
            return Ok(Some(outcome));
        }
        if has_rows && self.unresolved.is_none() {
            Ok(None)
        } else {
            Err(Failure::Unresolved)
        }
    }

    /// Refuses the command without a record, unless it has an outcome or may still have one.
    async fn refuse(&self, problem: Problem) -> Result<Response, Failure> {
        if let Some(outcome) = self.committed_outcome().await? {
            return Ok(outcome);
        }
        if self.unresolved.is_some() {
            return Err(Failure::Unresolved);
        }
        Err(Failure::Refused(problem))
    }

    /// The stored outcome of an earlier request with the same key.
    async fn recorded_outcome(&self) -> Result<Option<Response>, Failure> {
        let Some(key) = &self.command.key else {
            return Ok(None);
        };
        let store = &self.writer.store;
        let (record, previous) =
            tokio::try_join!(store.record(key.stored()), store.record(key.previous()))?;
        self.outcome(key, record.or(previous))
    }

    /// Like [`recorded_outcome`](Self::recorded_outcome), but never misses a record that belongs to
    /// rows that were read before.
    async fn committed_outcome(&self) -> Result<Option<Response>, Failure> {
        let Some(key) = &self.command.key else {
            return Ok(None);
        };
        let (record, previous) = tokio::try_join!(
            self.committed_record(key.stored()),
            self.committed_record(key.previous())
        )?;
        self.outcome(key, record.or(previous))
    }

    async fn committed_record(&self, key: &str) -> Result<Option<Attributes>, Failure> {
        let mut retry = 0;
        loop {
            match self.writer.store.committed_record(key).await? {
                CommittedRecord::Read(record) => return Ok(record),
                CommittedRecord::TransactionConflict => {
                    if retry == MAX_RETRIES || !self.wait(SETTLING, retry).await {
                        return Err(Failure::Unresolved);
                    }
                    retry += 1;
                }
            }
        }
    }

    fn outcome(&self, key: &Key, record: Option<Attributes>) -> Result<Option<Response>, Failure> {
        match record {
            Some(record) => Ok(key.recorded(&record, self.writer.ambient.now())?),
            None => Ok(None),
        }
    }

    /// Loads the history, and determines from it whether an earlier attempt was stored. A transaction's
    /// items become visible one by one, so rows that don't fold are read again before they are treated
    /// as damaged.
    async fn load(&mut self) -> Result<Loaded<D>, Failure> {
        let id = &self.command.target;
        if self.command.begins && self.unresolved.is_none() {
            return Ok(Loaded::Aggregate(Aggregate::new(id.clone())));
        }
        let mut retry = 0;
        loop {
            let rows = self.writer.store.newest(id).await?;
            if let Some(attempt) = self.unresolved.take() {
                match self.fate(&attempt, &rows).await? {
                    Fate::Stored => {
                        tracing::info!(
                            "an earlier append of this command was stored; its response is returned"
                        );
                        return Ok(Loaded::Stored(attempt.response));
                    }
                    Fate::Excluded => {}
                    Fate::Open => self.unresolved = Some(attempt),
                }
            }
            let loaded = Aggregate::load(&self.writer.domain, id.clone(), &rows);
            let is_partly_visible = match &loaded {
                Ok(_) => self.unresolved.as_ref().is_some_and(|attempt| {
                    newest(&rows).is_some_and(|newest| newest >= attempt.version)
                }),
                Err(error) => matches!(error, LoadError::Missing { .. }),
            };
            let is_over =
                !is_partly_visible || retry == MAX_RETRIES || !self.wait(SETTLING, retry).await;
            if is_over {
                return match loaded {
                    Ok(aggregate) if !is_partly_visible => Ok(Loaded::Aggregate(aggregate)),
                    Err(error) if self.unresolved.is_none() => Err(error.into()),
                    Ok(_) | Err(_) => Err(Failure::Unresolved),
                };
            }
            retry += 1;
        }
    }

    async fn fate(&self, attempt: &Attempt, rows: &[Attributes]) -> Result<Fate, ServiceError> {
        let version = attempt.version;
        let among = rows.iter().find(|row| row::version(row) == Ok(version));
        let row = match among {
            Some(row) => Some(row.clone()),
            None if newest(rows).is_some_and(|newest| newest > version) => {
                self.writer.store.row(&self.command.target, version).await?
            }
            None => None,
        };
        Ok(match row {
            None => Fate::Open,
            Some(row) if row.get(row::COMMAND_ID) == Some(&Attribute::text(self.command.id())) => {
                Fate::Stored
            }
            Some(_) => Fate::Excluded,
        })
    }

    fn decide(&self, before: &Aggregate<D>) -> Decision {
        let command = match self.command.read::<D>() {
            Ok(command) => command,
            Err(problem) => return Decision::Refused(problem),
        };
        let decided = before.decide(&self.writer.domain, command);
        if let Err(refusal) = &decided
            && refusal.kind != RefusalKind::Rule
        {
            return Decision::Refused(refused(refusal));
        }
        if let Some(if_match) = &self.command.if_match
            && !if_match.holds(before.sequence())
        {
            return Decision::Refused(Problem::new(
                412,
                "precondition-failed",
                "the state is not the one that If-Match names",
            ));
        }
        let events = match decided {
            Ok(events) => events,
            Err(refusal) => return Decision::RefusedByRule(refused(&refusal)),
        };
        let now = self.writer.ambient.now();
        let appended = if events.is_empty() {
            Ok((before.clone(), Vec::new()))
        } else {
            before.append(&events, now, &self.command.metadata)
        };
        let (after, rows) = match appended {
            Ok(appended) => appended,
            Err(error) => return Decision::Refused(not_storable(&error)),
        };
        let Some(accepted) = answer::accepted(&after) else {
            return Decision::Refused(not_storable(&NoEvent));
        };
        let status = if self.command.begins { 201 } else { 200 };
        let mut response =
            Response::json(status, &accepted).with_header("etag", entity_tag(after.sequence()));
        if before.sequence() == Sequence::NONE
            && let Some(path) = item_path::<D>(after.id())
        {
            response = response.with_header("location", path);
        }
        Decision::Accepted {
            response,
            rows,
            first: events
                .first()
                .and_then(|_| before.sequence().next().version()),
        }
    }

    /// Waits, if the budget allows it.
    async fn wait(&self, backoff: Backoff, retry: u32) -> bool {
        let wait = backoff.delay(retry, &self.writer.ambient);
        if !self.budget.allows(wait) {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

/// The version of the newest of these rows, which come newest first.
fn newest(rows: &[Attributes]) -> Option<Version> {
    row::version(rows.first()?).ok()
}

fn too_large(error: TooLarge) -> Problem {
    Problem::new(413, "too-large-to-store", error.to_string())
}

fn refused(refusal: &Refusal) -> Problem {
    Problem::new(refusal.kind.status(), refusal.code, refusal.to_string())
}

/// A command led to no event, and the aggregate has none yet, so there is no state to respond with.
#[derive(Debug, thiserror::Error)]
#[error("a command led to no event, and the aggregate has none")]
struct NoEvent;

/// The domain's events can't be stored, which is a fault of the domain: nothing is appended.
fn not_storable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = %Chain(error), "the domain's events can't be stored");
    Problem::new(
        500,
        "events-not-storable",
        format!("the events that the command leads to can't be stored: {error}"),
    )
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Failure {
    /// The problem that the client receives. It doesn't contain the cause, which is logged here.
    fn into_problem(self) -> Problem {
        match &self {
            Self::Refused(_) => {}
            Self::Unreadable(_)
            | Self::Outcome(_)
            | Self::Service(_)
            | Self::Unresolved
            | Self::OutOfTime => {
                tracing::error!(error = %Chain(&self), "a command failed, or its outcome is unknown; the client receives the problem");
            }
        }
        match self {
            Self::Refused(problem) => problem,
            Self::Unreadable(error) => Problem::new(
                500,
                "history-unreadable",
                format!("the stored history can't be continued: {error}"),
            ),
            Self::Outcome(error) => Problem::new(
                500,
                "outcome-unreadable",
                format!("the record of this Idempotency-Key can't be read: {error}"),
            ),
            Self::Service(_) | Self::Unresolved | Self::OutOfTime => Problem::unavailable(
                "whether the command was executed is unknown; an Idempotency-Key makes it safe to \
                 send it again",
                RETRY_AFTER,
            ),
        }
    }
}
