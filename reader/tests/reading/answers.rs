//! The body, the status and the headers of the response to each request.

use std::time::Duration;

use millrace_core::{AggregateId, Attribute, Attributes, Sequence};
use millrace_reader::ports::ReadModel;
use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::ServiceError;
use millrace_runtime::http::CORRELATION_ID;
use millrace_runtime::testing::in_virtual_time;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use crate::fixtures::{
    HISTORY, VIEW, VIEW_AT, ask, assert_problem, body, get, header, history, id, model, project,
    sequence, stub,
};
use crate::waiting::LONGEST_WAIT;

/// Opened at 0:00:10, credited 1.00 at 0:00:30, and credited 1.00 again by a writer whose clock is slow.
fn account() -> InMemoryReadModel {
    model(&history(&[10_000, 30_000, 20_000]))
}

#[tokio::test]
async fn shows_the_view() {
    let response = ask(&account(), &get(VIEW)).await;
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
    let response = ask(&account(), &get(&format!("{HISTORY}?limit=2"))).await;
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
    let response = ask(&account(), &get(&format!("{HISTORY}?before=2"))).await;
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
        &account(),
        &get(&format!("{VIEW_AT}?at=1970-01-01T00:00:29.999Z")),
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
    let response = ask(&account(), &get(VIEW_AT)).await;
    assert_eq!(body(&response)["balance"], 200);
    assert_eq!(body(&response)["at"], "1970-01-01T00:00:30.000Z");
}

