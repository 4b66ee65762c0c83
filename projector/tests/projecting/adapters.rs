//! The tables' adapter with a mocked client: its requests, and how it reads each response.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_execute_statement::{
    BatchExecuteStatementError, BatchExecuteStatementOutput,
};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, InternalServerError, ProvisionedThroughputExceededException,
};
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum, BatchStatementRequest,
    BatchStatementResponse, KeysAndAttributes, PutRequest, WriteRequest,
};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_core::{Attribute, Attributes};
use millrace_projector::adapters::dynamodb::{Condition, Tables};
use millrace_projector::ports::{ReadModel as _, Saved, ViewSave};

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

#[tokio::test]
async fn several_views_are_read_consistently_and_keys_left_unprocessed_are_returned() {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let key = move |id: &str| [("Id".to_owned(), text(id))].into();
    let batch = mock!(Client::batch_get_item)
        .match_requests(move |request| {
            let tables = request.request_items().expect("keys");
            tables.len() == 1
                && tables["views"].consistent_read() == Some(true)
                && tables["views"].keys() == [key("a"), key("b"), key("c")]
        })
        .then_output(move || {
            let mut item: HashMap<_, _> = key("a");
            item.insert("Sequence".to_owned(), AttributeValue::N("7".to_owned()));
            let left = KeysAndAttributes::builder().keys(key("c")).build();
            BatchGetItemOutput::builder()
                .responses("views", vec![item])
                .unprocessed_keys("views", left.expect("complete"))
                .build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&batch]);
    let views = tables(client)
        .read_views(&["a", "b", "c"])
        .await
        .expect("answered");
    assert_eq!(views.found, [("a".to_owned(), item(7, None))].into());
    assert_eq!(views.unprocessed, ["c"]);
}

fn with(mut item: Attributes, attributes: &[(&str, Attribute)]) -> Attributes {
    for (name, value) in attributes {
        item.insert((*name).to_owned(), value.clone());
    }
    item
}

/// An item of this revision.
fn revised(sequence: u64, revision: &str) -> Attributes {
    with(
        item(sequence, None),
        &[("Revision", Attribute::text(revision))],
    )
}

fn insert() -> ViewSave {
    ViewSave {
        item: revised(1, "new"),
        read: None,
    }
}

fn update() -> ViewSave {
    let balance = |balance: u64| ("Balance", Attribute::number(balance));
    let currency = ("Currency", Attribute::text("EUR"));
    let old = ("Old", Attribute::Other("SS"));
    ViewSave {
        item: with(revised(7, "new"), &[balance(5), currency.clone()]),
        read: Some(with(revised(6, "old"), &[balance(4), currency, old])),
    }
}

/// Saves these items. Returns the statements that were sent, and which items are stored.
async fn save(
    saves: Vec<ViewSave>,
    responses: Vec<BatchStatementResponse>,
) -> (Vec<BatchStatementRequest>, Vec<bool>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sent);
    let batch = mock!(Client::batch_execute_statement)
        .match_requests(move |request| {
            *seen.lock().expect("unpoisoned") = request.statements().to_vec();
            true
        })
        .then_output(move || {
            BatchExecuteStatementOutput::builder()
                .set_responses(Some(responses.clone()))
                .build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&batch]);
    let stored = tables(client).save_views(saves).await.expect("answered");
    let sent = sent.lock().expect("unpoisoned").clone();
    (sent, stored)
}

fn executed() -> BatchStatementResponse {
    BatchStatementResponse::builder()
        .table_name("views")
        .build()
}

fn failed(code: BatchStatementErrorCodeEnum) -> BatchStatementResponse {
    let error = BatchStatementError::builder().code(code).build();
    BatchStatementResponse::builder().error(error).build()
}

