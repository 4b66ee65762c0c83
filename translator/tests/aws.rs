//! The requests that the adapters send to AWS, and how they read the responses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
};
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum, BatchStatementResponse,
    KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
};
use aws_sdk_kinesis::error::ErrorMetadata;
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_core::{Attribute, Attributes, DecodeError, Sequence, Timestamp, Version};
use millrace_runtime::Chain;
use millrace_translator::adapters::dynamodb::{CursorTable, EventsTable, read_cursor};
use millrace_translator::adapters::kinesis::DomainStream;
use millrace_translator::cursor::{Block, Cursor, Parked, Suspension};
use millrace_translator::ports::{
    Advance, CursorStore, EventRows, Publisher, PutError, Record, Saved,
};
use proptest::prelude::*;

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: &str) -> AttributeValue {
    AttributeValue::N(number.to_owned())
}

fn item(attributes: &[(&str, AttributeValue)]) -> HashMap<String, AttributeValue> {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// The adapter's error for a call that fails with this error code of Kinesis.
async fn put_error(code: &'static str) -> PutError {
    let rule = mock!(aws_sdk_kinesis::Client::put_records)
        .then_error(move || PutRecordsError::generic(ErrorMetadata::builder().code(code).build()));
    let client = mock_client!(aws_sdk_kinesis, [&rule]);
    let stream = DomainStream::new(client, "events".into());
    stream.put(&records(1)).await.expect_err("failed")
}

#[tokio::test(start_paused = true)]
async fn only_an_error_of_what_the_call_contains_is_a_refusal() {
    for code in ["InvalidArgumentException", "ValidationException"] {
        let error = put_error(code).await;
        assert!(
            matches!(&error, PutError::Refused { code: found } if found == code),
            "{error:?}"
        );
    }
    for code in [
        "ResourceNotFoundException",
        "AccessDeniedException",
        "KMSDisabledException",
        "KMSThrottlingException",
        "InternalFailure",
        "ProvisionedThroughputExceededException",
    ] {
        let error = put_error(code).await;
        assert!(matches!(error, PutError::Service(_)), "{code}");
    }
}

fn records(count: usize) -> Vec<Record> {
    (0..count)
        .map(|n| Record {
            partition_key: format!("a{n}"),
            data: format!("{n}").into_bytes(),
            trace_id: None,
        })
        .collect()
}

fn stored(number: &str) -> PutRecordsResultEntry {
    PutRecordsResultEntry::builder()
        .sequence_number(number)
        .shard_id("shard")
        .build()
}

fn throttled() -> PutRecordsResultEntry {
    PutRecordsResultEntry::builder()
        .error_code("ProvisionedThroughputExceededException")
        .error_message("slow down")
        .build()
}

async fn put(entries: Vec<PutRecordsResultEntry>) -> Vec<bool> {
    let count = entries.len();
    let rule = mock!(aws_sdk_kinesis::Client::put_records)
        .match_requests(move |request| {
            request.stream_name() == Some("events")
                && request.records().iter().enumerate().all(|(index, record)| {
                    record.partition_key() == Some(&*format!("a{index}"))
                        && record.data().as_ref() == format!("{index}").as_bytes()
                        && record.explicit_hash_key().is_none()
                })
        })
        .then_output(move || {
            PutRecordsOutput::builder()
                .set_records(Some(entries.clone()))
                .build()
                .expect("valid")
        });
    let client = mock_client!(aws_sdk_kinesis, [&rule]);
    let stream = DomainStream::new(client, "events".into());
    let answer = stream.put(&records(count)).await.expect("answered");
    answer.iter().map(Result::is_ok).collect()
}

#[tokio::test]
async fn a_put_answered_with_200_is_read_entry_by_entry() {
    assert_eq!(put(vec![stored("1"), stored("2")]).await, [true, true]);
    assert_eq!(
        put(vec![stored("1"), throttled(), stored("2")]).await,
        [true, false, true]
    );
    assert_eq!(put(vec![throttled(), throttled()]).await, [false, false]);
    let silent = PutRecordsResultEntry::builder().build();
    assert_eq!(put(vec![silent]).await, [false]);
}

#[tokio::test]
async fn a_put_that_fails_as_a_whole_is_an_error_that_keeps_its_cause() {
    let rule = mock!(aws_sdk_kinesis::Client::put_records).then_error(|| {
        PutRecordsError::ProvisionedThroughputExceededException(
            aws_sdk_kinesis::types::error::ProvisionedThroughputExceededException::builder()
                .message("slow down")
                .build(),
        )
    });
    let client = mock_client!(aws_sdk_kinesis, [&rule]);
    let error = DomainStream::new(client, "events".into())
        .put(&records(1))
        .await
        .expect_err("fails");
    let shown = millrace_runtime::Chain(&error).to_string();
    assert!(
        shown.starts_with("PutRecords on the domain stream failed"),
        "{shown}"
    );
    assert!(shown.contains("slow down"), "{shown}");
}

#[tokio::test]
async fn rows_are_read_consistently_in_order_and_page_by_page() {
    let rule = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            request.table_name() == Some("events")
                && request.consistent_read() == Some(true)
                && request.limit() == Some(500)
                && request.scan_index_forward() != Some(false)
                && request.key_condition_expression() == Some("#id = :id AND #version < :before")
                && values[":id"] == s("a")
                && values[":before"] == n("7")
                && request.exclusive_start_key()
                    == Some(&item(&[("Id", s("a")), ("Version", n("3"))]))
        })
        .then_output(|| {
            QueryOutput::builder()
                .items(item(&[("Id", s("a")), ("Version", n("3"))]))
                .last_evaluated_key("Id", s("a"))
                .build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let version = |v| Some(Version::new(v).expect("valid"));
    let page = EventsTable::new(client, "events".into())
        .page("a", version(3), version(7), 500)
        .await
        .expect("read");
    assert_eq!(page.rows.len(), 1);
    assert!(
        page.more,
        "after a page with a `LastEvaluatedKey` there may be more rows"
    );
}

#[tokio::test]
async fn a_page_without_bounds_is_of_all_rows() {
    let rule = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|request| {
            request.key_condition_expression() == Some("#id = :id")
                && request.exclusive_start_key().is_none()
                && request.consistent_read() == Some(true)
                && request.limit() == Some(32)
        })
        .then_output(|| QueryOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = EventsTable::new(client, "events".into());
    assert!(!table.page("a", None, None, 32).await.expect("read").more);
}

#[test]
fn a_table_tells_the_name_that_its_calls_use() {
    let rule =
        mock!(aws_sdk_dynamodb::Client::query).then_output(|| QueryOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let events = EventsTable::new(client.clone(), "events".into());
    let cursors = CursorTable::new(client, "cursors".into());
    assert_eq!((events.name(), cursors.name()), ("events", "cursors"));
}

#[tokio::test]
async fn one_row_is_read_consistently_by_its_version_as_stored() {
    let rule = mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(|request| {
            request.consistent_read() == Some(true)
                && request.key() == Some(&item(&[("Id", s("a")), ("Version", n("2.5"))]))
        })
        .then_output(|| GetItemOutput::builder().build());
    let there = mock!(aws_sdk_dynamodb::Client::get_item).then_output(|| {
        GetItemOutput::builder()
            .set_item(Some(item(&[("Id", s("a")), ("Version", n("3"))])))
            .build()
    });
    let client = mock_client!(aws_sdk_dynamodb, [&rule, &there]);
    let table = EventsTable::new(client, "events".into());
    assert_eq!(table.row("a", "2.5").await.expect("read"), None);
    let row = table.row("a", "3").await.expect("read").expect("there");
    assert_eq!(row["Version"], Attribute::Number("3".into()));
}

#[tokio::test(start_paused = true)]
async fn a_load_is_one_consistent_read_that_tells_what_it_left_unprocessed() {
    let left = || {
        let keys = KeysAndAttributes::builder()
            .keys(item(&[("Id", s("b"))]))
            .consistent_read(true)
            .build()
            .expect("keys");
        HashMap::from([("cursors".to_owned(), keys)])
    };
    let found = |id: &str| {
        let cursor = item(&[
            ("Id", s(id)),
            ("PublishedThrough", n("7")),
            ("Currency", s("EUR")),
        ]);
        HashMap::from([("cursors".to_owned(), vec![cursor])])
    };
    let first = mock!(aws_sdk_dynamodb::Client::batch_get_item)
        .match_requests(|request| {
            let wanted = &request.request_items().expect("wanted")["cursors"];
            wanted.consistent_read() == Some(true) && wanted.keys().len() == 3
        })
        .then_output(move || {
            BatchGetItemOutput::builder()
                .set_responses(Some(found("a")))
                .set_unprocessed_keys(Some(left()))
                .build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&first]);
    let loaded = CursorTable::new(client, "cursors".into())
        .load(&["a", "b", "c"])
        .await
        .expect("read");
    assert_eq!(loaded.unprocessed, ["b"]);
    assert_eq!(loaded.found.len(), 1);
    let cursor = loaded.found["a"].as_ref().expect("readable");
    assert_eq!(cursor.published_through.get(), 7);
    assert_eq!(cursor.context, Some(currency()));
}

/// The cursor that the adapter reads from `a`'s stored item.
async fn loaded(item: HashMap<String, AttributeValue>) -> Result<Cursor, DecodeError> {
    let rule = mock!(aws_sdk_dynamodb::Client::batch_get_item).then_output(move || {
        BatchGetItemOutput::builder()
            .responses("cursors", vec![item.clone()])
            .build()
    });
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let mut loaded = table.load(&["a"]).await.expect("answered");
    loaded.found.remove("a").expect("it is there")
}

#[tokio::test]
async fn a_damaged_cursor_is_an_error_that_names_the_attribute() {
    let sound = item(&[
        ("Sequence", n("3")),
        ("Reason", s("r")),
        ("Since", s("2026-01-01T00:00:00Z")),
    ]);
    let mut no_reason = sound.clone();
    no_reason.remove("Reason");
    let mut no_time = sound;
    no_time.insert("Since".into(), s("then"));
    for (name, value) in [
        ("PublishedThrough", s("7")),
        ("PublishedThrough", n("-1")),
        ("Blocked", s("yes")),
        ("Blocked", AttributeValue::M(no_reason)),
        ("Blocked", AttributeValue::M(no_time)),
    ] {
        let cursor = item(&[("Id", s("a")), (name, value)]);
        assert_eq!(loaded(cursor).await.expect_err(name).path(), name);
    }
}

#[tokio::test]
async fn a_cursor_is_read_back_with_its_context_and_block() {
    let row = HashMap::from([("Row".to_owned(), s("9"))]);
    for (more, expected) in [(HashMap::new(), None), (row, Some("9".to_owned()))] {
        let mut stored = item(&[
            ("Sequence", n("8")),
            ("Reason", s("Amount: is missing")),
            ("Since", s("2026-11-20T21:03:05Z")),
        ]);
        stored.extend(more);
        let item = item(&[
            ("Id", s("a")),
            ("PublishedThrough", n("7")),
            ("Currency", s("EUR")),
            ("Blocked", AttributeValue::M(stored)),
        ]);
        let block = Block {
            row: expected,
            ..block()
        };
        assert_eq!(loaded(item).await, Ok(cursor(Some(block))));
    }
}

/// Whether a cursor's item is named as the adapter has to name it.
fn is_keyed(table: Option<&str>, key: Option<&HashMap<String, AttributeValue>>) -> bool {
    table == Some("cursors") && key == Some(&item(&[("Id", s("a"))]))
}

fn currency() -> Attributes {
    [("Currency".to_owned(), Attribute::text("EUR"))].into()
}

fn cursor(blocked: Option<Block>) -> Cursor {
    Cursor {
        published_through: Sequence::new(7).expect("valid"),
        context: Some(currency()),
        suspended: blocked.map(Suspension::Blocked),
    }
}

fn block() -> Block {
    Block {
        sequence: Sequence::new(8).expect("valid"),
        row: Some("9".into()),
        reason: "Amount: is missing".into(),
        since: Timestamp::parse("2026-11-20T21:03:05Z").expect("valid"),
    }
}

#[tokio::test]
async fn a_cursor_is_written_only_where_the_stored_one_is_not_further() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            is_keyed(request.table_name(), request.key())
                && request.condition_expression()
                    == Some(
                        "(attribute_not_exists(PublishedThrough) OR PublishedThrough <= :through) \
                     AND attribute_not_exists(Blocked) AND attribute_not_exists(Parked)",
                    )
                && request.update_expression()
                    == Some(
                        "SET PublishedThrough = :through, #context0 = :context0 \
                         REMOVE Blocked, Parked, SuspendedIn, SuspendedSince",
                    )
                && values[":through"] == n("7")
                && values[":context0"] == s("EUR")
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    assert!(table.save("a", &cursor(None), &cursor(None)).await.is_ok());
}

#[tokio::test]
async fn a_column_that_the_context_no_longer_has_is_removed() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let names = request.expression_attribute_names().expect("names");
            request.update_expression()
                == Some(
                    "SET PublishedThrough = :through \
                     REMOVE #dropped0, Blocked, Parked, SuspendedIn, SuspendedSince",
                )
                && names["#dropped0"] == "Currency"
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let without = Cursor {
        context: Some(Attributes::new()),
        ..cursor(None)
    };
    assert!(table.save("a", &without, &cursor(None)).await.is_ok());
}

