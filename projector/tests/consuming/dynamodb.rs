//! The tables' adapter over mocked answers: what is asked for, and what each answer means.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_domain::{Attribute, Attributes};
use millrace_projector::dynamodb::Tables;
use millrace_projector::model::{ReadModel as _, Saved};

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

#[tokio::test]
async fn a_view_is_saved_over_what_was_read_and_nothing_else() {
    let mut no_view = item(6, None);
    no_view.remove("Sequence");
    for (read, condition) in [
        (None, "attribute_not_exists(#sequence)"),
        (Some(no_view), "attribute_not_exists(#sequence)"),
        (
            Some(item(6, None)),
            "#sequence = :sequence AND attribute_not_exists(#stale)",
        ),
        (
            Some(item(6, Some(9))),
            "#sequence = :sequence AND #stale = :stale",
        ),
    ] {
        let was_read = read
            .as_ref()
            .is_some_and(|read| read.contains_key("Sequence"));
        let put = mock!(Client::put_item)
            .match_requests(move |request| {
                let values = request.expression_attribute_values();
                request.table_name() == Some("views")
                    && request.condition_expression() == Some(condition)
                    && (!was_read
                        || values.expect("values")[":sequence"]
                            == AttributeValue::N("6".to_owned()))
            })
            .then_output(|| PutItemOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, [&put]);
        let saved = tables(client).save_view(item(7, None), read.as_ref()).await;
        assert_eq!(saved.expect("answered"), Saved::Stored);
    }
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

#[tokio::test(start_paused = true)]
async fn lines_left_unprocessed_are_sent_again_and_no_call_carries_more_than_25() {
    let size = |size: usize| {
        move |request: &aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemInput| {
            request.request_items().expect("items")["history"].len() == size
        }
    };
    let first = mock!(Client::batch_write_item)
        .match_requests(size(25))
        .then_output(|| {
            let left: HashMap<_, _> = [("history".to_owned(), vec![write_request(24)])].into();
            BatchWriteItemOutput::builder()
                .set_unprocessed_items(Some(left))
                .build()
        });
    let again = mock!(Client::batch_write_item)
        .match_requests(size(1))
        .then_output(|| BatchWriteItemOutput::builder().build());
    let rest = mock!(Client::batch_write_item)
        .match_requests(size(5))
        .then_output(|| BatchWriteItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&first, &again, &rest]);
    let lines = (0..30).map(|sequence| item(sequence, None)).collect();
    tables(client).put_history(lines).await.expect("written");
    assert_eq!(
        [first.num_calls(), again.num_calls(), rest.num_calls()],
        [1, 1, 1]
    );
}

#[tokio::test(start_paused = true)]
async fn lines_left_unprocessed_every_time_are_an_error() {
    let never = mock!(Client::batch_write_item).then_output(|| {
        let left: HashMap<_, _> = [("history".to_owned(), vec![write_request(1)])].into();
        BatchWriteItemOutput::builder()
            .set_unprocessed_items(Some(left))
            .build()
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&never]);
    let written = tables(client).put_history(vec![item(1, None)]).await;
    assert!(written.is_err());
}

#[tokio::test]
async fn a_mark_sets_its_attributes_alone() {
    let update = mock!(Client::update_item)
        .match_requests(|request| {
            request.table_name() == Some("views")
                && request.update_expression() == Some("SET #mark0 = :mark0")
                && request.expression_attribute_names().expect("names")["#mark0"] == "StaleSequence"
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&update]);
    let mark = [("StaleSequence".to_owned(), Attribute::number(9))].into();
    tables(client).mark("a", mark).await.expect("marked");
    assert_eq!(update.num_calls(), 1);
}