#[tokio::test]
async fn a_new_view_is_inserted_and_a_read_one_updated_where_it_differs() {
    let (sent, stored) = save(vec![insert(), update()], vec![executed(), executed()]).await;
    assert_eq!(stored, [true, true]);
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: &str| AttributeValue::N(number.to_owned());
    let statement = |statement: &str, parameters| {
        BatchStatementRequest::builder()
            .statement(statement)
            .set_parameters(Some(parameters))
            .build()
            .expect("complete")
    };
    assert_eq!(
        sent,
        [
            statement(
                r#"INSERT INTO "views" VALUE {'Id': ?, 'Revision': ?, 'Sequence': ?}"#,
                vec![text("a"), text("new"), number("1")],
            ),
            statement(
                r#"UPDATE "views" SET "Balance" = ? SET "Revision" = ? SET "Sequence" = ? REMOVE "Old" WHERE "Id" = ? AND "Revision" = ?"#,
                vec![
                    number("5"),
                    text("new"),
                    number("7"),
                    text("a"),
                    text("old"),
                ],
            ),
        ]
    );
}

#[tokio::test]
async fn each_statements_own_answer_counts_and_not_the_status() {
    use BatchStatementErrorCodeEnum as Code;
    let responses = vec![
        failed(Code::DuplicateItem),
        executed(),
        failed(Code::ConditionalCheckFailed),
        failed(Code::ProvisionedThroughputExceeded),
        BatchStatementResponse::builder()
            .error(BatchStatementError::builder().build())
            .build(),
        // The response lacks the entries of the last two.
    ];
    let saves = vec![
        insert(),
        update(),
        update(),
        update(),
        update(),
        update(),
        insert(),
    ];
    let (sent, stored) = save(saves, responses).await;
    assert_eq!(sent.len(), 7);
    assert_eq!(stored, [false, true, false, false, false, false, false]);
}

#[tokio::test]
async fn an_item_without_a_statement_is_not_sent_and_not_stored() {
    let mut others = Vec::new();
    for name in ["it's", "a\"b", "a.b", "a[0]", "é", &"x".repeat(8_192)] {
        let mut new = insert();
        new.item.insert(name.to_owned(), Attribute::number(1));
        others.push(new);
        let mut changed = update();
        let read = changed.read.as_mut().expect("some");
        read.insert(name.to_owned(), Attribute::number(1));
        others.push(changed);
    }
    let mut without_revision = update();
    without_revision.read = Some(item(6, None));
    others.push(without_revision);
    let mut damaged = update();
    let read = damaged.read.as_mut().expect("some");
    read.insert("Revision".to_owned(), Attribute::Other("BS"));
    others.push(damaged);
    for other in others {
        let shown = format!("{other:?}");
        let saves = vec![insert(), other, update()];
        let responses = vec![
            executed(),
            failed(BatchStatementErrorCodeEnum::DuplicateItem),
        ];
        let (sent, stored) = save(saves, responses).await;
        assert_eq!(sent.len(), 2, "{shown}");
        assert_eq!(stored, [true, false, false], "{shown}");
    }
}

#[tokio::test]
async fn a_statement_may_have_8192_characters() {
    let sized = |bytes: usize| {
        let mut save = insert();
        save.item.insert("x".repeat(bytes), Attribute::number(1));
        save
    };
    let (sent, _) = save(vec![sized(100)], vec![executed()]).await;
    let largest = 100 + 8_192 - sent[0].statement().len();
    let (sent, stored) = save(vec![sized(largest)], vec![executed()]).await;
    assert_eq!((sent[0].statement().len(), stored), (8_192, vec![true]));
    let (sent, stored) = save(vec![sized(largest + 1)], vec![executed()]).await;
    assert_eq!((sent.len(), stored), (0, vec![false]));
}

#[tokio::test]
async fn a_batch_of_statements_that_fails_as_a_whole_is_an_error() {
    let failing = mock!(Client::batch_execute_statement).then_error(|| {
        BatchExecuteStatementError::InternalServerError(InternalServerError::builder().build())
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&failing]);
    assert!(tables(client).save_views(vec![insert()]).await.is_err());
}
