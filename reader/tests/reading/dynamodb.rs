//! The adapter with a mocked client: its requests, and how it reads each response.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryError, QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ProvisionedThroughputExceededException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use millrace_core::Attributes;
use millrace_reader::adapters::dynamodb::Tables;
use millrace_reader::ports::ReadModel as _;
use millrace_runtime::dynamodb::to_item;

use crate::fixtures::{HISTORY, VIEW, ask, assert_problem, get, history, id, sequence};

fn tables(rules: &[&Rule]) -> Tables {
    Tables::new(
        mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules),
        "views".to_owned(),
        "histories".to_owned(),
    )
}

/// For the expected request, `GetItem` returns this item.
fn get_item(
    table: &'static str,
    key: &[(&str, AttributeValue)],
    found: Option<Attributes>,
) -> Rule {
    let key: HashMap<String, AttributeValue> = key
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    mock!(Client::get_item)
        .match_requests(move |request| {
            request.table_name() == Some(table)
                && request.key() == Some(&key)
                && request.consistent_read() == Some(true)
        })
        .then_output(move || {
            GetItemOutput::builder()
                .set_item(found.clone().map(to_item))
                .build()
        })
}

fn asked_for_history(request: &QueryInput, limit: i32, start_after: Option<u64>) -> bool {
    let names = [("#id", "Id"), ("#sequence", "Sequence")];
    let values = [
        (":id", AttributeValue::S("a".into())),
        (":newest", AttributeValue::N("5".into())),
    ];
    request.table_name() == Some("histories")
        && request.key_condition_expression() == Some("#id = :id AND #sequence <= :newest")
        && request.expression_attribute_names()
            == Some(
                &names
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
            )
        && request.expression_attribute_values()
            == Some(&values.map(|(name, value)| (name.into(), value)).into())
        && request.scan_index_forward() == Some(false)
        && request.consistent_read() == Some(true)
        && request.index_name().is_none()
        && request.filter_expression().is_none()
        && request.limit() == Some(limit)
        && request.exclusive_start_key() == start_after.map(key).as_ref()
}

fn key(sequence: u64) -> HashMap<String, AttributeValue> {
    [
        ("Id".to_owned(), AttributeValue::S("a".into())),
        (
            "Sequence".to_owned(),
            AttributeValue::N(sequence.to_string()),
        ),
    ]
    .into()
}

/// For the expected request, `Query` returns these entries and the key of the page's last one.
fn query(limit: i32, start_after: Option<u64>, found: &[u64], last: Option<u64>) -> Rule {
    let lines: Vec<_> = found
        .iter()
        .map(|sequence| {
            let all = history(&[0; 9]);
            let place = usize::try_from(sequence - 1).expect("small");
            to_item(all[place].1.to_item().expect("accounts have entries"))
        })
        .collect();
    mock!(Client::query)
        .match_requests(move |request| asked_for_history(request, limit, start_after))
        .then_output(move || {
            QueryOutput::builder()
                .set_items(Some(lines.clone()))
                .set_last_evaluated_key(last.map(key))
                .build()
        })
}

fn sequences(items: &[Attributes]) -> Vec<i64> {
    let sequences = items.iter().map(|item| item["Sequence"].as_integer());
    sequences
        .map(|sequence| sequence.expect("a number"))
        .collect()
}

#[tokio::test]
async fn a_view_is_read_consistently() {
    let (view, _) = history(&[0, 1]).remove(1);
    let item = view.to_item().expect("accounts have views");
    let key = [("Id", AttributeValue::S("a".into()))];
    let found = get_item("views", &key, Some(item.clone()));
    let missing = get_item("views", &key, None);
    let tables = tables(&[&found, &missing]);
    assert_eq!(tables.view(&id()).await.expect("reads"), Some(item));
    assert_eq!(tables.view(&id()).await.expect("reads"), None);
}

#[tokio::test]
async fn an_entry_is_read_consistently() {
    let (_, entry) = history(&[0, 1]).remove(1);
    let item = entry.to_item().expect("accounts have entries");
    let key = [
        ("Id", AttributeValue::S("a".into())),
        ("Sequence", AttributeValue::N("2".into())),
    ];
    let found = get_item("histories", &key, Some(item.clone()));
    let missing = get_item("histories", &key, None);
    let tables = tables(&[&found, &missing]);
    assert_eq!(
        tables.entry(&id(), sequence(2)).await.expect("reads"),
        Some(item)
    );
    assert_eq!(tables.entry(&id(), sequence(2)).await.expect("reads"), None);
}

#[tokio::test]
async fn a_page_is_read_until_it_is_full() {
    let first = query(3, None, &[5, 4], Some(4));
    let empty = query(1, Some(4), &[], Some(4));
    let last = query(1, Some(4), &[3], Some(3));
    let tables = tables(&[&first, &empty, &last]);
    let lines = tables.history(&id(), sequence(5), 3).await.expect("reads");
    assert_eq!(sequences(&lines), [5, 4, 3]);
    assert_eq!(last.num_calls(), 1);
}

#[tokio::test]
async fn a_page_is_read_until_there_is_no_more() {
    let first = query(9, None, &[5, 4, 3], Some(3));
    let last = query(6, Some(3), &[2, 1], None);
    let tables = tables(&[&first, &last]);
    let lines = tables.history(&id(), sequence(5), 9).await.expect("reads");
    assert_eq!(sequences(&lines), [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_named() {
    let (view, entry) = history(&[0]).remove(0);
    let view = view.to_item().expect("accounts have views");
    let entry = entry.to_item().expect("accounts have entries");
    let without = |item: &Attributes, name: &str| {
        let mut item = item.clone();
        item.remove(name);
        to_item(item)
    };
    let views = |item: HashMap<String, AttributeValue>| {
        mock!(Client::get_item).then_output(move || {
            GetItemOutput::builder()
                .set_item(Some(item.clone()))
                .build()
        })
    };
    let broken_view = views(without(&view, "Balance"));
    let view = views(to_item(view));
    let broken_entry = without(&entry, "Type");
    let entries = mock!(Client::query)
        .then_output(move || QueryOutput::builder().items(broken_entry.clone()).build());
    for (rules, path, attribute) in [
        (&[&broken_view][..], VIEW, "Balance"),
        (&[&view, &entries], HISTORY, "Type"),
    ] {
        let response = ask(tables(rules), &get(path)).await;
        assert_problem(&response, 500, "read-model-damaged");
        assert!(response.body.contains(&format!("attribute {attribute}\"")));
    }
}

#[tokio::test]
async fn a_throttled_read_is_a_services_error() {
    let throttled = || ProvisionedThroughputExceededException::builder().build();
    let item = mock!(Client::get_item)
        .then_error(move || GetItemError::ProvisionedThroughputExceededException(throttled()));
    let line = mock!(Client::get_item)
        .then_error(move || GetItemError::ProvisionedThroughputExceededException(throttled()));
    let lines = mock!(Client::query)
        .then_error(move || QueryError::ProvisionedThroughputExceededException(throttled()));
    let tables = tables(&[&item, &line, &lines]);
    assert!(tables.view(&id()).await.is_err());
    assert!(tables.entry(&id(), sequence(1)).await.is_err());
    assert!(tables.history(&id(), sequence(5), 3).await.is_err());
}