#[tokio::test]
async fn a_block_is_written_with_its_place_reason_and_time() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            let expected = item(&[
                ("Sequence", n("8")),
                ("Row", s("9")),
                ("Reason", s("Amount: is missing")),
                ("Since", s("2026-11-20T21:03:05.000Z")),
            ]);
            request.update_expression().is_some_and(|set| {
                set.ends_with(
                    ", Blocked = :marker0, SuspendedIn = :marker1, SuspendedSince = :marker2 \
                         REMOVE Parked",
                )
            }) && values[":marker0"] == AttributeValue::M(expected)
                && values[":marker1"] == s("blocked/4")
                && values[":marker2"] == s("2026-11-20T21:03:05.000Z")
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    assert!(
        table
            .save("a", &cursor(Some(block())), &cursor(None))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_cursor_that_is_ahead_is_blocked_only_where_it_was_found() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            request.condition_expression()
                == Some(
                    "PublishedThrough = :through AND attribute_not_exists(Blocked) \
                     AND attribute_not_exists(Parked)",
                )
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let ahead = Block {
        sequence: Sequence::NONE,
        ..block()
    };
    assert!(
        table
            .save("a", &cursor(Some(ahead)), &cursor(None))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_block_is_replaced_by_the_one_who_has_read_it() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            let condition = request.condition_expression().expect("a condition");
            condition.ends_with(" AND Blocked = :read")
                && values[":read"]
                    .as_m()
                    .is_ok_and(|read| read["Sequence"] == n("8"))
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let lifted = cursor(None);
    assert!(
        table
            .save("a", &lifted, &cursor(Some(block())))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_cursor_that_someone_else_moved_counts_only_where_it_tells_as_much() {
    for (stored, saved, is_told) in [
        (Some("8"), cursor(None), true),
        (Some("7"), cursor(None), true),
        (Some("6"), cursor(None), false),
        (None, cursor(None), false),
        (Some("8"), cursor(Some(block())), false),
        (Some("7"), cursor(Some(block())), false),
    ] {
        let rule = mock!(aws_sdk_dynamodb::Client::update_item)
            .match_requests(|request| {
                request.return_values_on_condition_check_failure()
                    == Some(&ReturnValuesOnConditionCheckFailure::AllOld)
            })
            .then_error(move || {
                let item = stored.map(|through| item(&[("PublishedThrough", n(through))]));
                UpdateItemError::ConditionalCheckFailedException(
                    ConditionalCheckFailedException::builder()
                        .set_item(item)
                        .build(),
                )
            });
        let client = mock_client!(aws_sdk_dynamodb, [&rule]);
        let table = CursorTable::new(client, "cursors".into());
        let result = table.save("a", &saved, &cursor(None)).await;
        let expected = if is_told {
            Saved::Stored
        } else {
            Saved::Changed
        };
        assert_eq!(result.ok(), Some(expected), "{stored:?}, {saved:?}");
    }
}

/// How a save changes the cursor's marker: the end of the update, the end of the condition, and the marker.
async fn saved_marker(
    saved: Option<Suspension>,
    read: Option<Suspension>,
) -> (String, String, Option<AttributeValue>) {
    let seen = Arc::new(Mutex::new(None));
    let to_see = Arc::clone(&seen);
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(move |request| {
            let update = request.update_expression().expect("an update");
            let condition = request.condition_expression().expect("a condition");
            let values = request.expression_attribute_values().expect("values");
            *to_see.lock().expect("unpoisoned") = Some((
                update
                    .trim_start_matches("SET PublishedThrough = :through")
                    .to_owned(),
                condition
                    .rsplit_once(") AND ")
                    .expect("two parts")
                    .1
                    .to_owned(),
                values.get(":marker0").cloned(),
            ));
            true
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let cursor = |suspended| Cursor {
        published_through: Sequence::new(7).expect("valid"),
        context: None,
        suspended,
    };
    let saving = table.save("a", &cursor(saved), &cursor(read)).await;
    assert_eq!(saving.expect("saved"), Saved::Stored);
    seen.lock()
        .expect("unpoisoned")
        .take()
        .expect("it was called")
}

fn parked(through: u64) -> Suspension {
    Suspension::Parked(Parked {
        through: Sequence::new(through).expect("valid"),
        since: Timestamp::parse("2026-11-20T21:03:05Z").expect("valid"),
    })
}

#[tokio::test]
async fn a_parked_marker_is_written_raised_kept_and_removed() {
    const SET: &str = ", Parked = :marker0, SuspendedIn = :marker1, SuspendedSince = :marker2 \
                       REMOVE Blocked";
    let marker = |through| {
        let since = s("2026-11-20T21:03:05.000Z");
        let attributes = item(&[("Through", n(through)), ("Since", since)]);
        Some(AttributeValue::M(attributes))
    };
    let (update, condition, value) = saved_marker(Some(parked(9)), None).await;
    assert_eq!((update.as_str(), value), (SET, marker("9")));
    assert_eq!(condition, "attribute_not_exists(Parked)");

    let (update, condition, value) = saved_marker(Some(parked(12)), Some(parked(9))).await;
    assert_eq!((update.as_str(), value), (SET, marker("12")));
    assert_eq!(condition, "Parked = :read");

    // The cursor advances below a marker that another invocation may have raised.
    let (update, condition, value) = saved_marker(Some(parked(9)), Some(parked(9))).await;
    assert_eq!((update.as_str(), value), ("", None));
    assert_eq!(condition, "attribute_exists(Parked)");

    let (update, condition, _) = saved_marker(None, Some(parked(9))).await;
    assert_eq!(
        update,
        " REMOVE Blocked, Parked, SuspendedIn, SuspendedSince"
    );
    assert_eq!(condition, "Parked = :read");
}

#[test]
fn a_parked_cursor_is_read_as_it_was_written_and_a_block_next_to_it_counts() {
    let since = s("2026-11-20T21:03:05.000Z");
    let marker = item(&[("Through", n("9")), ("Since", since.clone())]);
    let stored = item(&[
        ("Id", s("a")),
        ("PublishedThrough", n("7")),
        ("Parked", AttributeValue::M(marker)),
        ("SuspendedIn", s("parked/4")),
        ("SuspendedSince", since.clone()),
    ]);
    let cursor = read_cursor(stored.clone()).expect("readable");
    assert_eq!(cursor.suspended, Some(parked(9)));
    assert_eq!(cursor.context, Some(Attributes::new()));

    let mut damaged = stored.clone();
    damaged.insert(
        "Parked".into(),
        AttributeValue::M(item(&[("Since", since.clone())])),
    );
    let error = read_cursor(damaged).expect_err("unreadable");
    assert_eq!(error.path(), "Parked");

    let mut both = stored;
    let block = [("Sequence", n("8")), ("Reason", s("why")), ("Since", since)];
    both.insert("Blocked".into(), AttributeValue::M(item(&block)));
    assert!(read_cursor(both).expect("readable").blocked().is_some());
}

#[tokio::test]
async fn a_mark_touches_nothing_but_the_block() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item)
        .match_requests(|request| {
            let values = request.expression_attribute_values().expect("values");
            is_keyed(request.table_name(), request.key())
                && request.update_expression()
                    == Some(
                        "SET Blocked = :marker0, SuspendedIn = :marker1, \
                         SuspendedSince = :marker2 REMOVE Parked",
                    )
                && request.condition_expression().is_none()
                && values[":marker1"] == s("blocked/4")
                && values[":marker0"]
                    .as_m()
                    .is_ok_and(|block| block["Sequence"] == n("8"))
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    assert!(table.mark("a", &block()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_write_of_a_cursor_or_a_mark_is_an_error() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(|| {
        UpdateItemError::ProvisionedThroughputExceededException(
            ProvisionedThroughputExceededException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    assert!(table.save("a", &cursor(None), &cursor(None)).await.is_err());
    assert!(table.mark("a", &block()).await.is_err());
}

#[tokio::test]
async fn a_write_that_the_table_refuses_is_a_permanent_error_that_quotes_nothing() {
    let rule = mock!(aws_sdk_dynamodb::Client::update_item).then_error(|| {
        let details = ErrorMetadata::builder().code("ValidationException");
        UpdateItemError::generic(details.message("it quotes the item").build())
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let saving = table.save("a", &cursor(None), &cursor(None)).await;
    let error = saving.expect_err("it is refused");
    assert!(error.is_permanent());
    let text = Chain(&error).to_string();
    assert_eq!(
        text,
        "UpdateItem on the cursor table failed: ValidationException"
    );
}

fn any_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        3 => "-?[0-9]{1,20}(\\.[0-9])?".prop_map(AttributeValue::N),
        2 => "(EUR|2026-11-20T21:03:05Z|\\PC{0,9})".prop_map(AttributeValue::S),
        1 => Just(AttributeValue::Bool(true)),
        1 => Just(AttributeValue::L(Vec::new())),
    ]
}

fn any_cursor() -> impl Strategy<Value = HashMap<String, AttributeValue>> {
    let block = prop::collection::hash_map("(Sequence|Row|Reason|Since)", any_value(), 0..5);
    let value = prop_oneof![3 => any_value(), 1 => block.prop_map(AttributeValue::M)];
    prop::collection::hash_map("(PublishedThrough|Currency|Blocked|\\PC{0,4})", value, 0..5)
}

proptest! {
    #[test]
    fn no_cursor_panics_and_each_is_read_or_reported_as_damaged(mut stored in any_cursor()) {
        stored.insert("Id".to_owned(), s("a"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        // The cursor is read or is an error, and is never treated as missing.
        drop(runtime.block_on(loaded(stored)));
    }
}

/// The statements of a call, each with its parameters.
type Statements = Vec<(String, Vec<AttributeValue>)>;

/// Advances two cursors, one of them new. Returns the statements, and what the table says of a response.
async fn advanced(
    response: impl Fn() -> BatchExecuteStatementOutput + Send + Sync + 'static,
) -> (Statements, Vec<bool>) {
    let statements = Arc::new(Mutex::new(Statements::new()));
    let sent = Arc::clone(&statements);
    let rule = mock!(aws_sdk_dynamodb::Client::batch_execute_statement)
        .match_requests(move |request| {
            let statements = request.statements().iter();
            let statements =
                statements.map(|it| (it.statement().to_owned(), it.parameters().to_vec()));
            sent.lock().expect("no panic").extend(statements);
            true
        })
        .then_output(response);
    let client = mock_client!(aws_sdk_dynamodb, [&rule]);
    let table = CursorTable::new(client, "cursors".into());
    let (cursor, none) = (cursor(None), Cursor::default());
    let advance = |aggregate, read| Advance {
        aggregate,
        cursor: &cursor,
        read,
    };
    let read = Cursor {
        published_through: Sequence::new(5).expect("valid"),
        ..cursor.clone()
    };
    let stored = table
        .advance(&[advance("a", &none), advance("b", &read)])
        .await;
    let statements = std::mem::take(&mut *statements.lock().expect("no panic"));
    (statements, stored.expect("answered"))
}

/// The response of a statement that failed with this code.
fn failed(code: BatchStatementErrorCodeEnum) -> BatchStatementResponse {
    let error = BatchStatementError::builder().code(code).build();
    BatchStatementResponse::builder().error(error).build()
}

#[tokio::test]
async fn cursors_that_only_advance_are_stored_by_one_call_each_on_its_own_condition() {
    let sound = || BatchStatementResponse::builder().build();
    let (statements, stored) = advanced(move || {
        let responses = vec![sound(), sound()];
        BatchExecuteStatementOutput::builder()
            .set_responses(Some(responses))
            .build()
    })
    .await;
    assert_eq!(stored, [true, true]);
    let insert = r#"INSERT INTO "cursors" VALUE {'Id': ?, 'PublishedThrough': ?, 'Currency': ?}"#;
    let update = concat!(
        r#"UPDATE "cursors" SET "PublishedThrough" = ? SET "Currency" = ? "#,
        r#"WHERE "Id" = ? AND "PublishedThrough" <= ? AND "Blocked" IS MISSING AND "Parked" IS MISSING"#
    );
    assert_eq!(
        statements,
        [
            (insert.to_owned(), vec![s("a"), n("7"), s("EUR")]),
            (update.to_owned(), vec![n("7"), s("EUR"), s("b"), n("7")]),
        ]
    );
}

/// Its statement would fail, or with it the whole call.
#[tokio::test]
async fn a_cursor_that_no_statement_can_save_is_not_sent_and_not_stored() {
    for name in ["it's", "a\"b", &"x".repeat(8_192)] {
        let batch = mock!(aws_sdk_dynamodb::Client::batch_execute_statement)
            .match_requests(|request| request.statements().len() == 1)
            .then_output(|| {
                BatchExecuteStatementOutput::builder()
                    .responses(BatchStatementResponse::builder().build())
                    .build()
            });
        let client = mock_client!(aws_sdk_dynamodb, [&batch]);
        let table = CursorTable::new(client, "cursors".into());
        let (usual, none) = (cursor(None), Cursor::default());
        let mut unusual = usual.clone();
        let context = unusual.context.as_mut().expect("a context");
        context.insert(name.to_owned(), Attribute::number(1));
        let advance = |aggregate, cursor| Advance {
            aggregate,
            cursor,
            read: &none,
        };
        let advances = [advance("a", &unusual), advance("b", &usual)];
        let stored = table.advance(&advances).await.expect("answered");
        assert_eq!(stored, [false, true], "{name}");
    }
}

#[tokio::test]
async fn a_cursor_whose_statement_failed_or_has_no_response_is_not_stored() {
    for code in [
        BatchStatementErrorCodeEnum::DuplicateItem,
        BatchStatementErrorCodeEnum::ConditionalCheckFailed,
        BatchStatementErrorCodeEnum::ThrottlingError,
    ] {
        let (_, stored) = advanced(move || {
            BatchExecuteStatementOutput::builder()
                .responses(failed(code.clone()))
                .build()
        })
        .await;
        assert_eq!(stored, [false, false]);
    }
}
