//! Several requests with the same idempotency key.

use crate::fixtures::{Setting, at, body, code, header, request};
use futures_util::future::join_all;
use millrace_core::Attribute;
use millrace_runtime::http::{Caller, Response};
use millrace_writer::testing::Fault;

const CREDIT: &str = "/accounts/a/credit";
const WITHDRAW: &str = "/accounts/a/withdraw";
const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];
const REPLAYED: &str = "idempotent-replayed";

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_first_outcome_and_appends_nothing() {
    let setting = Setting::with_account().await;
    let first = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!((first.status, header(&first, REPLAYED)), (200, None));
    setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    let repeat = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!((repeat.status, &repeat.body), (200, &first.body));
    assert_eq!(header(&repeat, "etag"), header(&first, "etag"));
    assert_eq!(header(&repeat, "content-type"), Some("application/json"));
    assert_eq!(header(&repeat, REPLAYED), Some("true"));
    assert_eq!(setting.store.events_of("a").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_in_another_trace_gets_the_first_outcome_and_the_event_keeps_its_trace() {
    let setting = Setting::with_account().await;
    let in_trace = async |traceparent: &'static str| {
        let headers = [KEY[0], ("traceparent", traceparent)];
        setting.post(CREDIT, &headers, r#"{"amount":5}"#).await
    };
    let first = in_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    let appended = setting.store.rows_of("a");
    let repeat = in_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").await;
    assert_eq!((repeat.status, &repeat.body), (200, &first.body));
    assert_eq!(header(&repeat, REPLAYED), Some("true"));
    assert_eq!(setting.store.rows_of("a"), appended);
    let Some(Attribute::Text(span)) = appended.last().and_then(|row| row.get("TraceParent")) else {
        panic!("the event has a trace");
    };
    assert!(span.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
}

#[tokio::test(start_paused = true)]
async fn an_opening_is_repeated_with_its_location() {
    let setting = Setting::default();
    let first = setting.post("/accounts", &KEY, "").await;
    let repeat = setting.post("/accounts", &KEY, "").await;
    assert_eq!((repeat.status, &repeat.body), (201, &first.body));
    assert_eq!(header(&repeat, "location"), header(&first, "location"));
    assert_eq!(setting.store.row_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn twenty_at_once_append_one_event_and_agree() {
    for path in [WITHDRAW, "/accounts"] {
        let setting = Setting::with_account().await;
        let before = setting.store.row_count();
        let request = if path == WITHDRAW {
            r#"{"amount":60}"#
        } else {
            ""
        };
        let answers = join_all((0..20).map(|_| setting.post(path, &KEY, request))).await;
        for answer in &answers {
            assert_eq!(
                (answer.status, &answer.body),
                (answers[0].status, &answers[0].body)
            );
            assert_eq!(header(answer, "etag"), header(&answers[0], "etag"));
        }
        assert!(answers[0].status < 300, "{:?}", answers[0]);
        let after = setting.store.row_count();
        assert_eq!(after - before, if path == WITHDRAW { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn another_request_with_the_key_is_refused() {
    let setting = Setting::with_account().await;
    setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    let with_state = [KEY[0], ("if-match", "*")];
    for (path, headers, request) in [
        (CREDIT, &KEY[..], r#"{"amount":6}"#),
        (WITHDRAW, &KEY, r#"{"amount":5}"#),
        (CREDIT, &with_state, r#"{"amount":5}"#),
    ] {
        let answer = setting.post(path, headers, request).await;
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (422, "idempotency-key-reused")
        );
    }
    assert_eq!(setting.store.events_of("a").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_domain_is_an_outcome_too() {
    let setting = Setting::with_account().await;
    let first = setting.post(WITHDRAW, &KEY, r#"{"amount":101}"#).await;
    assert_eq!(code(&first), "insufficient-funds");
    setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    let repeat = setting.post(WITHDRAW, &KEY, r#"{"amount":101}"#).await;
    assert_eq!((repeat.status, &repeat.body), (422, &first.body));
    assert_eq!(
        header(&repeat, "content-type"),
        Some("application/problem+json")
    );
    assert_eq!(header(&repeat, REPLAYED), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn what_never_came_to_a_decision_may_be_sent_again() {
    let setting = Setting::with_account().await;
    let headers = [KEY[0], ("if-match", "\"3\"")];
    let early = setting.post(CREDIT, &headers, r#"{"amount":5}"#).await;
    assert_eq!(early.status, 412);
    setting.post(CREDIT, &[], r#"{"amount":1}"#).await;
    let later = setting.post(CREDIT, &headers, r#"{"amount":5}"#).await;
    assert_eq!((later.status, header(&later, REPLAYED)), (200, None));
}

#[tokio::test(start_paused = true)]
async fn the_key_is_forgotten_after_a_day() {
    let setting = Setting::with_account().await;
    setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    setting.ambient.set(at(86_399_999));
    let repeat = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!(header(&repeat, REPLAYED), Some("true"));
    // The record is still stored, because TTL deletes it late.
    setting.ambient.set(at(86_400_000));
    let executed = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!((executed.status, header(&executed, REPLAYED)), (200, None));
    assert_eq!(body(&executed)["balance"], 110);
}

#[tokio::test(start_paused = true)]
async fn after_an_unknown_outcome_the_repeat_clears_it_up() {
    let setting = Setting::with_account().await;
    // It is stored after the command's own reads.
    setting.store.fault(Fault::Late(4));
    let lost = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!(code(&lost), "unavailable");
    let repeat = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    assert_eq!(
        (repeat.status, header(&repeat, REPLAYED)),
        (200, Some("true"))
    );
    assert_eq!(body(&repeat)["balance"], 105);
    assert_eq!(setting.store.events_of("a").len(), 3);
}

/// A command with a key, sent by this caller.
async fn sent_by(setting: &Setting, caller: &str, amount: u64) -> Response {
    let body = format!(r#"{{"amount":{amount}}}"#);
    let mut request = request("POST", CREDIT, &KEY, &body);
    request.caller = Caller::new(caller.to_owned());
    setting.answer(&request).await
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_see_each_others_outcomes() {
    let setting = Setting::with_account().await;
    let ann = "arn:aws:iam::1:user/ann";
    let teller = |session| format!("arn:aws:sts::1:assumed-role/Teller/{session}");
    for (caller, amount, balance, replayed) in [
        ("", 5, 105, None),
        (ann, 5, 110, None),
        (&teller("monday"), 7, 117, None),
        (&teller("tuesday"), 7, 117, Some("true")),
        (ann, 5, 110, Some("true")),
        ("", 5, 105, Some("true")),
    ] {
        let answer = sent_by(&setting, caller, amount).await;
        assert_eq!(answer.status, 200, "{caller}");
        assert_eq!(body(&answer)["balance"], balance, "{caller}");
        assert_eq!(header(&answer, REPLAYED), replayed, "{caller}");
    }
    let reused = sent_by(&setting, ann, 6).await;
    assert_eq!(code(&reused), "idempotency-key-reused");
    let actors: Vec<_> = setting.store.events_of("a")[2..]
        .iter()
        .map(|row| row.get("Actor").cloned())
        .collect();
    let expected = [None, Some(ann.to_owned()), Some(teller("monday"))];
    assert_eq!(actors, expected.map(|it| it.map(Attribute::text)));
}

#[tokio::test(start_paused = true)]
async fn a_record_of_the_previous_form_is_honoured_until_it_expires() {
    let setting = Setting::with_account().await;
    let first = setting.post(CREDIT, &KEY, r#"{"amount":5}"#).await;
    let mut record = setting.store.take_record("\nk").expect("kept");
    record.insert("Key".to_owned(), Attribute::text("k"));
    setting.store.insert_record(record);
    let repeat = sent_by(&setting, "arn:aws:iam::1:user/ann", 5).await;
    assert_eq!((repeat.status, &repeat.body), (200, &first.body));
    assert_eq!(header(&repeat, REPLAYED), Some("true"));
    let reused = sent_by(&setting, "", 6).await;
    assert_eq!(code(&reused), "idempotency-key-reused");
    setting.ambient.set(at(86_400_000));
    let executed = sent_by(&setting, "", 6).await;
    assert_eq!((executed.status, header(&executed, REPLAYED)), (200, None));
}
