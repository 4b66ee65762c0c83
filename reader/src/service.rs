//! The reader's work: a request to a response, with which status and which headers.
//!
//! Every answer, a refusal too, carries the correlation id. Every failure is logged here, once, and
//! becomes a problem that tells the client whether to try again.

use std::marker::PhantomData;

use millrace_core::{DecodeError, Project, Refusal, Sequence, ViewOf, answer};
use millrace_runtime::http::{CORRELATION_ID, Problem, Request, Response};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use tracing::{Span, error, field};

use crate::fresh::Fresh;
use crate::ports::ReadModel;
use crate::query::{Query, Question};

/// When a client may come again, in seconds. What it waits for, a projection or a throttled table,
/// takes about that long.
const RETRY_AFTER: u32 = 1;

/// The reader with its services.
#[derive(Debug, Clone)]
pub struct Reader<D, M, A> {
    /// The domain; a query needs none of its settings.
    pub domain: PhantomData<D>,
    /// The read model.
    pub model: M,
    /// Time, ids and randomness.
    pub ambient: A,
}

/// Why the read model could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A service failed: the client may try again.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An item can't be decoded: a retry fails in the same way until somebody repairs the item.
    #[error("an item can't be read")]
    Item(#[from] DecodeError),
    /// A history entry is missing though the view is past it; the projector writes entries first.
    #[error("the history has no line {0}")]
    Missing(Sequence),
    /// The domain shows views at a time, and a history entry doesn't tell the view after it.
    #[error("the history's entry {0} doesn't tell the view after it")]
    NoView(Sequence),
}

impl<D: Project, M: ReadModel, A: Ambient> Reader<D, M, A> {
    /// Answers a request, within `budget`. The current span gets the request's `correlation_id`.
    pub async fn answer(&self, request: &Request, budget: Budget) -> Response {
        let (correlation_id, outcome) = match request.correlation_id(&self.ambient) {
            Ok(correlation_id) => {
                Span::current().record("correlation_id", field::display(&correlation_id));
                let answer = tokio::time::timeout(budget.left(), self.query(request, budget));
                let outcome = answer.await.unwrap_or_else(|elapsed| {
                    let late = ServiceError::new("answering within the invocation's time", elapsed);
                    Err(failed(&late.into()))
                });
                (correlation_id, outcome)
            }
            Err(problem) => (self.ambient.unique_id(), Err(problem)),
        };
        outcome
            .unwrap_or_else(Problem::into_response)
            .with_header(CORRELATION_ID, correlation_id)
    }

    async fn query(&self, request: &Request, budget: Budget) -> Result<Response, Problem> {
        let Query {
            id,
            question,
            at_least,
        } = Query::read::<D>(request)?;
        let found = self.fresh_view(&id, at_least, budget).await;
        let view = match found.map_err(|error| failed(&error))? {
            Fresh::View(view) => view,
            Fresh::Unknown => return Err(unanswered(&D::not_found())),
            Fresh::Behind => return Err(behind(at_least)),
        };
        match question {
            Question::View => Ok(show::<D>(&view, request)),
            Question::History { limit, before } => self
                .history_page(&view, limit, before)
                .await
                .map(|page| Response::json(200, &page))
                .map_err(|error| failed(&error)),
            Question::ViewAt(at) => self
                .view_at(&view, at)
                .await
                .map_err(|error| failed(&error))?
                .map(|view| Response::json(200, &view))
                .ok_or_else(|| unanswered(&D::not_yet())),
        }
    }
}

/// The view, or word that the client has it already
/// ([RFC 9110, section 13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2)).
fn show<D: Project>(view: &ViewOf<D>, request: &Request) -> Response {
    let tag = entity_tag(view.sequence);
    let response = match request.header("if-none-match") {
        Some(held) if holds(held, &tag) => Response {
            status: 304,
            headers: Vec::new(),
            body: String::new(),
        },
        Some(_) | None => Response::json(200, &answer::view::<D>(view)),
    };
    response.with_header("etag", tag)
}

/// The view's version as HTTP has it; what a command takes as `If-Match`.
fn entity_tag(sequence: Sequence) -> String {
    format!("\"{sequence}\"")
}

/// Whether `If-None-Match` names this tag. A tag of ours holds no comma, so splitting there never
/// finds it where it isn't. The comparison is the weak one, as the RFC asks.
fn holds(if_none_match: &str, tag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|held| held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag)
}

fn unanswered(refusal: &Refusal) -> Problem {
    Problem::new(404, refusal.code, refusal.to_string())
}

fn behind(at_least: Sequence) -> Problem {
    Problem::new(
        503,
        "not-caught-up",
        format!("the read model has not reached sequence {at_least} yet"),
    )
    .with_header("retry-after", RETRY_AFTER.to_string())
}

/// Logs a failure and tells it. The log names what failed and why; the client learns whether
/// trying again helps.
fn failed(error: &ReadError) -> Problem {
    error!(error = %Chain(error), "the query failed");
    match error {
        ReadError::Service(_) => {
            Problem::unavailable("the read model can't be reached just now", RETRY_AFTER)
        }
        ReadError::Item(item) => damaged(format!(
            "the read model can't be read: attribute {}",
            item.path()
        )),
        ReadError::Missing(sequence) => damaged(format!(
            "the read model can't be read: line {sequence} is missing"
        )),
        ReadError::NoView(_) => damaged(format!("the read model can't be read: {error}")),
    }
}

fn damaged(detail: String) -> Problem {
    Problem::new(500, "read-model-damaged", detail)
}
