//! The adapter with a mocked client: its requests, and how it reads each response.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ErrorMetadata;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_get_items::{
    TransactGetItemsError, TransactGetItemsOutput,
};
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
    TransactionCanceledException, TransactionConflictException, TransactionInProgressException,
};
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, ItemResponse};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_core::{AggregateId, Attribute, Attributes, Timestamp, Version, settings};
use millrace_domain::Accounts;
use millrace_writer::adapters::dynamodb::Tables;
use millrace_writer::ports::{Append, Appended, CommittedRecord, EventStore};

type Item = HashMap<String, AttributeValue>;

fn tables(client: Client) -> Tables {
    Tables::new(client, "events".to_owned(), "keys".to_owned())
}

fn row(version: u64) -> (Version, Attributes) {
    let row = [
        ("Id", Attribute::text("a")),
        ("Version", Attribute::number(version)),
        ("CommandId", Attribute::text("mine")),
    ];
    let row = row.map(|(name, value)| (name.to_owned(), value)).into();
    (Version::new(version).expect("valid"), row)
}

fn item(version: u64) -> Item {
    [
        ("Version".to_owned(), AttributeValue::N(version.to_string())),
        (
            "CommandId".to_owned(),
            AttributeValue::S("theirs".to_owned()),
        ),
    ]
    .into()
}

fn append(rows: u64, record: bool) -> Append {
    Append {
        token: "token".to_owned(),
        rows: (1..=rows).map(row).collect(),
        record: record.then(|| [("Key".to_owned(), Attribute::text("k"))].into()),
        now: Timestamp::from_unix_millis(5_999).expect("valid"),
    }
}

#[tokio::test]
async fn one_row_is_put_where_no_row_is() {
    let put = mock!(Client::put_item)
        .match_requests(|request| {
            request.table_name() == Some("events")
                && request.condition_expression() == Some("attribute_not_exists(#version)")
                && request.expression_attribute_names().expect("names")["#version"] == "Version"
        })
        .then_output(|| PutItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&put]);
    let stored = tables(client).append(append(1, false)).await;
    assert_eq!(stored.expect("answered"), Appended::Stored);
}

#[tokio::test]
async fn what_a_put_that_fails_means() {
    let taken = PutItemError::ConditionalCheckFailedException(
        ConditionalCheckFailedException::builder()
            .set_item(Some(item(1)))
            .build(),
    );
    let untold = PutItemError::ConditionalCheckFailedException(
        ConditionalCheckFailedException::builder().build(),
    );
    let busy =
        PutItemError::TransactionConflictException(TransactionConflictException::builder().build());
    let by = |by: Option<&str>| Appended::VersionConflict {
        by: by.map(str::to_owned),
    };
    for (error, meaning) in [
        (taken, by(Some("theirs"))),
        (untold, by(None)),
        (busy, Appended::TransactionConflict),
    ] {
        let error = std::sync::Mutex::new(Some(error));
        let put = mock!(Client::put_item)
            .then_error(move || error.lock().expect("unpoisoned").take().expect("once"));
        let client = mock_client!(aws_sdk_dynamodb, [&put]);
        let appended = tables(client).append(append(1, false)).await;
        assert_eq!(appended.expect("answered"), meaning);
    }
    let throttled = mock!(Client::put_item).then_error(|| {
        PutItemError::ProvisionedThroughputExceededException(
            ProvisionedThroughputExceededException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&throttled]);
    assert!(tables(client).append(append(1, false)).await.is_err());
}

#[tokio::test]
async fn rows_and_record_are_one_transaction_with_their_conditions() {
    let transact = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let puts: Vec<_> = request
                .transact_items()
                .iter()
                .map(|item| item.put().expect("a put"))
                .collect();
            let conditions: Vec<_> = puts
                .iter()
                .map(|put| (put.table_name(), put.condition_expression().expect("one")))
                .collect();
            let now = puts[2].expression_attribute_values().expect("values")[":now"].as_n();
            request.client_request_token() == Some("token")
                && now == Ok(&"5".to_owned())
                && conditions
                    == [
                        ("events", "attribute_not_exists(#version)"),
                        ("events", "attribute_not_exists(#version)"),
                        ("keys", "attribute_not_exists(#key) OR #expires_at <= :now"),
                    ]
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&transact]);
    let stored = tables(client).append(append(2, true)).await;
    assert_eq!(stored.expect("answered"), Appended::Stored);
}

