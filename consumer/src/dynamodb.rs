//! Positions in a `DynamoDB` table (feature `dynamodb`).
//!
//! The table's partition key is `Subject`, a string. An item has these attributes, in the same form as those of
//! Millrace's libraries for Python and Node.js:
//!
//! | attribute | type | content |
//! |---|---|---|
//! | `Subject` | S | the aggregate's id |
//! | `Sequence` | N | the last applied event; absent if none was applied |
//! | `State` | S | the consumer's state of the aggregate, as JSON; absent if it has none |
//! | `Missing` | N | the first missing sequence; absent if there is no gap |
//! | `SeenThrough` | N | the highest sequence that arrived and was skipped after the gap; present with `Missing` |
//! | `GapSince` | S | when the gap was found first; present with `Missing` |

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem, Update};
use millrace_core::{Sequence, Timestamp};

use crate::positions::{Gap, Position, Positions, Save, Saved, StoreError};

const READING: &str = "reading a position";
const SAVING: &str = "saving a position";

/// Positions in a `DynamoDB` table. A write is an entry of the transaction that saves the position.
///
/// The function's role needs `dynamodb:GetItem` and `dynamodb:UpdateItem` on the table, and what its own writes need
/// ([transactions](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html)).
#[derive(Debug, Clone)]
pub struct DynamoDbPositions {
    client: Client,
    table: String,
}

impl DynamoDbPositions {
    /// Positions in this table.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }
}

/// An item's attributes that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the item's attribute {0} is missing or has another type or range")]
struct UnreadableItem(&'static str);

impl Positions<TransactWriteItem> for DynamoDbPositions {
    /// A transaction has at most 100 actions, one of which saves the position
    /// ([TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html)).
    const MAX_WRITES: usize = 99;

    async fn read(&self, subject: &str) -> Result<Position, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("Subject", AttributeValue::S(subject.to_owned()))
            .consistent_read(true);
        let output = request
            .send()
            .await
            .map_err(|error| StoreError::new(READING, error.into_service_error()))?;
        let Some(item) = output.item else {
            return Ok(Position::default());
        };
        position(&item).map_err(|error| StoreError::new(READING, error))
    }

    async fn save(
        &self,
        subject: &str,
        save: Save<TransactWriteItem>,
    ) -> Result<Saved, StoreError> {
        let update = Expression::of(&save.read, &save.position);
        let key = AttributeValue::S(subject.to_owned());
        if save.writes.is_empty() {
            let request = self
                .client
                .update_item()
                .table_name(&self.table)
                .key("Subject", key)
                .update_expression(update.update)
                .condition_expression(update.condition)
                .set_expression_attribute_names(Some(update.names))
                .set_expression_attribute_values(Some(update.values).filter(|it| !it.is_empty()));
            return match request.send().await {
                Ok(_) => Ok(Saved::Stored),
                Err(error) => update_ended(error),
            };
        }
        let update = Update::builder()
            .table_name(&self.table)
            .key("Subject", key)
            .update_expression(update.update)
            .condition_expression(update.condition)
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values).filter(|it| !it.is_empty()))
            .build()
            .map_err(|error| StoreError::new(SAVING, error))?;
        let request = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(update).build());
        let request = save
            .writes
            .into_iter()
            .fold(request, TransactWriteItemsFluentBuilder::transact_items);
        match request.send().await {
            Ok(_) => Ok(Saved::Stored),
            Err(error) => transaction_ended(error),
        }
    }
}

fn update_ended(error: SdkError<UpdateItemError>) -> Result<Saved, StoreError> {
    match error.into_service_error() {
        UpdateItemError::ConditionalCheckFailedException(_)
        | UpdateItemError::TransactionConflictException(_) => Ok(Saved::Moved),
        error => Err(StoreError::new(SAVING, error)),
    }
}

