//! A request to a response: which answer, which status, which headers.
//!
//! Every answer, a refusal too, carries the correlation id. Every failure is logged here, once, and
//! becomes a problem that tells the client whether to try again.

use millrace_domain::api::Unanswered;
use millrace_domain::{Sequence, View};
use millrace_runtime::http::{CORRELATION_ID, Problem, Request, Response};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use tracing::{Span, error, field};

use crate::fresh::{self, Fresh};
use crate::page::page;
use crate::query::{Query, Question};
use crate::store::{ReadError, ReadModel};
use crate::value_at::value_at;

/// When a client may come again, in seconds. What it waits for, a projection or a throttled table,
/// takes about that long.
const RETRY_AFTER: u32 = 1;

/// Answers a request, within `budget`. The current span gets the request's `correlation_id`.
pub async fn answer(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    request: &Request,
    budget: Budget,
) -> Response {
    let (correlation_id, outcome) = match request.correlation_id(ambient) {
        Ok(correlation_id) => {
            Span::current().record("correlation_id", field::display(&correlation_id));
            let answer =
                tokio::time::timeout(budget.left(), query(model, ambient, request, budget));
            let outcome = answer.await.unwrap_or_else(|elapsed| {
                let late = ServiceError::new("answering within the invocation's time", elapsed);
                Err(failed(&late.into()))
            });
            (correlation_id, outcome)
        }
        Err(problem) => (ambient.unique_id(), Err(problem)),
    };
    outcome
        .unwrap_or_else(Problem::into_response)
        .with_header(CORRELATION_ID, correlation_id)
}

async fn query(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    request: &Request,
    budget: Budget,
) -> Result<Response, Problem> {
    let Query {
        id,
        question,
        at_least,
    } = Query::read(request)?;
    let found = fresh::view(model, ambient, &id, at_least, budget).await;
    let view = match found.map_err(|error| failed(&error))? {
        Fresh::View(view) => view,
        Fresh::Unknown => return Err(unanswered(Unanswered::Unknown)),
        Fresh::Behind => return Err(behind(at_least)),
    };
    match question {
        Question::View => Ok(show(&view, request)),
        Question::History { limit, before } => page(model, &view, limit, before)
            .await
            .map(|page| Response::json(200, &page))
            .map_err(|error| failed(&error)),
        Question::ValueAt(at) => value_at(model, &view, at, ambient.now())
            .await
            .map_err(|error| failed(&error))?
            .map(|value| Response::json(200, &value))
            .ok_or_else(|| unanswered(Unanswered::NotYet)),
    }
}

