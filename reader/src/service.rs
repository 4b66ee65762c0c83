//! Handles a request and returns the response, with its status and headers.
//!
//! Every response has the correlation id, also a refusal. Every failure is logged here, once, and becomes
//! a problem response whose status and `retry-after` header say whether a retry may help.

use std::marker::PhantomData;

use millrace_core::{DecodeError, Project, Refusal, Sequence, ViewOf, answer};
use millrace_runtime::http::{CORRELATION_ID, Problem, Request, Response};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use tracing::{Span, error, field};

use crate::fresh::Fresh;
use crate::ports::ReadModel;
use crate::query::{Query, Question};

/// After how many seconds a client may retry. A projection takes about that long, and a throttled table
/// recovers in about that time.
const RETRY_AFTER: u32 = 1;

/// The documents that the reader shows: the JSON of each by its path without the leading slash, such as
/// `openapi.json`. A path that names a document names no query.
pub type Documents = &'static [(&'static str, &'static str)];

/// The reader with its services.
#[derive(Debug, Clone)]
pub struct Reader<D, M, A> {
    /// The domain; a query needs none of its settings.
    pub domain: PhantomData<D>,
    /// The documents of the contract.
    pub documents: Documents,
    /// The read model.
    pub model: M,
    /// Time, ids and randomness.
    pub ambient: A,
}

/// Why the read model could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A service call failed: the client may retry.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An item can't be decoded: a retry fails in the same way until the item is repaired.
    #[error("an item can't be read")]
    Item(#[from] DecodeError),
    /// The view includes an event whose history entry is missing. The projector writes entries first.
    #[error("history entry {0} is missing")]
    Missing(Sequence),
    /// The domain shows views at a time, and the view can't be restored from a history entry.
    #[error("the view can't be restored from history entry {0}")]
    NoView(Sequence),
}

impl<D: Project, M: ReadModel, A: Ambient> Reader<D, M, A> {
    /// Responds to a request within `budget`. The current span gets the request's `correlation_id`, and its
    /// `trace_id` if it has one.
    pub async fn answer(&self, request: &Request, budget: Budget) -> Response {
        if let Some(trace_parent) = request.trace_parent() {
            Span::current().record("trace_id", field::display(trace_parent.trace_id()));
        }
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

    /// The document that a request asks for.
    fn document(&self, request: &Request) -> Option<&'static str> {
        let path = request.path.strip_prefix('/')?;
        let mut documents = self.documents.iter();
        let (_, document) = documents.find(|(name, _)| *name == path)?;
        (request.method == "GET").then_some(document)
    }

    async fn query(&self, request: &Request, budget: Budget) -> Result<Response, Problem> {
        if let Some(document) = self.document(request) {
            return Ok(Response::stored(200, document.to_owned()));
        }
        let Query {
            id,
            question,
            at_least,
        } = Query::read::<D>(request)?;
        let found = self.fresh_view(&id, at_least, budget).await;
        let view = match found.map_err(|error| failed(&error))? {
            Fresh::View(view) => view,
            Fresh::Unknown => return Err(unanswered(&D::not_found())),
            Fresh::Lagging => return Err(not_caught_up(at_least)),
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

/// The view; or status 304 if the client has this view already
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

/// The view's entity tag, which a command accepts as `If-Match`.
fn entity_tag(sequence: Sequence) -> String {
    format!("\"{sequence}\"")
}

/// Whether `If-None-Match` names this tag. The reader's tags contain no comma, so splitting the header at
/// commas never yields a false match. The comparison is the weak one, as the RFC requires.
fn holds(if_none_match: &str, tag: &str) -> bool {
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|held| held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag)
}

fn unanswered(refusal: &Refusal) -> Problem {
    Problem::new(404, refusal.code, refusal.to_string())
}

fn not_caught_up(at_least: Sequence) -> Problem {
    Problem::new(
        503,
        "not-caught-up",
        format!("the read model has not reached sequence {at_least} yet"),
    )
    .with_header("retry-after", RETRY_AFTER.to_string())
}

/// Logs a failure with its cause, and returns the problem, whose status says whether a retry may help.
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
            "the read model can't be read: history entry {sequence} is missing"
        )),
        ReadError::NoView(_) => damaged(format!("the read model can't be read: {error}")),
    }
}

fn damaged(detail: String) -> Problem {
    Problem::new(500, "read-model-damaged", detail)
}
