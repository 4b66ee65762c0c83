//! A command's way: load, decide, append, and again where the race was lost.

use std::time::Duration;

use millrace_domain::api::{Accepted, path_of};
use millrace_domain::history::HistoryError;
use millrace_domain::ids::AggregateId;
use millrace_domain::layout::Sequence;
use millrace_domain::row::RowError;
use millrace_domain::{Attributes, History, Refusal, RefusalKind, Settings, Version, decide};
use millrace_runtime::http::{CORRELATION_ID, Problem, Request, Response};
use millrace_runtime::{Ambient, Backoff, Budget, Chain, ServiceError};
use tracing::Span;

use crate::precondition::entity_tag;
use crate::request::{Prepared, prepare};
use crate::store::{Append, Appended, EventStore};

/// How often a command is decided before a race that is lost again and again becomes a 409.
pub const MAX_TRIES: u32 = 5;
/// Between two tries. An append takes some milliseconds, so the waits are of that order.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(10),
    cap: Duration::from_millis(200),
};
/// What a client that got a 409 or 503 waits, in seconds.
const RETRY_AFTER: u32 = 1;

/// The writer with its services.
#[derive(Debug, Clone)]
pub struct Writer<S, A> {
    /// The tables.
    pub store: S,
    /// Time, ids and randomness.
    pub ambient: A,
    /// The domain's settings.
    pub settings: Settings,
}

/// What it took to answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Races {
    /// How often somebody else was first.
    pub lost: u64,
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It is refused.
    #[error("refused")]
    Refused(Problem),
    /// The stored history can't be continued.
    #[error("the history can't be read")]
    Unreadable(#[from] HistoryError),
    /// The record of an earlier outcome can't be used.
    #[error("an outcome that was kept can't be read")]
    Outcome(#[from] RowError),
    /// A service let it down.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What a try came to.
enum Attempt {
    Done(Response),
    /// Somebody else was first.
    Again,
}

/// What a command leads to, before it is stored.
struct Decided {
    response: Response,
    rows: Vec<(Version, Attributes)>,
}

impl<S: EventStore, A: Ambient> Writer<S, A> {
    /// Answers a request. Every answer echoes the correlation id, and none may be cached.
    pub async fn answer(&self, request: &Request, budget: Budget) -> (Response, Races) {
        let mut races = Races::default();
        let response = match request.correlation_id(&self.ambient) {
            Ok(correlation_id) => {
                Span::current().record("correlation_id", &correlation_id);
                self.execute(request, &correlation_id, budget, &mut races)
                    .await
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
        budget: Budget,
        races: &mut Races,
    ) -> Result<Response, Failure> {
        let command = prepare(request, correlation_id, &self.settings, &self.ambient)?;
        if let Some(outcome) = self.earlier_outcome(&command).await? {
            return Ok(outcome);
        }
        for tries in 0..MAX_TRIES {
            if tries > 0 {
                let wait = BACKOFF.delay(tries - 1, &self.ambient);
                if !budget.allows(wait) {
                    break;
                }
                tokio::time::sleep(wait).await;
            }
            if let Attempt::Done(response) = self.attempt(&command).await? {
                return Ok(response);
            }
            races.lost += 1;
        }
        tracing::warn!("every race was lost");
        Err(Failure::Refused(
            Problem::new(
                409,
                "conflict",
                "others were first each time; nothing was appended",
            )
            .with_header("retry-after", RETRY_AFTER.to_string()),
        ))
    }

    async fn attempt(&self, command: &Prepared) -> Result<Attempt, Failure> {
        let Decided { response, rows } = self.decide(command).await?;
        let now = self.ambient.now();
        let record = command.key.as_ref().map(|key| key.record(&response, now));
        if rows.is_empty() && record.is_none() {
            return Ok(Attempt::Done(response));
        }
        let append = Append {
            token: self.ambient.unique_id(),
            rows,
            record,
            now,
        };
        match self.store.append(append).await? {
            Appended::Stored => Ok(Attempt::Done(response)),
            Appended::VersionConflict { by } if by.is_some() && by == command.trace.command_id => {
                tracing::info!("an earlier try was stored after all");
                Ok(Attempt::Done(response))
            }
            Appended::VersionConflict { .. }
            | Appended::TransactionConflict
            | Appended::TransactionInProgress => Ok(Attempt::Again),
            Appended::KeyTaken => Ok(self
                .earlier_outcome(command)
                .await?
                .map_or(Attempt::Again, Attempt::Done)),
        }
    }

    /// What the same request came to before.
    async fn earlier_outcome(&self, command: &Prepared) -> Result<Option<Response>, Failure> {
        let Some(key) = &command.key else {
            return Ok(None);
        };
        let Some(record) = self.store.record(key.as_str()).await? else {
            return Ok(None);
        };
        Ok(key.recorded(&record, self.ambient.now())?)
    }

    /// Decides the command against the newest state. A refusal of the domain's is an outcome like
    /// an acceptance, and leaves no rows.
    async fn decide(&self, command: &Prepared) -> Result<Decided, Failure> {
        let before = self.history(command.target.as_ref()).await?;
        let decided = decide(before.state(), &command.command);
        if let Err(refusal) = &decided
            && refusal.kind() != RefusalKind::Rule
        {
            return Err(Failure::Refused(refused(refusal)));
        }
        if let Some(if_match) = &command.if_match
            && !if_match.holds(before.sequence())
        {
            return Err(Failure::Refused(Problem::new(
                412,
                "precondition-failed",
                "the state is not the one that If-Match names",
            )));
        }
        let events = match decided {
            Ok(events) => events,
            Err(refusal) => {
                return Ok(Decided {
                    response: refused(&refusal).into_response(),
                    rows: Vec::new(),
                });
            }
        };
        let (after, rows) = before.append(&events, self.ambient.now(), &command.trace);
        let status = if command.target.is_none() { 201 } else { 200 };
        let mut response = Response::json(status, &Accepted::of(&after))
            .with_header("etag", entity_tag(after.sequence()));
        if before.sequence() == Sequence::NONE {
            response = response.with_header("location", path_of(after.id()));
        }
        Ok(Decided { response, rows })
    }

    async fn history(&self, target: Option<&AggregateId>) -> Result<History, Failure> {
        let Some(id) = target else {
            let id = AggregateId::new(self.ambient.unique_id())
                .expect("a unique id is short and printable");
            return Ok(History::begin(id));
        };
        let rows = self.store.newest(id).await?;
        Ok(History::load(id.clone(), &rows, &self.settings)?)
    }
}

fn refused(refusal: &Refusal) -> Problem {
    let status = match refusal.kind() {
        RefusalKind::Unknown => 404,
        RefusalKind::Conflict => 409,
        RefusalKind::Rule => 422,
    };
    Problem::new(status, refusal.code(), refusal.to_string())
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Failure {
    /// What the client is told; what it isn't told is logged here.
    fn into_problem(self) -> Problem {
        match &self {
            Self::Refused(_) => {}
            Self::Unreadable(_) | Self::Outcome(_) | Self::Service(_) => {
                tracing::error!(error = %Chain(&self), "a command was not executed");
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
            Self::Service(_) => Problem::unavailable(
                "whether the command was executed is unknown; an Idempotency-Key makes it safe to \
                 send it again",
                RETRY_AFTER,
            ),
        }
    }
}
