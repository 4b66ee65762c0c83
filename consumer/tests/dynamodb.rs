//! Positions in a `DynamoDB` table: the requests, and what their results mean.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::error::{
    ConditionalCheckFailedException, ProvisionedThroughputExceededException,
    TransactionCanceledException,
};
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Put, TransactWriteItem};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use millrace_consumer::dynamodb::DynamoDbPositions;
use millrace_consumer::{Gap, Position, Positions as _, Save, Saved, Sequence};

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).expect("in range")
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn at(number: u64) -> Position {
    Position {
        sequence: sequence(number),
        state: (number > 0).then(|| format!("{{\"balance\":{number}}}")),
        gap: None,
    }
}

fn save(writes: Vec<TransactWriteItem>) -> Save<TransactWriteItem> {
    Save {
        read: at(3),
        position: at(4),
        writes,
    }
}

fn write() -> TransactWriteItem {
    let put = Put::builder().table_name("notifications");
    let put = put.item("Id", text("n")).build().expect("complete");
    TransactWriteItem::builder().put(put).build()
}

fn positions(client: Client) -> DynamoDbPositions {
    DynamoDbPositions::new(client, "positions")
}

async fn read(item: Option<Vec<(&'static str, AttributeValue)>>) -> Result<Position, String> {
    let get = mock!(Client::get_item)
        .match_requests(|request| {
            let key = [("Subject".to_owned(), text("a"))];
            request.table_name() == Some("positions")
                && request.consistent_read() == Some(true)
                && request.key() == Some(&key.into())
        })
        .then_output(move || {
            let item = item.clone().map(|item| {
                let item = item.into_iter();
                item.map(|(name, value)| (name.to_owned(), value)).collect()
            });
            GetItemOutput::builder().set_item(item).build()
        });
    let client = mock_client!(aws_sdk_dynamodb, [&get]);
    let position = positions(client).read("a").await;
    position.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_position_is_read_consistently() {
    assert_eq!(read(None).await, Ok(Position::default()));
    let item = vec![
        ("Subject", text("a")),
        ("Sequence", number(4)),
        ("State", text(r#"{"balance":4}"#)),
    ];
    assert_eq!(read(Some(item.clone())).await, Ok(at(4)));
    let gap = [
        ("Missing", number(5)),
        ("SeenThrough", number(7)),
        ("GapSince", text("2026-11-20T21:03:05.123Z")),
    ];
    let with_gap = Position {
        gap: Some(Gap {
            missing: sequence(5),
            seen: sequence(7),
        }),
        ..at(4)
    };
    let item = item.into_iter().chain(gap).collect();
    assert_eq!(read(Some(item)).await, Ok(with_gap));
    // A gap before the first event.
    let item = vec![
        ("Subject", text("a")),
        ("Missing", number(1)),
        ("SeenThrough", number(2)),
    ];
    let position = read(Some(item)).await.expect("a position");
    assert_eq!(
        (position.sequence, position.gap.is_some()),
        (Sequence::NONE, true)
    );
}

#[tokio::test]
async fn an_item_that_is_no_position_is_an_error() {
    for (name, value) in [
        ("Sequence", text("4")),
        ("Sequence", AttributeValue::N("-1".to_owned())),
        ("Sequence", AttributeValue::N("1.5".to_owned())),
        ("State", number(1)),
        ("Missing", number(5)),
        ("SeenThrough", number(5)),
    ] {
        let shown = format!("{name}: {value:?}");
        assert!(read(Some(vec![(name, value)])).await.is_err(), "{shown}");
    }
}

#[tokio::test]
async fn a_position_without_writes_is_one_update_on_its_condition() {
    for (before, condition) in [
        (
            0,
            "attribute_not_exists(#Sequence) AND attribute_not_exists(#SeenThrough)",
        ),
        (
            3,
            "#Sequence = :SequenceRead AND attribute_not_exists(#SeenThrough)",
        ),
    ] {
        let update = mock!(Client::update_item)
            .match_requests(move |request| {
                let values = request.expression_attribute_values().expect("values");
                request.condition_expression() == Some(condition)
                    && request.table_name() == Some("positions")
                    && request.update_expression()
                        == Some("SET #Sequence = :Sequence, #State = :State REMOVE #Missing, #SeenThrough, #GapSince")
                    && values.get(":SequenceRead") == (before > 0).then(|| number(before)).as_ref()
                    && values[":Sequence"] == number(4)
            })
            .then_output(|| UpdateItemOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, [&update]);
        let save = Save {
            read: at(before),
            ..save(Vec::new())
        };
        let saved = positions(client).save("a", save).await;
        assert_eq!(saved.expect("saved"), Saved::Stored);
    }
}

#[tokio::test]
async fn the_time_of_a_gap_is_the_first_one() {
    let update = mock!(Client::update_item)
        .match_requests(|request| {
            let update = request.update_expression().expect("an update");
            let values = request.expression_attribute_values().expect("values");
            update.contains("#GapSince = if_not_exists(#GapSince, :GapSince)")
                && update.contains("REMOVE #Sequence, #State")
                && values[":Missing"] == number(1)
                && values[":SeenThrough"] == number(2)
        })
        .then_output(|| UpdateItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&update]);
    let position = Position {
        gap: Some(Gap {
            missing: sequence(1),
            seen: sequence(2),
        }),
        ..Position::default()
    };
    let save = Save {
        read: Position::default(),
        position,
        writes: Vec::new(),
    };
    let saved = positions(client).save("a", save).await;
    assert_eq!(saved.expect("saved"), Saved::Stored);
}

#[tokio::test]
async fn a_position_with_writes_is_one_transaction() {
    let transact = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let items = request.transact_items();
            let update = items[0].update().expect("the position");
            items.len() == 3
                && update.table_name() == "positions"
                && update.condition_expression()
                    == Some("#Sequence = :SequenceRead AND attribute_not_exists(#SeenThrough)")
                && items[1..].iter().all(|item| *item == write())
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&transact]);
    let saved = positions(client)
        .save("a", save(vec![write(), write()]))
        .await;
    assert_eq!(saved.expect("saved"), Saved::Stored);
}

#[tokio::test]
async fn a_transaction_moved_was_throttled_or_is_refused() {
    const FAILED: &str = "ConditionalCheckFailed";
    for (codes, saved) in [
        ([FAILED, "None"], Some(Saved::Moved)),
        ([FAILED, FAILED], Some(Saved::Moved)),
        (["TransactionConflict", "None"], Some(Saved::Moved)),
        (["None", "TransactionConflict"], Some(Saved::Moved)),
        (["None", FAILED], None),
        (["ThrottlingError", "None"], Some(Saved::Moved)),
        (
            ["None", "ProvisionedThroughputExceeded"],
            Some(Saved::Moved),
        ),
        (["ItemCollectionSizeLimitExceeded", "None"], None),
    ] {
        let transact = mock!(Client::transact_write_items).then_error(move || {
            let reasons = codes.map(|code| CancellationReason::builder().code(code).build());
            let cancelled = TransactionCanceledException::builder()
                .set_cancellation_reasons(Some(reasons.into()))
                .build();
            TransactWriteItemsError::TransactionCanceledException(cancelled)
        });
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&transact]);
        let result = positions(client).save("a", save(vec![write()])).await;
        assert_eq!(result.ok(), saved, "{codes:?}");
    }
}

#[tokio::test]
async fn an_update_whose_condition_fails_has_moved_and_other_errors_are_errors() {
    let failed = mock!(Client::update_item).then_error(|| {
        let error = ConditionalCheckFailedException::builder().build();
        UpdateItemError::ConditionalCheckFailedException(error)
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&failed]);
    let saved = positions(client).save("a", save(Vec::new())).await;
    assert_eq!(saved.expect("a result"), Saved::Moved);

    let throttled = mock!(Client::update_item).then_error(|| {
        let error = ProvisionedThroughputExceededException::builder().build();
        UpdateItemError::ProvisionedThroughputExceededException(error)
    });
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&throttled]);
    let error = positions(client)
        .save("a", save(Vec::new()))
        .await
        .expect_err("throttled");
    assert_eq!(error.to_string(), "saving a position failed");
}