fn transaction_ended(error: SdkError<TransactWriteItemsError>) -> Result<Saved, StoreError> {
    let error = error.into_service_error();
    if let TransactWriteItemsError::TransactionCanceledException(cancelled) = &error {
        let reasons = cancelled.cancellation_reasons();
        let of_position = reasons.first().and_then(CancellationReason::code);
        let has_moved = of_position == Some("ConditionalCheckFailed");
        // The SDK repeats a call that is throttled, but not a transaction that was cancelled for this reason
        // (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
        let passes = || {
            let mut codes = reasons.iter().filter_map(CancellationReason::code);
            codes.any(|code| {
                matches!(
                    code,
                    "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
                )
            })
        };
        if has_moved || passes() {
            return Ok(Saved::Moved);
        }
        // The reasons' messages may quote keys.
        let codes: Vec<_> = reasons
            .iter()
            .filter_map(CancellationReason::code)
            .collect();
        let reason = format!("the transaction was cancelled: {}", codes.join(", "));
        return Err(StoreError::new(SAVING, reason));
    }
    Err(StoreError::new(SAVING, error))
}

/// The change of a position's item.
struct Expression {
    update: String,
    condition: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn of(read: &Position, position: &Position) -> Self {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        let mut change = |name: &str, value: Option<AttributeValue>| {
            names.insert(format!("#{name}"), name.to_owned());
            if let Some(value) = value {
                values.insert(format!(":{name}"), value);
                set.push(if name == "GapSince" {
                    format!("#{name} = if_not_exists(#{name}, :{name})")
                } else {
                    format!("#{name} = :{name}")
                });
            } else {
                remove.push(format!("#{name}"));
            }
        };
        change(
            "Sequence",
            Some(position.sequence)
                .filter(|it| *it != Sequence::NONE)
                .map(number),
        );
        change("State", position.state.clone().map(AttributeValue::S));
        change("Missing", position.gap.map(|gap| number(gap.missing)));
        change("SeenThrough", position.gap.map(|gap| number(gap.seen)));
        change("GapSince", position.gap.and_then(|_| now()));
        let mut is_unchanged = |name: &str, value: Option<Sequence>| match value {
            None => format!("attribute_not_exists(#{name})"),
            Some(value) => {
                values.insert(format!(":{name}Read"), number(value));
                format!("#{name} = :{name}Read")
            }
        };
        let sequence = Some(read.sequence).filter(|it| *it != Sequence::NONE);
        let condition = [
            is_unchanged("Sequence", sequence),
            is_unchanged("SeenThrough", read.gap.map(|gap| gap.seen)),
        ]
        .join(" AND ");
        let parts = [("SET ", set), ("REMOVE ", remove)];
        let parts = parts.iter().filter(|(_, changes)| !changes.is_empty());
        let parts = parts.map(|(verb, changes)| format!("{verb}{}", changes.join(", ")));
        Self {
            update: parts.collect::<Vec<_>>().join(" "),
            condition,
            names,
            values,
        }
    }
}

fn number(sequence: Sequence) -> AttributeValue {
    AttributeValue::N(sequence.to_string())
}

fn now() -> Option<AttributeValue> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = Timestamp::from_unix_millis(i64::try_from(since.as_millis()).ok()?)?;
    Some(AttributeValue::S(now.to_string()))
}

fn position(item: &HashMap<String, AttributeValue>) -> Result<Position, UnreadableItem> {
    let sequence = |name: &'static str| {
        item.get(name)
            .map(|value| {
                let number = value.as_n().ok().and_then(|number| number.parse().ok());
                number.and_then(Sequence::new).ok_or(UnreadableItem(name))
            })
            .transpose()
    };
    let state = item.get("State").map(|value| {
        let state = value.as_s().map_err(|_| UnreadableItem("State"))?;
        Ok(state.clone())
    });
    let gap = match (sequence("Missing")?, sequence("SeenThrough")?) {
        (None, None) => None,
        (Some(missing), Some(seen)) => Some(Gap { missing, seen }),
        (None, Some(_)) => return Err(UnreadableItem("Missing")),
        (Some(_), None) => return Err(UnreadableItem("SeenThrough")),
    };
    Ok(Position {
        sequence: sequence("Sequence")?.unwrap_or(Sequence::NONE),
        state: state.transpose()?,
        gap,
    })
}
