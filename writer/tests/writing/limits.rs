//! Appends around DynamoDB's limits: which are stored, and which are refused before they are sent.

use millrace_core::{Attribute, Attributes, Timestamp, Version};
use millrace_runtime::http::{Caller, Response};
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_writer::ports::{Append, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_ITEMS, TooLarge};
use millrace_writer::testing::Fault;
use proptest::prelude::*;

use crate::fixtures::{Setting, body, code, request};

const CREDIT: &str = "/accounts/a/credit";
const KEYS: [&[(&str, &str)]; 2] = [&[], &[("idempotency-key", "k")]];

/// A credit whose caller has a name of so many bytes, which its event's row contains.
async fn credit(setting: &Setting, headers: &[(&str, &str)], caller: usize) -> Response {
    let mut request = request("POST", CREDIT, headers, r#"{"amount":1}"#);
    let id = ("x-correlation-id".to_owned(), "c".to_owned());
    request.headers.extend([id]);
    request.caller = Caller::new("x".repeat(caller));
    setting.answer(&request).await
}

/// The longest name with which a credit's row fits.
async fn longest_caller() -> usize {
    let setting = Setting::with_account().await;
    assert_eq!(credit(&setting, &[], 1).await.status, 200);
    let row = setting.store.events_of("a").pop().expect("appended");
    1 + MAX_ITEM_BYTES - item_size(&row)
}

#[tokio::test(start_paused = true)]
async fn an_item_at_the_limit_is_appended_and_a_byte_more_is_refused() {
    let longest = longest_caller().await;
    for headers in KEYS {
        let setting = Setting::with_account().await;
        let before = setting.store.rows_of("a");
        let appends = setting.store.tokens().len();
        let refused = credit(&setting, headers, longest + 1).await;
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (413, "too-large-to-store")
        );
        assert_eq!(body(&refused)["title"], "Too large to store");
        assert_eq!(
            body(&refused)["detail"],
            "the command leads to an item of 409601 bytes, and the limit is 409600"
        );
        assert_eq!(setting.store.rows_of("a"), before);
        assert!(setting.store.record_count() == 0);
        assert_eq!(setting.store.tokens().len(), appends);

        // The key is free.
        assert_eq!(credit(&setting, headers, longest).await.status, 200);
        let row = setting.store.events_of("a").pop().expect("appended");
        assert_eq!(item_size(&row), MAX_ITEM_BYTES);
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_dynamodb_refuses_as_too_large_is_a_definite_refusal() {
    for headers in KEYS {
        let setting = Setting::with_account().await;
        let before = setting.store.rows_of("a");
        setting.store.fault(Fault::TooLarge);
        let refused = credit(&setting, headers, 1).await;
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (413, "too-large-to-store")
        );
        assert_eq!(
            body(&refused)["detail"],
            "the command leads to more than DynamoDB takes: 409600 bytes for an item, and 4194304 \
             for all items together"
        );
        assert_eq!(setting.store.rows_of("a"), before);
        assert_eq!(credit(&setting, headers, 1).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn while_an_append_is_unresolved_another_that_is_too_large_settles_nothing() {
    let setting = Setting::with_account().await;
    setting.store.fault(Fault::LateAndConflict(9));
    setting.store.fault(Fault::TooLarge);
    assert_eq!(credit(&setting, &[], 1).await.status, 503);
}

/// A row of so many bytes.
fn row(bytes: usize) -> (Version, Attributes) {
    let value = Attribute::text("x".repeat(bytes - 1));
    (Version::FIRST, [("A".to_owned(), value)].into())
}

fn append(rows: &[usize], record: Option<usize>) -> Append {
    Append {
        token: "token".to_owned(),
        rows: rows.iter().map(|bytes| row(*bytes)).collect(),
        record: record.map(|bytes| row(bytes).1),
        now: Timestamp::from_unix_millis(0).expect("valid"),
    }
}

#[test]
fn a_record_counts_as_the_rows_do() {
    let bytes = MAX_ITEM_BYTES + 1;
    let too_large = Err(TooLarge::Item { bytes });
    assert_eq!(append(&[1], Some(MAX_ITEM_BYTES)).check_size(), Ok(()));
    assert_eq!(append(&[1], Some(bytes)).check_size(), too_large);
    assert_eq!(append(&[bytes], None).check_size(), too_large);
}

#[test]
fn a_transaction_at_its_limits_is_sent_and_one_more_is_refused() {
    let full = [MAX_ITEM_BYTES; 10];
    let rest = MAX_TRANSACTION_BYTES - 10 * MAX_ITEM_BYTES;
    assert_eq!(append(&full, Some(rest)).check_size(), Ok(()));
    let bytes = MAX_TRANSACTION_BYTES + 1;
    let too_large = Err(TooLarge::Transaction { bytes });
    assert_eq!(append(&full, Some(rest + 1)).check_size(), too_large);

    let items = MAX_TRANSACTION_ITEMS;
    assert_eq!(append(&vec![9; items - 1], Some(9)).check_size(), Ok(()));
    assert_eq!(append(&vec![9; items], None).check_size(), Ok(()));
    let items = items + 1;
    let too_many = Err(TooLarge::TransactionItems { items });
    assert_eq!(append(&vec![9; items - 1], Some(9)).check_size(), too_many);
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        1..2_000_usize,
        MAX_ITEM_BYTES - 2..=MAX_ITEM_BYTES,
        MAX_ITEM_BYTES / 2..=MAX_ITEM_BYTES / 2 + 2,
        MAX_ITEM_BYTES..=MAX_ITEM_BYTES + 1,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An append is sent if, and only if, DynamoDB's page allows it.
    #[test]
    fn what_is_sent_is_within_every_limit(
        rows in prop::collection::vec(size(), 0..14),
        record in prop::option::of(size()),
    ) {
        let all = || rows.iter().chain(&record);
        let is_within = all().all(|bytes| *bytes <= 409_600) && all().sum::<usize>() <= 4_194_304;
        prop_assert_eq!(append(&rows, record).check_size().is_ok(), is_within);
    }
}
