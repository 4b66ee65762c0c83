//! The tables' adapter with a mocked client: its requests, and how it reads each response.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_core::{Attribute, Attributes};
use millrace_projector::adapters::dynamodb::{Condition, Tables};
use millrace_projector::ports::{ReadModel as _, Saved};

fn tables(client: Client) -> Tables {
    Tables::new(client, "views".to_owned(), "history".to_owned())
}

fn item(sequence: u64, stale: Option<u64>) -> Attributes {
    let mut item: Attributes = [
        ("Id".to_owned(), Attribute::text("a")),
        ("Sequence".to_owned(), Attribute::number(sequence)),
    ]
    .into();
    if let Some(stale) = stale {
        item.insert("StaleSequence".to_owned(), Attribute::number(stale));
    }
    item
}

#[tokio::test]
async fn a_view_is_read_consistently() {
    let get = mock!(Client::get_item)
        .match_requests(|request| {
            request.table_name() == Some("views") && request.consistent_read() == Some(true)
        })
        .then_output(|| {
            let item = [("Sequence".to_owned(), AttributeValue::N("7".to_owned()))];
            GetItemOutput::builder().set_item(Some(item.into())).build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&get]);
    let view = tables(client).view("a").await.expect("read");
    assert_eq!(view.expect("there")["Sequence"], Attribute::number(7));
}

#[test]
fn a_view_is_saved_over_what_was_read_and_nothing_else() {
    let mut with_revision = item(6, Some(9));
    with_revision.insert("Revision".to_owned(), Attribute::text("r"));
    let mut odd = item(6, None);
    odd.insert("Sequence".to_owned(), Attribute::Other("BOOL"));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: &str| AttributeValue::N(number.to_owned());
    for (read, expression, names, values) in [
        (None, "attribute_not_exists(#read0)", &["Id"][..], vec![]),
        (
            Some(with_revision),
            "#read0 = :read0",
            &["Revision"],
            vec![text("r")],
        ),
        (
            Some(item(6, None)),
            "attribute_not_exists(#read0) AND #read1 = :read1 AND attribute_not_exists(#read2)",
            &["Revision", "Sequence", "StaleSequence"],
            vec![number("6")],
        ),
        (
            Some(item(6, Some(9))),
            "attribute_not_exists(#read0) AND #read1 = :read1 AND #read2 = :read2",
            &["Revision", "Sequence", "StaleSequence"],
            vec![number("6"), number("9")],
        ),
        (
            Some(odd),
            "attribute_not_exists(#read0) AND attribute_type(#read1, :read1) AND \
             attribute_not_exists(#read2)",
            &["Revision", "Sequence", "StaleSequence"],
            vec![text("BOOL")],
        ),
    ] {
        let condition = Condition::unchanged(read.as_ref());
        assert_eq!(condition.expression, expression);
        let sorted: BTreeMap<_, _> = condition.names.into_iter().collect();
        assert!(sorted.values().eq(names), "{sorted:?}");
        let sorted: BTreeMap<_, _> = condition.values.into_iter().collect();
        assert!(sorted.into_values().eq(values));
    }
}

#[tokio::test]
async fn a_view_is_saved_and_marked_under_the_condition() {
    let put = mock!(Client::put_item)
        .match_requests(|request| {
            request.table_name() == Some("views")
                && request.condition_expression() == Some("attribute_not_exists(#read0)")
                && request.expression_attribute_values().is_none()
        })
        .then_output(|| PutItemOutput::builder().build());
    let update = mock!(Client::update_item)
        .match_requests(|request| {
            let names = request.expression_attribute_names().expect("names");
            let values = request.expression_attribute_values().expect("values");
            request.table_name() == Some("views")
                && request.update_expression() == Some("SET #mark0 = :mark0")
                && request.condition_expression()
                    == Some(
                        "attribute_not_exists(#read0) AND #read1 = :read1 AND \
                         attribute_not_exists(#read2)",
                    )
                && names["#mark0"] == "StaleSequence"
                && values[":mark0"] == AttributeValue::N("9".to_owned())
                && values[":read1"] == AttributeValue::N("6".to_owned())
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&put, &update]);
    let tables = tables(client);
    let saved = tables.save_view(item(7, None), None).await;
    assert_eq!(saved.expect("answered"), Saved::Stored);
    let mark = [("StaleSequence".to_owned(), Attribute::number(9))].into();
    let marked = tables.set_stale("a", mark, &item(6, None)).await;
    assert_eq!(marked.expect("answered"), Saved::Stored);
}

#[tokio::test]
async fn a_condition_that_failed_means_moved_and_throttling_an_error() {
    let moved = mock!(Client::put_item).then_error(|| {
        PutItemError::ConditionalCheckFailedException(
            ConditionalCheckFailedException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, [&moved]);
    let saved = tables(client).save_view(item(7, None), None).await;
    assert_eq!(saved.expect("answered"), Saved::Moved);
    let moved = mock!(Client::update_item).then_error(|| {
        UpdateItemError::ConditionalCheckFailedException(
            ConditionalCheckFailedException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, [&moved]);
    let marked = tables(client)
        .set_stale("a", item(7, None), &item(6, None))
        .await;
    assert_eq!(marked.expect("answered"), Saved::Moved);
    let throttled = mock!(Client::put_item).then_error(|| {
        PutItemError::ProvisionedThroughputExceededException(
            ProvisionedThroughputExceededException::builder().build(),
        )
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&throttled]);
    assert!(tables(client).save_view(item(7, None), None).await.is_err());
}

fn write_request(sequence: u64) -> WriteRequest {
    let item = [(
        "Sequence".to_owned(),
        AttributeValue::N(sequence.to_string()),
    )];
    let put = PutRequest::builder().set_item(Some(item.into())).build();
    WriteRequest::builder()
        .put_request(put.expect("complete"))
        .build()
}

#[tokio::test]
async fn history_items_that_were_left_unprocessed_are_returned() {
    let batch = mock!(Client::batch_write_item)
        .match_requests(|request| request.request_items().expect("items")["history"].len() == 3)
        .then_output(|| {
            let left: HashMap<_, _> = [("history".to_owned(), vec![write_request(2)])].into();
            BatchWriteItemOutput::builder()
                .set_unprocessed_items(Some(left))
                .build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&batch]);
    let items = (0..3).map(|sequence| item(sequence, None)).collect();
    let unprocessed = tables(client).put_history(items).await.expect("answered");
    assert_eq!(unprocessed.len(), 1);
    assert_eq!(unprocessed[0]["Sequence"], Attribute::number(2));
}
