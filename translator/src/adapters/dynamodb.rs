//! The events table and the cursor table behind the translator's traits.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use millrace_core::cursor::{BLOCKED, ID, PUBLISHED_THROUGH, is_reserved_column};
use millrace_core::{Attribute, Attributes, DecodeError, Sequence, Timestamp, Version, row};
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, service_error, stored_row, to_item, to_value};

use crate::cursor::{Block, Cursor};
use crate::ports::{CursorStore, EventRows, Loaded, MAX_PAGE_ROWS, Page, Saved};

const BLOCKED_SEQUENCE: &str = "Sequence";
const BLOCKED_ROW: &str = "Row";
const BLOCKED_REASON: &str = "Reason";
const BLOCKED_SINCE: &str = "Since";

/// The events table.
#[derive(Debug, Clone)]
pub struct EventsTable {
    client: Client,
    table: String,
}

/// The cursor table.
#[derive(Debug, Clone)]
pub struct CursorTable {
    client: Client,
    table: String,
}

impl EventsTable {
    /// The table of this name.
    #[must_use]
    pub const fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The client that reaches the table.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.table
    }
}

impl CursorTable {
    /// The table of this name.
    #[must_use]
    pub const fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The client that reaches the table.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.table
    }

    fn key(aggregate: &str) -> HashMap<String, AttributeValue> {
        [(ID.to_owned(), AttributeValue::S(aggregate.to_owned()))].into()
    }
}

impl EventRows for EventsTable {
    async fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
        limit: usize,
    ) -> Result<Page, ServiceError> {
        let id = AttributeValue::S(aggregate.to_owned());
        let number = |version: Version| AttributeValue::N(version.to_string());
        // The key to start after needn't be an item's. Unlike a range that begins at the next whole
        // number, it leaves out nothing in between.
        let start = after.map(|after| {
            let version = (row::VERSION.to_owned(), number(after));
            [(row::ID.to_owned(), id.clone()), version].into()
        });
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .expression_attribute_names("#id", row::ID)
            .expression_attribute_values(":id", id)
            .set_exclusive_start_key(start)
            .limit(i32::try_from(limit.min(MAX_PAGE_ROWS)).unwrap_or(i32::MAX));
        query = match before {
            None => query.key_condition_expression("#id = :id"),
            Some(before) => query
                .key_condition_expression("#id = :id AND #version < :before")
                .expression_attribute_names("#version", row::VERSION)
                .expression_attribute_values(":before", number(before)),
        };
        let answer = query
            .send()
            .await
            .map_err(|error| service_error("Query on the events table", error))?;
        Ok(Page {
            more: answer.last_evaluated_key.is_some_and(|key| !key.is_empty()),
            rows: answer
                .items
                .unwrap_or_default()
                .into_iter()
                .map(from_item)
                .collect(),
        })
    }

    async fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> Result<Option<Attributes>, ServiceError> {
        let action = "GetItem on the events table";
        stored_row(&self.client, &self.table, aggregate, version, action).await
    }
}

impl CursorStore for CursorTable {
    async fn load(&self, aggregates: &[&str]) -> Result<Loaded, ServiceError> {
        const ACTION: &str = "BatchGetItem on the cursor table";
        let keys = aggregates
            .iter()
            .map(|aggregate| Self::key(aggregate))
            .collect();
        let request = KeysAndAttributes::builder()
            .consistent_read(true)
            .set_keys(Some(keys))
            .build()
            .map_err(|error| ServiceError::new(ACTION, error))?;
        let answer = self
            .client
            .batch_get_item()
            .request_items(&self.table, request)
            .send()
            .await
            .map_err(|error| service_error(ACTION, error))?;
        let items = answer.responses.unwrap_or_default().into_values().flatten();
        let unprocessed = answer.unprocessed_keys.unwrap_or_default();
        Ok(Loaded {
            found: items
                .filter_map(|item| Some((id(&item)?, read_cursor(item))))
                .collect(),
            unprocessed: unprocessed
                .values()
                .flat_map(KeysAndAttributes::keys)
                .filter_map(id)
                .collect(),
        })
    }

