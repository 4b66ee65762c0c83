//! The problems of the HTTP API: those of every domain, and the domain's own.

use millrace_core::{Refusal, RefusalKind};

/// A problem that a response may describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The response's status.
    pub(crate) status: u16,
    /// The last part of the problem's `type`.
    pub(crate) code: &'static str,
    /// The cause, or what the client does then.
    pub(crate) advice: &'static str,
}

/// Which requests lead to a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    Commands,
    Queries,
    Both,
}

/// The problems of every domain.
const COMMON: [(Requests, u16, &str, &str); 15] = [
    (
        Requests::Both,
        400,
        "malformed-request",
        "Fix the header, parameter or body that `detail` names.",
    ),
    (Requests::Both, 404, "not-found", "The path doesn't exist."),
    (
        Requests::Both,
        405,
        "method-not-allowed",
        "`Allow` names the method.",
    ),
    (
        Requests::Commands,
        409,
        "conflict",
        "Each of five attempts ended in a conflict with another write, and no event was appended. Send the command \
         again after `Retry-After`.",
    ),
    (
        Requests::Commands,
        412,
        "precondition-failed",
        "The aggregate is not in the state that `If-Match` names. Read it and decide again.",
    ),
    (
        Requests::Commands,
        413,
        "content-too-large",
        "Send at most 16 KiB.",
    ),
    (
        Requests::Commands,
        413,
        "too-large-to-store",
        "The events that the command leads to are larger than the events table allows. Send smaller commands.",
    ),
    (
        Requests::Commands,
        415,
        "unsupported-media-type",
        "Send `application/json`.",
    ),
    (
        Requests::Commands,
        422,
        "idempotency-key-reused",
        "Another request has used this key. Use a new key.",
    ),
    (
        Requests::Commands,
        500,
        "events-not-storable",
        "The events that the command leads to can't be encoded, and no event was appended. The code of the domain \
         must be fixed.",
    ),
    (
        Requests::Commands,
        500,
        "history-unreadable",
        "A stored row can't be decoded. `detail` names the row and the attribute. An operator must repair the row.",
    ),
    (
        Requests::Commands,
        500,
        "outcome-unreadable",
        "The record of this `Idempotency-Key` can't be decoded.",
    ),
    (
        Requests::Queries,
        500,
        "read-model-damaged",
        "An item of the read model can't be decoded, or is missing. An operator must rebuild the read model.",
    ),
    (
        Requests::Queries,
        503,
        "not-caught-up",
        "The read model has not reached `minSequence`. Repeat the query after `Retry-After`.",
    ),
    (
        Requests::Both,
        503,
        "unavailable",
        "A service failed or timed out. Repeat a query after `Retry-After`. For a command it is unknown whether it \
         was executed: send it again with the same `Idempotency-Key`.",
    ),
];

/// The problems that these requests lead to, by status.
pub(crate) fn of(requests: Requests, refusals: &[(Refusal, &'static str)]) -> Vec<Problem> {
    let common = COMMON
        .iter()
        .filter(|(by, ..)| *by == Requests::Both || *by == requests)
        .map(|(_, status, code, advice)| Problem {
            status: *status,
            code,
            advice,
        });
    let own = refusals
        .iter()
        .filter(|(refusal, _)| {
            requests == Requests::Commands || refusal.kind == RefusalKind::Unknown
        })
        .map(|(refusal, advice)| Problem {
            status: refusal.kind.status(),
            code: refusal.code,
            advice,
        });
    let mut problems: Vec<Problem> = common.chain(own).collect();
    problems.sort_by_key(|problem| problem.status);
    problems
}
