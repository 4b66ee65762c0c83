//! Requests that are refused before any call to a service, in the documented order.

use millrace_domain::testing::INVALID_AMOUNTS;
use millrace_runtime::testing::in_virtual_time;
use proptest::prelude::*;

use crate::fixtures::{Setting, body, code, header, request};

const CREDIT: &str = "/accounts/a/credit";

#[tokio::test(start_paused = true)]
async fn bad_input_gets_its_problem_and_appends_nothing() {
    let setting = Setting::with_account().await;
    let before = setting.store.rows_of("a");
    let large = " ".repeat(16 * 1024 + 1);
    let long = "k".repeat(256);
    let good = r#"{"amount":1}"#;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for (path, headers, request, status, problem) in [
        (CREDIT, &[][..], "", 400, "malformed-request"),
        (CREDIT, &[], "{", 400, "malformed-request"),
        (CREDIT, &[], "[1]", 400, "malformed-request"),
        (CREDIT, &[], "{}", 400, "malformed-request"),
        (
            CREDIT,
            &[],
            r#"{"amount":1,"x":1}"#,
            400,
            "malformed-request",
        ),
        (
            CREDIT,
            &[],
            r#"{"amount":1,"amount":1}"#,
            400,
            "malformed-request",
        ),
        (
            "/accounts",
            &[],
            r#"{"currency":"EURO"}"#,
            400,
            "malformed-request",
        ),
        (CREDIT, &[], &large, 413, "content-too-large"),
        (CREDIT, &form, good, 415, "unsupported-media-type"),
        (
            CREDIT,
            &[("idempotency-key", "")],
            good,
            400,
            "malformed-request",
        ),
        (
            CREDIT,
            &[("idempotency-key", &long)],
            good,
            400,
            "malformed-request",
        ),
        (
            CREDIT,
            &[("idempotency-key", "ä")],
            good,
            400,
            "malformed-request",
        ),
        (CREDIT, &[("if-match", "2")], good, 400, "malformed-request"),
        (
            CREDIT,
            &[("x-causation-id", "\u{7}")],
            good,
            400,
            "malformed-request",
        ),
        (
            CREDIT,
            &[("x-correlation-id", "ä")],
            good,
            400,
            "malformed-request",
        ),
        ("/accounts/a/close", &[], good, 404, "not-found"),
        ("/", &[], good, 404, "not-found"),
        ("/accounts/a", &[], good, 405, "method-not-allowed"),
    ] {
        let answer = setting.post(path, headers, request).await;
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (status, problem),
            "{path} {request}"
        );
        assert_eq!(
            header(&answer, "content-type"),
            Some("application/problem+json")
        );
        assert_eq!(body(&answer)["status"], status);
    }
    assert_eq!(setting.store.rows_of("a"), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_as_large_as_it_may_be_is_taken() {
    let setting = Setting::with_account().await;
    let largest = format!("{:<1$}", r#"{"amount":1}"#, 16 * 1024);
    let longest = "k".repeat(255);
    let headers = [("idempotency-key", longest.as_str())];
    assert_eq!(setting.post(CREDIT, &headers, &largest).await.status, 200);
    let larger = format!("{largest} ");
    assert_eq!(setting.post(CREDIT, &[], &larger).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_reaches_the_writer_is_not_found() {
    let setting = Setting::with_account().await;
    for path in [
        "/accounts/a",
        "/accounts/a/transactions",
        "/accounts/a/balance",
    ] {
        let answer = setting.answer(&request("GET", path, &[], "")).await;
        assert_eq!((answer.status, code(&answer).as_str()), (404, "not-found"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_amount_that_is_none_is_pointed_at() {
    let setting = Setting::with_account().await;
    for amount in INVALID_AMOUNTS {
        let request = format!(r#"{{"amount":{amount}}}"#);
        let answer = setting.post(CREDIT, &[], &request).await;
        assert_eq!(answer.status, 400, "{amount}");
        assert_eq!(
            body(&answer)["errors"][0]["pointer"],
            "#/amount",
            "{amount}"
        );
    }
    assert_eq!(setting.store.events_of("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn another_method_is_refused_with_the_allowed_one() {
    let setting = Setting::default();
    for (method, path, allow) in [
        ("PUT", CREDIT, "POST"),
        ("DELETE", "/accounts/a", "GET"),
        ("PATCH", "/accounts", "POST"),
    ] {
        let answer = setting.answer(&request(method, path, &[], "")).await;
        assert_eq!(answer.status, 405);
        assert_eq!(header(&answer, "allow"), Some(allow));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_check_that_fails_is_the_one_that_is_told() {
    let setting = Setting::default();
    let large = "x".repeat(20_000);
    let all = [
        ("content-type", "text/plain"),
        ("idempotency-key", ""),
        ("if-match", "x"),
    ];
    let nowhere = setting.post("/nowhere", &all, &large).await;
    assert_eq!(nowhere.status, 404);
    assert_eq!(setting.post(CREDIT, &all, &large).await.status, 415);
    assert_eq!(setting.post(CREDIT, &all[1..], &large).await.status, 413);
    let answer = setting.post(CREDIT, &all[1..], "{").await;
    assert!(answer.body.contains("Idempotency-Key"));
    let answer = setting.post(CREDIT, &all[2..], "{").await;
    assert!(answer.body.contains("If-Match"));
}

#[tokio::test(start_paused = true)]
async fn json_may_come_with_a_charset_and_nothing_without_a_type() {
    let setting = Setting::with_account().await;
    let headers = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(
        setting
            .post(CREDIT, &headers, r#"{"amount":1}"#)
            .await
            .status,
        200
    );
    assert_eq!(setting.post("/accounts", &[], "").await.status, 201);
}

proptest! {
    #[test]
    fn no_request_panics_and_none_appends_unless_it_is_accepted(
        method in "(POST|GET|PUT|[A-Z]{0,8})",
        path in "(/accounts|/accounts/a/credit|/accounts/a/withdraw|/[ -~]{0,20})",
        content_type in "(application/json|[ -~]{0,20})",
        key in proptest::option::of("\\PC{0,10}"),
        if_match in proptest::option::of("(\\*|\"[0-3]\"|[ -~]{0,10})"),
        body in "(\\{\"amount\":-?[0-9]{1,20}\\}|\\{\"currency\":\"[A-Z]{3}\"\\}|\\PC{0,40})",
    ) {
        in_virtual_time(async {
            let setting = Setting::with_account().await;
            let before = setting.store.row_count();
            let mut headers = vec![("content-type", content_type.as_str())];
            headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
            headers.extend(if_match.as_deref().map(|tags| ("if-match", tags)));
            let answer = setting.answer(&request(&method, &path, &headers, &body)).await;
            let after = setting.store.row_count();
            assert_eq!(after > before, answer.status < 300, "{answer:?}");
            assert!(answer.status != 500 && answer.status != 503, "{answer:?}");
        });
    }
}