/// The view, or word that the client has it already
/// ([RFC 9110, section 13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2)).
fn show(view: &View, request: &Request) -> Response {
    let tag = entity_tag(view.sequence);
    let response = match request.header("if-none-match") {
        Some(held) if holds(held, &tag) => Response {
            status: 304,
            headers: Vec::new(),
            body: String::new(),
        },
        Some(_) | None => Response::json(200, view),
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

fn unanswered(why: Unanswered) -> Problem {
    Problem::new(404, why.code(), why.to_string())
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
        ReadError::Item(row) => damaged(format!(
            "the read model can't be read: attribute {}",
            row.attribute
        )),
        ReadError::Hole(sequence) => damaged(format!(
            "the read model can't be read: line {sequence} is missing"
        )),
    }
}

fn damaged(detail: String) -> Problem {
    Problem::new(500, "read-model-damaged", detail)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_domain::{AggregateId, Attribute, HistoryEntry};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;
    use crate::memory::{Always, Memory, blocking, history};

    const VIEW: &str = "/accounts/a";
    const HISTORY: &str = "/accounts/a/transactions";
    const VALUE_AT: &str = "/accounts/a/balance";

    /// Opened at 0:00:10, credited 1.00 at 0:00:30 and, by a clock that was behind, 1.00 again.
    fn model() -> Memory {
        Memory::of(&history(&[10_000, 30_000, 20_000]))
    }

    fn get(path: &str) -> Request {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Request {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query
                .split('&')
                .filter_map(|parameter| parameter.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ..Request::default()
        }
    }

    async fn ask(model: &impl ReadModel, request: &Request) -> Response {
        let budget = Budget::lasting(Duration::from_secs(10));
        answer(model, &Always(0.5), request, budget).await
    }

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        let mut values = response.headers.iter().filter(|(held, _)| *held == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{name} stands there once");
        value
    }

    fn body(response: &Response) -> Value {
        serde_json::from_str(&response.body).expect("JSON")
    }

    #[track_caller]
    fn assert_problem(response: &Response, status: u16, code: &str) {
        assert_eq!(response.status, status, "{}", response.body);
        assert_eq!(
            header(response, "content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            body(response)["type"],
            format!("urn:millrace:problem:{code}")
        );
    }

    #[tokio::test]
    async fn shows_the_view() {
        let response = ask(&model(), &get(VIEW)).await;
        assert_eq!(response.status, 200);
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        assert_eq!(header(&response, "etag"), Some("\"3\""));
        assert_eq!(
            body(&response),
            json!({
                "accountId": "a", "currency": "EUR", "balance": 200, "sequence": 3,
                "openedAt": "1970-01-01T00:00:10.000Z", "updatedAt": "1970-01-01T00:00:30.000Z",
            })
        );
    }

    #[tokio::test]
    async fn shows_the_history_page_by_page() {
        let response = ask(&model(), &get(&format!("{HISTORY}?limit=2"))).await;
        assert_eq!(response.status, 200);
        let first = body(&response);
        let line = |sequence: u64, time: &str| {
            json!({
                "sequence": sequence, "type": "BalanceCredited", "amount": 100,
                "balance": (sequence - 1) * 100, "currency": "EUR",
                "time": format!("1970-01-01T00:00:{time}.000Z"),
            })
        };
        assert_eq!(first["accountId"], "a");
        assert_eq!(first["transactions"], json!([line(3, "20"), line(2, "30")]));
        assert_eq!(first["next"], 2);
        let response = ask(&model(), &get(&format!("{HISTORY}?before=2"))).await;
        assert_eq!(
            body(&response),
            json!({"accountId": "a", "transactions": [{
                "sequence": 1, "type": "AccountCreated", "balance": 0, "currency": "EUR",
                "time": "1970-01-01T00:00:10.000Z",
            }]})
        );
    }

    #[tokio::test]
    async fn shows_the_value_at_a_time() {
        let response = ask(
            &model(),
            &get(&format!("{VALUE_AT}?at=1970-01-01T00:00:29.999Z")),
        )
        .await;
        assert_eq!(response.status, 200);
        assert_eq!(
            body(&response),
            json!({
                "accountId": "a", "currency": "EUR", "balance": 0, "sequence": 1,
                "at": "1970-01-01T00:00:29.999Z",
            })
        );
        let response = ask(&model(), &get(VALUE_AT)).await;
        assert_eq!(body(&response)["balance"], 200);
        assert_eq!(body(&response)["at"], "1970-01-01T00:00:30.000Z");
    }

    #[tokio::test]
    async fn a_time_before_the_first_event_has_no_value() {
        let response = ask(
            &model(),
            &get(&format!("{VALUE_AT}?at=1970-01-01T00:00:09Z")),
        )
        .await;
        assert_problem(&response, 404, Unanswered::NotYet.code());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_aggregate_is_404_at_once() {
        let started = Instant::now();
        for model in [Memory::default(), Memory::stub()] {
            for path in [VIEW, HISTORY, VALUE_AT, "/accounts/a?minSequence=0"] {
                let response = ask(&model, &get(path)).await;
                assert_problem(&response, 404, Unanswered::Unknown.code());
            }
        }
        assert_problem(
            &ask(&model(), &get("/accounts/b")).await,
            404,
            "account-not-found",
        );
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_view_that_the_client_has_is_not_sent_again() {
        for held in [
            "\"3\"",
            "W/\"3\"",
            "*",
            "\"1\", \"3\"",
            "\"1\",W/\"3\" , \"x\"",
        ] {
            let mut request = get(VIEW);
            request.headers.insert("if-none-match".into(), held.into());
            let response = ask(&model(), &request).await;
            assert_eq!(
                (response.status, response.body.as_str()),
                (304, ""),
                "{held}"
            );
            assert_eq!(header(&response, "etag"), Some("\"3\""));
            assert_eq!(header(&response, "content-type"), None);
            assert_eq!(header(&response, CORRELATION_ID), Some("made"));
        }
        for held in ["\"2\"", "3", "\"33\"", "w/\"3\"", "", ","] {
            let mut request = get(VIEW);
            request.headers.insert("if-none-match".into(), held.into());
            let response = ask(&model(), &request).await;
            assert_eq!(response.status, 200, "{held}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sequence_that_is_not_reached_is_503() {
        for model in [model(), Memory::default(), Memory::stub()] {
            for path in [VIEW, HISTORY, VALUE_AT] {
                let started = Instant::now();
                let response = ask(&model, &get(&format!("{path}?minSequence=4"))).await;
                assert_problem(&response, 503, "not-caught-up");
                assert_eq!(header(&response, "retry-after"), Some("1"));
                assert!(started.elapsed() >= Duration::from_millis(1700));
                assert!(started.elapsed() <= fresh::LONGEST_WAIT);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sequence_that_is_reached_in_time_is_answered() {
        let events = history(&[10_000, 30_000, 20_000]);
        for path in [VIEW, HISTORY, VALUE_AT] {
            let model = Memory::of(&events[..1]);
            let request = get(&format!("{path}?minSequence=3"));
            let projecting = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                model.apply(&events[1..]);
            };
            let (response, ()) = tokio::join!(ask(&model, &request), projecting);
            assert_eq!(response.status, 200, "{path}");
            assert!(response.body.contains(r#""sequence":3"#), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_before_an_event_that_the_view_lacks_is_503() {
        let response = ask(&model(), &get(&format!("{HISTORY}?before=5"))).await;
        assert_problem(&response, 503, "not-caught-up");
        let response = ask(&model(), &get(&format!("{HISTORY}?before=4"))).await;
        assert_eq!(response.status, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_is_503() {
        let model = model();
        model.fail();
        for path in [VIEW, HISTORY, VALUE_AT] {
            let response = ask(&model, &get(path)).await;
            assert_problem(&response, 503, "unavailable");
            assert_eq!(header(&response, "retry-after"), Some("1"));
        }
    }

    /// Answers nothing, ever.
    struct Silent;

    impl ReadModel for Silent {
        async fn view(&self, _: &AggregateId) -> Result<Option<View>, ReadError> {
            std::future::pending().await
        }
        async fn history(
            &self,
            _: &AggregateId,
            _: Sequence,
            _: usize,
        ) -> Result<Vec<HistoryEntry>, ReadError> {
            std::future::pending().await
        }
        async fn entry(
            &self,
            _: &AggregateId,
            _: Sequence,
        ) -> Result<Option<HistoryEntry>, ReadError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_in_the_invocations_time_is_503() {
        let started = Instant::now();
        let response = ask(&Silent, &get(VIEW)).await;
        assert_problem(&response, 503, "unavailable");
        assert_eq!(header(&response, "retry-after"), Some("1"));
        assert!(started.elapsed() <= Duration::from_millis(10_001));
    }

    #[tokio::test]
    async fn a_damaged_view_is_500_and_its_attribute_named_but_not_its_value() {
        let (view, _) = history(&[10_000]).remove(0);
        for name in view.to_attributes().keys() {
            let mut item = view.to_attributes();
            item.insert(name.clone(), Attribute::text("\u{7}secret"));
            let model = Memory::default();
            model.put_view(item);
            for path in [VIEW, HISTORY, VALUE_AT, "/accounts/a?minSequence=1"] {
                let response = ask(&model, &get(path)).await;
                assert_problem(&response, 500, "read-model-damaged");
                let detail = body(&response)["detail"].to_string();
                assert!(detail.ends_with(&format!("attribute {name}\"")), "{detail}");
                assert!(!response.body.contains("secret"));
            }
        }
    }

    #[tokio::test]
    async fn a_damaged_or_missing_line_is_500() {
        let at = format!("{VALUE_AT}?at=1970-01-01T00:00:29Z");
        for path in [HISTORY, &at] {
            let model = model();
            let mut line = history(&[10_000, 30_000]).remove(1).1.to_attributes();
            line.remove("EffectiveAt");
            model.put_line(2, line);
            let response = ask(&model, &get(path)).await;
            assert_problem(&response, 500, "read-model-damaged");
            assert!(response.body.contains("attribute EffectiveAt"));
            model.lose_line(2);
            let response = ask(&model, &get(path)).await;
            assert_problem(&response, 500, "read-model-damaged");
            assert!(response.body.contains("line 2 is missing"));
        }
    }

    #[tokio::test]
    async fn what_is_no_query_is_refused() {
        let no_query = ask(&model(), &get("/orders")).await;
        assert_problem(&no_query, 404, "not-found");
        for (method, path, allow) in [
            ("GET", "/accounts", "POST"),
            ("GET", "/accounts/a/credit", "POST"),
            ("DELETE", VIEW, "GET"),
            ("HEAD", HISTORY, "GET"),
        ] {
            let mut request = get(path);
            request.method = method.to_owned();
            let response = ask(&model(), &request).await;
            assert_problem(&response, 405, "method-not-allowed");
            assert_eq!(header(&response, "allow"), Some(allow));
        }
        let response = ask(&model(), &get("/accounts/a?limit=1")).await;
        assert_problem(&response, 400, "malformed-request");
    }

    #[tokio::test]
    async fn every_answer_carries_the_correlation_id() {
        for path in [
            VIEW,
            HISTORY,
            VALUE_AT,
            "/orders",
            "/accounts",
            "/accounts/b",
            "/accounts/a?x=1",
        ] {
            let mut request = get(path);
            let response = ask(&model(), &request).await;
            assert_eq!(header(&response, CORRELATION_ID), Some("made"));
            request.headers.insert(CORRELATION_ID.into(), "mine".into());
            let response = ask(&model(), &request).await;
            assert_eq!(header(&response, CORRELATION_ID), Some("mine"));
            request.headers.insert(CORRELATION_ID.into(), String::new());
            let response = ask(&model(), &request).await;
            assert_problem(&response, 400, "malformed-request");
            assert_eq!(header(&response, CORRELATION_ID), Some("made"));
        }
    }

    proptest! {
        #[test]
        fn what_is_no_sequence_is_refused(
            before in "[A-Za-z_=.+-]{1}[A-Za-z0-9_=.+-]{0,30}|\\PC{0,30}",
        ) {
            prop_assume!(!before.bytes().all(|byte| byte.is_ascii_digit()) || before.is_empty());
            blocking(async {
                let mut request = get(HISTORY);
                request.query.insert("before".to_owned(), before);
                assert_problem(&ask(&model(), &request).await, 400, "malformed-request");
            });
        }
    }
}
