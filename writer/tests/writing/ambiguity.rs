//! Responses that leave open whether an append is stored: the command is executed once, and the response
//! to the client is consistent with that.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use millrace_core::{Attribute, row};
use millrace_runtime::http::Response;
use millrace_writer::service::MAX_ATTEMPTS;
use tokio::time::Instant;

use millrace_writer::testing::{Fault, Hidden};

use crate::fixtures::{Setting, body, code, header};

const CREDIT: &str = "/accounts/a/credit";
const FIVE: &str = r#"{"amount":5}"#;
const KEY: (&str, &str) = ("idempotency-key", "k");
const AT_TWO: (&str, &str) = ("if-match", "\"2\"");

/// The parts that have to be the same in every response to one request.
fn outcome(answer: &Response) -> (u16, &str, Option<&str>, Option<&str>) {
    let (etag, location) = (header(answer, "etag"), header(answer, "location"));
    (answer.status, &answer.body, etag, location)
}

/// Whether a command that waited for a transaction without success has waited as long as expected: eight
/// times, from half of 20 ms to half of 500 ms, because the jitter in this test is always a half.
fn waits_for_a_transaction(waited: Duration) -> bool {
    (Duration::from_millis(900)..Duration::from_millis(1_200)).contains(&waited)
}

fn appended_tokens(setting: &Setting) -> usize {
    let tokens = setting.store.tokens().into_iter();
    tokens.collect::<BTreeSet<_>>().len()
}