    async fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> Result<Saved, ServiceError> {
        const ACTION: &str = "UpdateItem on the cursor table";
        let through = AttributeValue::N(cursor.published_through.to_string());
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Self::key(aggregate)))
            .expression_attribute_values(":through", through)
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        let same_block = if let Some(read) = &read.blocked {
            request = request.expression_attribute_values(":read", block_value(read));
            format!("{BLOCKED} = :read")
        } else {
            format!("attribute_not_exists({BLOCKED})")
        };
        let mut set = vec![format!("{PUBLISHED_THROUGH} = :through")];
        let context = cursor.context.clone().unwrap_or_default();
        for (index, (name, value)) in context.into_iter().enumerate() {
            set.push(format!("#context{index} = :context{index}"));
            request = request
                .expression_attribute_names(format!("#context{index}"), name)
                .expression_attribute_values(format!(":context{index}"), to_value(value));
        }
        let mut remove = Vec::new();
        for (index, name) in dropped_columns(read, cursor).enumerate() {
            remove.push(format!("#dropped{index}"));
            request = request.expression_attribute_names(format!("#dropped{index}"), name);
        }
        if let Some(block) = &cursor.blocked {
            set.push(format!("{BLOCKED} = :blocked"));
            request = request.expression_attribute_values(":blocked", block_value(block));
        } else {
            remove.push(BLOCKED.to_owned());
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update = format!("{update} REMOVE {}", remove.join(", "));
        }
        let is_ahead = cursor.blocked.as_ref().is_some_and(Block::is_cursor_ahead);
        let position = if is_ahead {
            format!("{PUBLISHED_THROUGH} = :through")
        } else {
            format!(
                "(attribute_not_exists({PUBLISHED_THROUGH}) OR {PUBLISHED_THROUGH} <= :through)"
            )
        };
        let saving = request
            .update_expression(update)
            .condition_expression(format!("{position} AND {same_block}"))
            .send();
        let Err(error) = saving.await else {
            return Ok(Saved::Stored);
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let stored = failed.item().and_then(published_through);
                let contains = cursor.blocked.is_none() && stored >= Some(cursor.published_through);
                Ok(if contains {
                    Saved::Stored
                } else {
                    Saved::Changed
                })
            }
            _ => Err(service_error(ACTION, error)),
        }
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Self::key(aggregate)))
            .update_expression(format!("SET {BLOCKED} = :blocked"))
            .expression_attribute_values(":blocked", block_value(block))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| service_error("UpdateItem on the cursor table", error))
    }
}

/// The context's columns that the cursor contained when it was read, and no longer contains.
fn dropped_columns<'a>(read: &'a Cursor, cursor: &'a Cursor) -> impl Iterator<Item = &'a String> {
    let kept = cursor.context.as_ref();
    let columns = read.context.iter().flat_map(Attributes::keys);
    columns.filter(move |name| kept.is_some_and(|kept| !kept.contains_key(*name)))
}

fn id(item: &HashMap<String, AttributeValue>) -> Option<String> {
    item.get(ID)?.as_s().ok().cloned()
}

/// A block as the cursor's item contains it, in the attribute [`BLOCKED`].
#[must_use]
pub fn block_value(block: &Block) -> AttributeValue {
    let mut attributes: Attributes = [
        (BLOCKED_SEQUENCE, Attribute::number(block.sequence.get())),
        (BLOCKED_REASON, Attribute::text(&block.reason)),
        (BLOCKED_SINCE, Attribute::text(block.since)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(row) = &block.row {
        attributes.insert(BLOCKED_ROW.to_owned(), Attribute::text(row));
    }
    AttributeValue::M(to_item(attributes))
}

/// How far a stored cursor is, where it can be read.
fn published_through(item: &HashMap<String, AttributeValue>) -> Option<Sequence> {
    let number = item.get(PUBLISHED_THROUGH)?.as_n().ok()?;
    number.parse().ok().and_then(Sequence::new)
}

/// Reads a cursor's item.
///
/// # Errors
/// [`DecodeError`] that names the attribute which is missing or wrong.
#[expect(clippy::implicit_hasher, reason = "the SDK hands out this very type")]
pub fn read_cursor(mut item: HashMap<String, AttributeValue>) -> Result<Cursor, DecodeError> {
    let blocked = match item.remove(BLOCKED) {
        None => None,
        Some(AttributeValue::M(map)) => Some(read_block(&from_item(map))?),
        Some(_) => return Err(DecodeError::new(BLOCKED, "is not of type M")),
    };
    let mut item = from_item(item);
    // An aggregate of which nothing was published may have a block alone.
    let published_through = match item.get(PUBLISHED_THROUGH) {
        None => Sequence::NONE,
        Some(attribute) => sequence(attribute).ok_or_else(|| {
            DecodeError::new(PUBLISHED_THROUGH, "is not a whole number from 0 to 2^53-1")
        })?,
    };
    item.retain(|name, _| !is_reserved_column(name));
    Ok(Cursor {
        published_through,
        context: Some(item),
        blocked,
    })
}

fn read_block(block: &Attributes) -> Result<Block, DecodeError> {
    let text = |name| match block.get(name) {
        Some(Attribute::Text(text)) => Ok(text.clone()),
        _ => Err(DecodeError::new(
            BLOCKED,
            format!("holds no readable {name}"),
        )),
    };
    Ok(Block {
        sequence: block
            .get(BLOCKED_SEQUENCE)
            .and_then(sequence)
            .ok_or_else(|| DecodeError::new(BLOCKED, "holds no readable Sequence"))?,
        row: block
            .contains_key(BLOCKED_ROW)
            .then(|| text(BLOCKED_ROW))
            .transpose()?,
        reason: text(BLOCKED_REASON)?,
        since: Timestamp::parse(&text(BLOCKED_SINCE)?)
            .map_err(|error| DecodeError::new(BLOCKED, format!("Since {error}")))?,
    })
}

fn sequence(attribute: &Attribute) -> Option<Sequence> {
    attribute
        .as_integer()
        .and_then(|n| u64::try_from(n).ok())
        .and_then(Sequence::new)
}