fn cancelled(codes: [&'static str; 3]) -> TransactWriteItemsError {
    let reasons = codes.map(|code| {
        let item = (code == "ConditionalCheckFailed").then(|| item(1));
        CancellationReason::builder()
            .code(code)
            .set_item(item)
            .build()
    });
    TransactWriteItemsError::TransactionCanceledException(
        TransactionCanceledException::builder()
            .set_cancellation_reasons(Some(reasons.into()))
            .build(),
    )
}

#[tokio::test]
async fn what_a_cancelled_transaction_means() {
    const FAILED: &str = "ConditionalCheckFailed";
    let taken = Appended::VersionConflict {
        by: Some("theirs".to_owned()),
    };
    for (codes, meaning) in [
        ([FAILED, "None", "None"], Some(taken.clone())),
        (["None", FAILED, "None"], Some(taken)),
        (["None", "None", FAILED], Some(Appended::KeyTaken)),
        ([FAILED, "None", FAILED], Some(Appended::KeyTaken)),
        (
            ["TransactionConflict", "None", "None"],
            Some(Appended::TransactionConflict),
        ),
        (
            ["None", "None", "TransactionConflict"],
            Some(Appended::TransactionConflict),
        ),
        (["ThrottlingError", "None", "None"], None),
        (["None", "None", "None"], None),
    ] {
        let transact = mock!(Client::transact_write_items).then_error(move || cancelled(codes));
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&transact]);
        let appended = tables(client).append(append(2, true)).await;
        assert_eq!(appended.ok(), meaning, "{codes:?}");
    }
}

#[tokio::test]
async fn only_a_validation_error_about_a_size_means_too_large() {
    const ITEM: &str = "Item size has exceeded the maximum allowed size";
    const UPDATE: &str = "Item size to update has exceeded the maximum allowed size.";
    const KEY: &str = "The provided key element does not match the schema";
    for (code, message, is_too_large) in [
        ("ValidationException", Some(ITEM), true),
        ("ValidationException", Some(KEY), false),
        ("ValidationException", None, false),
        ("ThrottlingException", Some(ITEM), false),
    ] {
        let metadata = move || {
            let metadata = ErrorMetadata::builder().code(code);
            match message {
                Some(message) => metadata.message(message).build(),
                None => metadata.build(),
            }
        };
        let put = mock!(Client::put_item).then_error(move || PutItemError::generic(metadata()));
        let transact = mock!(Client::transact_write_items)
            .then_error(move || TransactWriteItemsError::generic(metadata()));
        for (rows, rule) in [(1, &put), (2, &transact)] {
            let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [rule]);
            let appended = tables(client).append(append(rows, false)).await.ok();
            let expected = is_too_large.then_some(Appended::TooLarge);
            assert_eq!(appended, expected, "{code} {message:?}");
        }
    }
    for (code, message, is_too_large) in [
        ("ValidationError", UPDATE, true),
        ("ValidationError", KEY, false),
        ("ThrottlingError", UPDATE, false),
    ] {
        let transact = mock!(Client::transact_write_items).then_error(move || {
            let reason = |code| CancellationReason::builder().code(code);
            let refused = reason(code).message(message).build();
            TransactWriteItemsError::TransactionCanceledException(
                TransactionCanceledException::builder()
                    .cancellation_reasons(reason("None").build())
                    .cancellation_reasons(refused)
                    .build(),
            )
        });
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&transact]);
        let appended = tables(client).append(append(2, false)).await.ok();
        let expected = is_too_large.then_some(Appended::TooLarge);
        assert_eq!(appended, expected, "{code} {message}");
    }
}