#[tokio::test(start_paused = true)]
async fn copies_with_a_precondition_all_get_the_one_outcome() {
    // For so many reads the rows are visible and the record is not.
    for hidden in 0..6 {
        let setting = Setting::with_account().await;
        setting.store.hide(Hidden::Records(hidden + 24));
        let copies = (0..12).map(|_| setting.post(CREDIT, &[KEY, AT_TWO], FIVE));
        let answers = join_all(copies).await;
        for answer in &answers {
            assert_eq!(outcome(answer), outcome(&answers[0]));
        }
        assert_eq!(answers[0].status, 200);
        assert_eq!(setting.store.events_of("a").len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_finds_its_own_event_is_not_refused() {
    let setting = Setting::with_account().await;
    let first = setting.post(CREDIT, &[KEY, AT_TWO], FIVE).await;
    // The plain reads of both forms of the key miss the record, and three transactional ones meet
    // the transaction that writes it.
    setting.store.hide(Hidden::Records(5));
    let copy = setting.post(CREDIT, &[KEY, AT_TWO], FIVE).await;
    assert_eq!(outcome(&copy), outcome(&first));
    assert_eq!(header(&copy, "idempotent-replayed"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn while_a_record_is_being_written_nothing_is_refused() {
    let setting = Setting::with_account().await;
    setting.post(CREDIT, &[KEY, AT_TWO], FIVE).await;
    setting.store.hide(Hidden::Records(u32::MAX));
    let started = Instant::now();
    let copy = setting.post(CREDIT, &[KEY, AT_TWO], FIVE).await;
    assert_eq!((copy.status, code(&copy).as_str()), (503, "unavailable"));
    assert!(waits_for_a_transaction(started.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_after_a_stored_append_is_its_success() {
    // Other commands append so many events that this command's event isn't among the newest rows any more.
    for others in [0, 1, 30] {
        let setting = Setting::with_account().await;
        setting.store.fault(Fault::StoredAndConflict(others));
        let answer = setting.post(CREDIT, &[], FIVE).await;
        assert_eq!(answer.status, 200, "{others}");
        assert_eq!(body(&answer)["sequence"], 3);
        assert_eq!(body(&answer)["balance"], 105);
        assert_eq!(header(&answer, "etag"), Some("\"3\""));
        let own = setting.store.events_of("a").into_iter();
        let own = own.filter(|row| row[row::COMMAND_ID] != Attribute::text("other"));
        assert_eq!(own.count(), 3, "{others}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_after_a_stored_append_is_no_failed_precondition() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::StoredAndConflict(1));
    let answer = setting.post(CREDIT, &[AT_TWO], FIVE).await;
    assert_eq!(
        (answer.status, &body(&answer)["sequence"]),
        (200, &3.into())
    );
}

#[tokio::test(start_paused = true)]
async fn an_opening_keeps_its_id_over_all_attempts() {
    for headers in [&[][..], &[KEY]] {
        for fault in [
            Fault::StoredAndConflict(0),
            Fault::StoredAndConflict(12),
            Fault::StoredAndLost,
            Fault::LateAndConflict(3),
            Fault::Conflict,
        ] {
            let setting = Setting::default();
            setting.store.fault(fault);
            let answer = setting.post("/accounts", headers, "").await;
            assert_eq!(answer.status, 201, "{fault:?}");
            let id = body(&answer)["accountId"].clone();
            assert_eq!(body(&answer)["sequence"], 1);
            let location = format!("/accounts/{}", id.as_str().expect("a string"));
            assert_eq!(header(&answer, "location"), Some(location.as_str()));
            let ids = [id.as_str().expect("a string").to_owned()].into();
            assert_eq!(setting.store.ids(), ids, "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_whose_answer_was_lost_is_looked_up() {
    for headers in [&[][..], &[KEY], &[AT_TWO], &[KEY, AT_TWO]] {
        for fault in [Fault::StoredAndLost, Fault::Late(1)] {
            let setting = Setting::with_account().await;
            setting.store.fault(fault);
            let answer = setting.post(CREDIT, headers, FIVE).await;
            assert_eq!(answer.status, 200, "{fault:?}");
            assert_eq!(body(&answer)["sequence"], 3);
            assert_eq!(header(&answer, "idempotent-replayed"), None);
            assert_eq!(setting.store.events_of("a").len(), 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_domain_whose_answer_was_lost_is_looked_up() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::StoredAndLost);
    let withdraw = "/accounts/a/withdraw";
    let answer = setting.post(withdraw, &[KEY], r#"{"amount":500}"#).await;
    assert_eq!(code(&answer), "insufficient-funds");
    setting.store.fault(Fault::Down);
    let other = [("idempotency-key", "other")];
    let answer = setting.post(withdraw, &other, r#"{"amount":500}"#).await;
    assert_eq!(code(&answer), "unavailable");
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_stored_later_is_never_decided_again() {
    // After how many calls of the command it is stored: before, between and after its reads.
    for calls in 1..12 {
        for fault in [Fault::Late(calls), Fault::LateAndConflict(calls)] {
            for headers in [&[][..], &[KEY], &[AT_TWO], &[KEY, AT_TWO]] {
                let setting = Setting::with_account().await;
                setting.store.fault(fault);
                let answer = setting.post(CREDIT, headers, FIVE).await;
                // What is late is stored by now.
                for _ in 0..12 {
                    setting.post("/accounts/b/credit", &[], FIVE).await;
                }
                let events = setting.store.events_of("a").len();
                assert_eq!(events, 3, "{fault:?} {headers:?} {answer:?}");
                assert!([200, 503].contains(&answer.status), "{answer:?}");
                if answer.status == 200 {
                    assert_eq!(body(&answer)["balance"], 105);
                    assert_eq!(body(&answer)["sequence"], 3);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_another_command_took_settles_a_lost_answer() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Down);
    let lost = setting.post(CREDIT, &[], FIVE);
    let other = setting.post(CREDIT, &[], r#"{"amount":1}"#);
    let (lost, other) = tokio::join!(lost, other);
    assert_eq!(other.status, 200);
    assert_eq!(lost.status, 200, "{lost:?}");
    assert_eq!(setting.store.events_of("a").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_in_progress_is_called_again_with_its_token() {
    for (path, request, headers, status) in
        [("/accounts", "", &[][..], 201), (CREDIT, FIVE, &[KEY], 200)]
    {
        let setting = Setting::with_account().await;
        let before = setting.store.tokens().len();
        setting.store.fault(Fault::InProgress(4));
        let answer = setting.post(path, headers, request).await;
        assert_eq!(answer.status, status);
        let tokens = setting.store.tokens().split_off(before);
        assert_eq!(tokens, vec![tokens[0].clone(); 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_stays_in_progress_is_an_unknown_outcome() {
    for headers in [&[][..], &[KEY]] {
        let setting = Setting::default();
        setting.store.fault(Fault::InProgress(u32::MAX));
        let started = Instant::now();
        let answer = setting.post("/accounts", headers, "").await;
        assert!(waits_for_a_transaction(started.elapsed()));
        assert_eq!(setting.store.tokens().len(), 9);
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (503, "unavailable")
        );
        assert_eq!(appended_tokens(&setting), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_end_are_an_unknown_outcome() {
    for headers in [&[][..], &[KEY]] {
        let setting = Setting::with_account().await;
        for _ in 0..MAX_ATTEMPTS {
            setting.store.fault(Fault::Conflict);
        }
        let started = Instant::now();
        let answer = setting.post(CREDIT, headers, FIVE).await;
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (503, "unavailable")
        );
        // Half of 10, 20, 40 and 80 ms between the attempts.
        let waited = started.elapsed().as_millis();
        assert!((75..=80).contains(&waited), "{waited} ms");
        assert_eq!(setting.store.events_of("a").len(), 2);
    }
    // The last conflict followed a stored append.
    let setting = Setting::with_account().await;
    for _ in 1..MAX_ATTEMPTS {
        setting.store.fault(Fault::Conflict);
    }
    setting.store.fault(Fault::StoredAndConflict(0));
    let answer = setting.post(CREDIT, &[], FIVE).await;
    assert_eq!(answer.status, 200);
    assert_eq!(setting.store.events_of("a").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_not_visible_yet_is_read_again() {
    // Version 3 is row 3, version 4 row 4; the older is hidden while the newer is visible.
    for (reads, status) in [(1, 200), (6, 200), (u32::MAX, 500)] {
        let setting = Setting::with_account().await;
        setting.post(CREDIT, &[], FIVE).await;
        setting.store.hide(Hidden::Row(3, reads));
        let started = Instant::now();
        let answer = setting.post(CREDIT, &[], FIVE).await;
        assert_eq!(answer.status, status, "{reads}");
        assert!(status == 200 || waits_for_a_transaction(started.elapsed()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_row_that_is_not_visible_yet_is_not_taken_for_absent() {
    // The ninth event is appended together with a snapshot, and the snapshot is visible first.
    for (reads, status) in [(1, 200), (5, 200), (u32::MAX, 503)] {
        let setting = Setting::with_account().await;
        for _ in 0..7 {
            setting.post(CREDIT, &[], FIVE).await;
        }
        setting.store.hide(Hidden::Row(11, reads));
        setting.store.fault(Fault::StoredAndLost);
        let answer = setting.post(CREDIT, &[], FIVE).await;
        assert_eq!(answer.status, status, "{reads}");
        assert_eq!(setting.store.events_of("a").len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_row_that_stays_invisible_before_anothers_is_an_unknown_outcome() {
    for headers in [&[][..], &[KEY]] {
        let setting = Setting::with_account().await;
        // The own event is row 4, and another command's is row 5.
        setting.store.fault(Fault::StoredAndConflict(1));
        setting.store.hide(Hidden::Row(4, u32::MAX));
        let answer = setting.post(CREDIT, headers, FIVE).await;
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (503, "unavailable")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_returns_is_an_unknown_outcome_before_the_time_is_over() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::Hangs);
    let started = Instant::now();
    let answer = setting.post(CREDIT, &[], FIVE).await;
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (503, "unavailable")
    );
    assert!(header(&answer, "x-correlation-id").is_some());
    assert!(started.elapsed() <= Duration::from_secs(10));
    assert_eq!(setting.store.tokens().len(), 3);
}
