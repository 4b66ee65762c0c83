//! Which rows commands append, and which responses they return.

use std::time::Duration;

use crate::fixtures::{Setting, body, code, header, request};
use futures_util::future::join_all;
use millrace_core::{Attribute, Attributes, row};
use millrace_runtime::Budget;
use millrace_writer::service::MAX_ATTEMPTS;
use millrace_writer::testing::Fault;

const CREDIT: &str = "/accounts/a/credit";
const WITHDRAW: &str = "/accounts/a/withdraw";

#[tokio::test(start_paused = true)]
async fn opening_writes_the_event_and_a_snapshot_together() {
    let setting = Setting::default();
    let answer = setting
        .post("/accounts", &[], r#"{"currency":"CHF"}"#)
        .await;
    assert_eq!(answer.status, 201);
    let id = body(&answer)["accountId"]
        .as_str()
        .expect("named")
        .to_owned();
    assert_eq!(header(&answer, "etag"), Some("\"1\""));
    let location = format!("/accounts/{id}");
    assert_eq!(header(&answer, "location"), Some(location.as_str()));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    let rows = setting.store.rows_of(&id);
    let types: Vec<_> = rows.iter().map(|row| row[row::TYPE].clone()).collect();
    assert_eq!(types, ["CREATED", "SNAPSHOT"].map(Attribute::text));
    assert_eq!(setting.store.tokens().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_command_answers_with_the_state_after_it() {
    let setting = Setting::with_account().await;
    let answer = setting.post(WITHDRAW, &[], r#"{"amount":30}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(body(&answer)["accountId"], "a");
    assert_eq!(body(&answer)["sequence"], 3);
    assert_eq!(body(&answer)["balance"], 70);
    assert_eq!(header(&answer, "etag"), Some("\"3\""));
    assert_eq!(header(&answer, "location"), None);
}

#[tokio::test(start_paused = true)]
async fn the_event_carries_where_it_comes_from() {
    let setting = Setting::with_account().await;
    let headers = [("x-correlation-id", "talk"), ("x-causation-id", "message")];
    let answer = setting.post(CREDIT, &headers, r#"{"amount":1}"#).await;
    assert_eq!(header(&answer, "x-correlation-id"), Some("talk"));
    let row = setting.store.events_of("a").pop().expect("appended");
    assert_eq!(row["CorrelationId"], Attribute::text("talk"));
    assert_eq!(row["CausationId"], Attribute::text("message"));

    let answer = setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    let row = setting.store.events_of("a").pop().expect("appended");
    let made = header(&answer, "x-correlation-id").expect("made");
    assert_eq!(row["CorrelationId"], Attribute::text(made));
    assert_eq!(row["CausationId"], row["CommandId"]);
}

/// The members of the newest event's `TraceParent`.
fn span_of_newest(setting: &Setting) -> Vec<String> {
    let row = setting.store.events_of("a").pop().expect("appended");
    let Attribute::Text(span) = &row["TraceParent"] else {
        panic!("a span is a string");
    };
    span.split('-').map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_continues_its_clients_trace_with_a_span_of_the_writers() {
    let setting = Setting::with_account().await;
    for (sent, flags) in [
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01",
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00",
        ),
        // A later version, whose other flags this writer doesn't know.
        (
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-x",
            "01",
        ),
    ] {
        let headers = [("traceparent", sent)];
        let answer = setting.post(CREDIT, &headers, r#"{"amount":1}"#).await;
        assert_eq!(answer.status, 200);
        assert_eq!(header(&answer, "traceparent"), None);
        let span = span_of_newest(&setting);
        let trace_id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!([&*span[0], &*span[1], &*span[3]], ["00", trace_id, flags]);
        assert_ne!(span[2], "b7ad6b7169203331");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_without_a_valid_traceparent_begins_a_trace() {
    let setting = Setting::with_account().await;
    let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let twice = format!("{valid},{valid}");
    let capital = valid.to_uppercase();
    let mut before = span_of_newest(&setting);
    for headers in [
        &[][..],
        &[("traceparent", "")],
        &[("traceparent", "00-1")],
        &[("traceparent", &*twice)],
        &[("traceparent", &*capital)],
    ] {
        let answer = setting.post(CREDIT, headers, r#"{"amount":1}"#).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        let span = span_of_newest(&setting);
        assert_eq!([&*span[0], &*span[3]], ["00", "00"], "{headers:?}");
        assert_ne!(span[1], "0af7651916cd43dd8448eb211c80319c");
        assert_ne!((&span[1], &span[2]), (&before[1], &before[2]));
        before = span;
    }
}

#[tokio::test(start_paused = true)]
async fn every_tenth_row_is_a_snapshot() {
    let setting = Setting::with_account().await;
    for _ in 0..30 {
        let answer = setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
        assert_eq!(answer.status, 200);
    }
    let rows = setting.store.rows_of("a");
    let snapshots: Vec<_> = rows
        .iter()
        .filter(|row| row::is_plainly_a_snapshot(row))
        .map(|row| row[row::VERSION].as_integer().expect("a number"))
        .collect();
    assert_eq!(snapshots, [2, 12, 22, 32]);
    assert_eq!(rows.len(), 36);
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_appends_nothing() {
    let setting = Setting::with_account().await;
    let before = setting.store.rows_of("a");
    let refused = setting.post(WITHDRAW, &[], r#"{"amount":101}"#).await;
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (422, "insufficient-funds")
    );
    let huge = r#"{"amount":9007199254740991}"#;
    let refused = setting.post(CREDIT, &[], huge).await;
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (422, "balance-limit")
    );
    let unknown = setting
        .post("/accounts/b/credit", &[], r#"{"amount":1}"#)
        .await;
    assert_eq!(
        (unknown.status, code(&unknown).as_str()),
        (404, "account-not-found")
    );
    assert_eq!(setting.store.rows_of("a"), before);
    assert!(setting.store.rows_of("b").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_decided_anew() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Overtaken);
    setting.store.fault(Fault::Conflict);
    // 100 is there, 1 comes in between: 101 is too much at first, and isn't decided on that.
    let answer = setting.post(WITHDRAW, &[], r#"{"amount":100}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(body(&answer)["balance"], 1);
    assert_eq!(body(&answer)["sequence"], 4);
    assert_eq!(setting.store.events_of("a").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_race_lost_every_time_is_a_conflict() {
    let setting = Setting::with_account().await;
    for _ in 0..MAX_ATTEMPTS {
        setting.store.fault(Fault::Overtaken);
    }
    let answer = setting.post(WITHDRAW, &[], r#"{"amount":1}"#).await;
    assert_eq!((answer.status, code(&answer).as_str()), (409, "conflict"));
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    let others = 2 + usize::try_from(MAX_ATTEMPTS).expect("small");
    assert_eq!(setting.store.events_of("a").len(), others);
}

#[tokio::test(start_paused = true)]
async fn no_race_is_run_beyond_the_invocations_time() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Overtaken);
    let writer = setting.writer();
    let request = request("POST", CREDIT, &[], r#"{"amount":1}"#);
    let budget = Budget::lasting(Duration::from_millis(1));
    let (answer, races) = writer.answer(&request, budget).await;
    assert_eq!((code(&answer).as_str(), races.lost), ("conflict", 1));
}

#[tokio::test(start_paused = true)]
async fn a_row_of_ones_own_is_recognised_and_never_appended_twice() {
    for path in [CREDIT, "/accounts"] {
        let setting = Setting::with_account().await;
        setting.store.fault(Fault::StoredAndRetried);
        let body = if path == CREDIT {
            r#"{"amount":1}"#
        } else {
            ""
        };
        let before = setting.store.row_count();
        let answer = setting.post(path, &[], body).await;
        assert!(answer.status < 300, "{answer:?}");
        let after = setting.store.row_count();
        assert_eq!(after - before, if path == CREDIT { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn many_at_once_are_one_event_each() {
    let setting = Setting::with_account().await;
    let answers = join_all((0..40).map(|_| setting.post(WITHDRAW, &[], r#"{"amount":10}"#))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(accepted <= 10, "{accepted} of at most 10 withdrawals");
    assert!(accepted > 0);
    assert_eq!(setting.store.events_of("a").len(), 2 + accepted);
    let mut sequences: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| body(answer)["sequence"].as_u64().expect("a number"))
        .collect();
    sequences.sort_unstable();
    let expected: Vec<u64> = (3..).take(accepted).collect();
    assert_eq!(sequences, expected);
}

#[tokio::test(start_paused = true)]
async fn if_match_holds_for_the_state_that_was_seen() {
    let setting = Setting::with_account().await;
    let post = async |tag: &str| {
        let answer = setting
            .post(CREDIT, &[("if-match", tag)], r#"{"amount":1}"#)
            .await;
        answer.status
    };
    assert_eq!(post("\"2\"").await, 200);
    assert_eq!(post("\"2\"").await, 412);
    assert_eq!(post("W/\"3\"").await, 412);
    assert_eq!(post("*").await, 200);
    assert_eq!(setting.store.events_of("a").len(), 4);

    // Before a rule is asked, and after it is known whether there is such an account.
    let headers = [("if-match", "\"1\"")];
    let answer = setting.post(WITHDRAW, &headers, r#"{"amount":9999}"#).await;
    assert_eq!(code(&answer), "precondition-failed");
    let answer = setting
        .post("/accounts/b/credit", &headers, r#"{"amount":1}"#)
        .await;
    assert_eq!(code(&answer), "account-not-found");
    let answer = setting.post("/accounts", &[("if-match", "*")], "").await;
    assert_eq!(code(&answer), "precondition-failed");
}

#[tokio::test(start_paused = true)]
async fn if_match_is_asked_again_after_a_lost_race() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Overtaken);
    let answer = setting
        .post(CREDIT, &[("if-match", "\"2\"")], r#"{"amount":1}"#)
        .await;
    assert_eq!(answer.status, 412);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_is_reported_as_unavailable() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Down);
    let answer = setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (503, "unavailable")
    );
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    setting.store.fail_reads();
    let answer = setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    assert_eq!(answer.status, 503);
}

fn older(version: u64, of: &str, amount: Option<u64>) -> Attributes {
    let mut row: Attributes = [
        (row::ID, Attribute::text("a")),
        (row::VERSION, Attribute::number(version)),
        (row::TYPE, Attribute::text(of)),
        ("Timestamp", Attribute::text("2019-03-13T08:15:30Z")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(amount) = amount {
        let name = if of == "SNAPSHOT" {
            "Balance"
        } else {
            "Amount"
        };
        row.insert(name.to_owned(), Attribute::number(amount));
    }
    row
}

#[tokio::test(start_paused = true)]
async fn an_older_producers_account_is_continued() {
    let rows = [
        older(1, "CREATED", None),
        older(2, "SNAPSHOT", Some(0)),
        older(3, "CREDIT", Some(50)),
    ];
    let setting = Setting::with_rows(&rows);
    let answer = setting.post(WITHDRAW, &[], r#"{"amount":20}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(body(&answer)["sequence"], 3);
    assert_eq!(body(&answer)["balance"], 30);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_read_is_never_continued() {
    let mut broken = older(3, "CREDIT", None);
    broken.insert("Amount".to_owned(), Attribute::text("much"));
    let rows = [
        older(1, "CREATED", None),
        older(2, "SNAPSHOT", Some(0)),
        broken,
    ];
    let setting = Setting::with_rows(&rows);
    let answer = setting.post(CREDIT, &[], r#"{"amount":20}"#).await;
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (500, "history-unreadable")
    );
    let detail = body(&answer)["detail"].to_string();
    assert!(
        detail.contains("row 3") && detail.contains("Amount"),
        "{detail}"
    );
    assert!(!detail.contains("much"), "{detail}");
    assert_eq!(setting.store.rows_of("a").len(), 3);
}