#[tokio::test]
async fn a_time_before_the_first_event_has_no_value() {
    let response = ask(
        &account(),
        &get(&format!("{VIEW_AT}?at=1970-01-01T00:00:09Z")),
    )
    .await;
    assert_problem(&response, 404, "account-not-open-yet");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_aggregate_is_404_at_once() {
    let started = Instant::now();
    for model in [InMemoryReadModel::default(), stub()] {
        for path in [VIEW, HISTORY, VIEW_AT, "/accounts/a?minSequence=0"] {
            let response = ask(&model, &get(path)).await;
            assert_problem(&response, 404, "account-not-found");
        }
    }
    assert_problem(
        &ask(&account(), &get("/accounts/b")).await,
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
        let response = ask(&account(), &request).await;
        assert_eq!(
            (response.status, response.body.as_str()),
            (304, ""),
            "{held}"
        );
        assert_eq!(header(&response, "etag"), Some("\"3\""));
        assert_eq!(header(&response, "content-type"), None);
        assert_eq!(header(&response, CORRELATION_ID), Some("id-0"));
    }
    for held in ["\"2\"", "3", "\"33\"", "w/\"3\"", "", ","] {
        let mut request = get(VIEW);
        request.headers.insert("if-none-match".into(), held.into());
        let response = ask(&account(), &request).await;
        assert_eq!(response.status, 200, "{held}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_is_not_reached_is_503() {
    for model in [account(), InMemoryReadModel::default(), stub()] {
        for path in [VIEW, HISTORY, VIEW_AT] {
            let started = Instant::now();
            let response = ask(&model, &get(&format!("{path}?minSequence=4"))).await;
            assert_problem(&response, 503, "not-caught-up");
            assert_eq!(header(&response, "retry-after"), Some("1"));
            assert!(started.elapsed() >= Duration::from_millis(1700));
            assert!(started.elapsed() <= LONGEST_WAIT);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_is_reached_in_time_is_answered() {
    let events = history(&[10_000, 30_000, 20_000]);
    for path in [VIEW, HISTORY, VIEW_AT] {
        let model = model(&events[..1]);
        let request = get(&format!("{path}?minSequence=3"));
        let projecting = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            project(&model, &events[1..]);
        };
        let (response, ()) = tokio::join!(ask(&model, &request), projecting);
        assert_eq!(response.status, 200, "{path}");
        assert!(response.body.contains(r#""sequence":3"#), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_before_an_event_that_the_view_lacks_is_503() {
    let response = ask(&account(), &get(&format!("{HISTORY}?before=5"))).await;
    assert_problem(&response, 503, "not-caught-up");
    let response = ask(&account(), &get(&format!("{HISTORY}?before=4"))).await;
    assert_eq!(response.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_503() {
    let model = account();
    model.fail();
    for path in [VIEW, HISTORY, VIEW_AT] {
        let response = ask(&model, &get(path)).await;
        assert_problem(&response, 503, "unavailable");
        assert_eq!(header(&response, "retry-after"), Some("1"));
    }
}

/// A read model whose calls never return.
struct Silent;

impl ReadModel for Silent {
    async fn view(&self, _: &AggregateId) -> Result<Option<Attributes>, ServiceError> {
        std::future::pending().await
    }
    async fn history(
        &self,
        _: &AggregateId,
        _: Sequence,
        _: usize,
    ) -> Result<Vec<Attributes>, ServiceError> {
        std::future::pending().await
    }
    async fn entry(
        &self,
        _: &AggregateId,
        _: Sequence,
    ) -> Result<Option<Attributes>, ServiceError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_in_the_invocations_time_is_503() {
    let started = Instant::now();
    let response = ask(Silent, &get(VIEW)).await;
    assert_problem(&response, 503, "unavailable");
    assert_eq!(header(&response, "retry-after"), Some("1"));
    assert!(started.elapsed() <= Duration::from_millis(10_001));
}

#[tokio::test]
async fn a_damaged_view_is_500_and_its_attribute_named_but_not_its_value() {
    let (view, _) = history(&[10_000]).remove(0);
    let view = view.to_item().expect("accounts have views");
    for name in view.keys() {
        let mut item = view.clone();
        item.insert(name.clone(), Attribute::text("\u{7}secret"));
        let model = InMemoryReadModel::default();
        model.put_view(&id(), item);
        for path in [VIEW, HISTORY, VIEW_AT, "/accounts/a?minSequence=1"] {
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
    let at = format!("{VIEW_AT}?at=1970-01-01T00:00:29Z");
    for path in [HISTORY, &at] {
        let model = account();
        let (_, entry) = history(&[10_000, 30_000]).remove(1);
        let mut item = entry.to_item().expect("accounts have entries");
        item.remove("EffectiveAt");
        model.put_entry(&id(), sequence(2), item);
        let response = ask(&model, &get(path)).await;
        assert_problem(&response, 500, "read-model-damaged");
        assert!(response.body.contains("attribute EffectiveAt"));
        model.remove_entry(&id(), sequence(2));
        let response = ask(&model, &get(path)).await;
        assert_problem(&response, 500, "read-model-damaged");
        assert!(response.body.contains("history entry 2 is missing"));
    }
}

#[tokio::test]
async fn what_is_no_query_is_refused() {
    let no_query = ask(&account(), &get("/orders")).await;
    assert_problem(&no_query, 404, "not-found");
    for (method, path, allow) in [
        ("GET", "/accounts", "POST"),
        ("GET", "/accounts/a/credit", "POST"),
        ("DELETE", VIEW, "GET"),
        ("HEAD", HISTORY, "GET"),
    ] {
        let mut request = get(path);
        request.method = method.to_owned();
        let response = ask(&account(), &request).await;
        assert_problem(&response, 405, "method-not-allowed");
        assert_eq!(header(&response, "allow"), Some(allow));
    }
    let response = ask(&account(), &get("/accounts/a?limit=1")).await;
    assert_problem(&response, 400, "malformed-request");
}

#[tokio::test]
async fn every_answer_carries_the_correlation_id() {
    for path in [
        VIEW,
        HISTORY,
        VIEW_AT,
        "/orders",
        "/accounts",
        "/accounts/b",
        "/accounts/a?x=1",
    ] {
        let mut request = get(path);
        let response = ask(&account(), &request).await;
        assert_eq!(header(&response, CORRELATION_ID), Some("id-0"));
        request.headers.insert(CORRELATION_ID.into(), "mine".into());
        let response = ask(&account(), &request).await;
        assert_eq!(header(&response, CORRELATION_ID), Some("mine"));
        request.headers.insert(CORRELATION_ID.into(), String::new());
        let response = ask(&account(), &request).await;
        assert_problem(&response, 400, "malformed-request");
        assert_eq!(header(&response, CORRELATION_ID), Some("id-0"));
    }
}

proptest! {
    #[test]
    fn what_is_no_sequence_is_refused(
        before in "[A-Za-z_=.+-]{1}[A-Za-z0-9_=.+-]{0,30}|\\PC{0,30}",
    ) {
        prop_assume!(!before.bytes().all(|byte| byte.is_ascii_digit()) || before.is_empty());
        in_virtual_time(async {
            let mut request = get(HISTORY);
            request.query.insert("before".to_owned(), before);
            assert_problem(&ask(&account(), &request).await, 400, "malformed-request");
        });
    }
}

#[tokio::test]
async fn a_document_is_shown_at_its_path_and_nowhere_else() {
    let shown = ask(&account(), &get("/openapi.json")).await;
    assert_eq!(
        (shown.status, &*shown.body),
        (200, r#"{"openapi":"3.1.1"}"#)
    );
    for path in [
        "/openapi.json/",
        "/openapi",
        "/asyncapi.json",
        "//openapi.json",
    ] {
        assert_eq!(ask(&account(), &get(path)).await.status, 404, "{path}");
    }
    let mut posted = get("/openapi.json");
    posted.method = "POST".to_owned();
    assert_eq!(ask(&account(), &posted).await.status, 404);
}