#[tokio::test]
async fn a_transaction_that_is_under_way_is_in_progress() {
    let transact = mock!(Client::transact_write_items).then_error(|| {
        TransactWriteItemsError::TransactionInProgressException(
            TransactionInProgressException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&transact]);
    let appended = tables(client).append(append(2, false)).await;
    assert_eq!(appended.expect("answered"), Appended::TransactionInProgress);
}

#[tokio::test]
async fn the_newest_rows_are_read_consistently_and_over_pages() {
    let is_first = |start: Option<&Item>| start.is_none();
    let page = move |first: bool| {
        mock!(Client::query)
            .match_requests(move |request| {
                is_first(request.exclusive_start_key()) == first
                    && request.consistent_read() == Some(true)
                    && request.scan_index_forward() == Some(false)
                    && request.limit() == Some(10)
            })
            .then_output(move || {
                let rows = if first { 4..=6 } else { 1..=3 };
                QueryOutput::builder()
                    .set_items(Some(rows.rev().map(item).collect()))
                    .set_last_evaluated_key(first.then(|| item(4)))
                    .build()
            })
    };
    let (first, second) = (page(true), page(false));
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&first, &second]);
    let id = AggregateId::new("a").expect("valid");
    let rows = tables(client).newest(&id).await.expect("read");
    let versions: Vec<_> = rows
        .iter()
        .map(|row| row["Version"].as_integer().expect("a number"))
        .collect();
    assert_eq!(versions, [6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_record_is_read_consistently() {
    let get = mock!(Client::get_item)
        .match_requests(|request| {
            request.table_name() == Some("keys")
                && request.consistent_read() == Some(true)
                && request.key().expect("a key")["Key"] == AttributeValue::S("k".to_owned())
        })
        .then_output(|| GetItemOutput::builder().set_item(Some(item(7))).build());
    let client = mock_client!(aws_sdk_dynamodb, [&get]);
    let record = tables(client).record("k").await.expect("read");
    assert_eq!(record.expect("there")["Version"], Attribute::number(7));
}

#[tokio::test]
async fn a_row_is_read_consistently_by_its_version() {
    let get = mock!(Client::get_item)
        .match_requests(|request| {
            let key = request.key().expect("a key");
            request.table_name() == Some("events")
                && request.consistent_read() == Some(true)
                && key["Id"] == AttributeValue::S("a".to_owned())
                && key["Version"] == AttributeValue::N("7".to_owned())
        })
        .then_output(|| GetItemOutput::builder().set_item(Some(item(7))).build());
    let client = mock_client!(aws_sdk_dynamodb, [&get]);
    let id = AggregateId::new("a").expect("valid");
    let version = Version::new(7).expect("valid");
    let row = tables(client).row(&id, version).await.expect("read");
    assert_eq!(row.expect("there")["Version"], Attribute::number(7));
}

#[tokio::test]
async fn a_committed_record_is_read_in_a_transaction() {
    for found in [None, Some(item(7))] {
        let answer = found.clone();
        let get = mock!(Client::transact_get_items)
            .match_requests(|request| {
                let [item] = request.transact_items() else {
                    return false;
                };
                let get = item.get().expect("a get");
                get.table_name() == "keys"
                    && get.key() == &[("Key".to_owned(), AttributeValue::S("k".to_owned()))].into()
            })
            .then_output(move || {
                let response = ItemResponse::builder().set_item(answer.clone()).build();
                TransactGetItemsOutput::builder()
                    .responses(response)
                    .build()
            });
        let client = mock_client!(aws_sdk_dynamodb, [&get]);
        let record = tables(client).committed_record("k").await.expect("read");
        let expected = found.map(millrace_runtime::dynamodb::from_item);
        assert_eq!(record, CommittedRecord::Read(expected));
    }
}

#[tokio::test]
async fn a_record_that_a_transaction_is_writing_is_a_conflict() {
    for (code, is_conflict) in [("TransactionConflict", true), ("ThrottlingError", false)] {
        let get = mock!(Client::transact_get_items).then_error(move || {
            let reason = CancellationReason::builder().code(code).build();
            TransactGetItemsError::TransactionCanceledException(
                TransactionCanceledException::builder()
                    .cancellation_reasons(reason)
                    .build(),
            )
        });
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&get]);
        let record = tables(client).committed_record("k").await;
        let conflict = Some(CommittedRecord::TransactionConflict);
        assert_eq!(record.ok(), conflict.filter(|_| is_conflict), "{code}");
    }
}

#[tokio::test]
async fn settings_are_stored_once_and_compared_from_then_on() {
    let accounts =
        |code: &str| Accounts::read(|_| Some(code.to_owned())).expect("a listed currency");
    let stored =
        |code: &str| millrace_runtime::dynamodb::to_item(settings::to_row(&accounts(code)));
    // What the read finds, what a racing writer has put, and the currency that starts.
    for (found, raced, starts) in [
        (None, None, "SEK"),
        (Some("EUR"), None, "EUR"),
        (None, Some("EUR"), "EUR"),
    ] {
        for configured in ["EUR", "SEK"] {
            let item = found.map(stored);
            let get = mock!(Client::get_item)
                .match_requests(|request| {
                    let key = request.key().expect("a key");
                    request.table_name() == Some("events")
                        && request.consistent_read() == Some(true)
                        && key["Id"] == AttributeValue::S("\u{1}millrace".to_owned())
                        && key["Version"] == AttributeValue::N("0".to_owned())
                })
                .then_output(move || GetItemOutput::builder().set_item(item.clone()).build());
            let is_put = move |request: &PutItemInput| {
                let item = request.item().expect("an item");
                request.table_name() == Some("events")
                    && request.condition_expression() == Some("attribute_not_exists(#version)")
                    && item["DefaultCurrency"] == AttributeValue::S(configured.to_owned())
            };
            let put = mock!(Client::put_item).match_requests(is_put);
            let put = match raced.map(stored) {
                None => put.then_output(|| PutItemOutput::builder().build()),
                Some(item) => put.then_error(move || {
                    PutItemError::ConditionalCheckFailedException(
                        ConditionalCheckFailedException::builder()
                            .set_item(Some(item.clone()))
                            .build(),
                    )
                }),
            };
            let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&get, &put]);
            let kept = tables(client).keep_settings(&accounts(configured)).await;
            let is_first = found.is_none() && raced.is_none();
            assert_eq!(
                kept.is_ok(),
                is_first || configured == starts,
                "{found:?} {raced:?} {configured}: {kept:?}"
            );
            assert_eq!(put.num_calls(), usize::from(found.is_none()));
        }
    }
}
