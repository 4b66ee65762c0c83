//! [`EventRows`] on the events table, and [`CursorStore`] on the cursor table.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure as OnFailure,
};
use millrace_core::cursor::{
    BLOCKED, ID, PARKED, PUBLISHED_THROUGH, SUSPENDED_IN, SUSPENDED_SINCE, is_reserved_column,
};
use millrace_core::{
    Attribute, Attributes, DecodeError, Sequence, Timestamp, Version, row, spread,
};
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::{from_item, service_error, stored_row, to_item, to_value};
use millrace_runtime::items::{self, Condition};

use crate::cursor::{Block, Cursor, Parked, Suspension};
use crate::ports::{Advance, CursorStore, EventRows, Loaded, MAX_PAGE_ROWS, Page, Saved};

const BLOCKED_SEQUENCE: &str = "Sequence";
const BLOCKED_ROW: &str = "Row";
const BLOCKED_REASON: &str = "Reason";
const SINCE: &str = "Since";
const PARKED_THROUGH: &str = "Through";

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
        let read = items::read(&self.client, &self.table, ID, aggregates, ACTION).await?;
        let found = read.found.into_iter();
        Ok(Loaded {
            found: found
                .map(|(aggregate, item)| (aggregate, read_cursor(item)))
                .collect(),
            unprocessed: read.unprocessed,
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
        // Another invocation may raise a parked aggregate's marker while this one advances the cursor.
        let keeps_parked = cursor.parked().is_some() && cursor.suspended == read.suspended;
        let same_marker = match &read.suspended {
            None => {
                format!("attribute_not_exists({BLOCKED}) AND attribute_not_exists({PARKED})")
            }
            Some(_) if keeps_parked => format!("attribute_exists({PARKED})"),
            Some(read) => {
                let (name, value) = marker(read);
                request = request.expression_attribute_values(":read", value);
                format!("{name} = :read")
            }
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
        for (index, name) in cursor.dropped_columns(read).enumerate() {
            remove.push(format!("#dropped{index}"));
            request = request.expression_attribute_names(format!("#dropped{index}"), name);
        }
        if !keeps_parked {
            let change = MarkerChange::to(aggregate, cursor.suspended.as_ref());
            set.extend(change.set);
            remove.extend(change.remove.into_iter().map(str::to_owned));
            for (name, value) in change.values {
                request = request.expression_attribute_values(name, value);
            }
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update = format!("{update} REMOVE {}", remove.join(", "));
        }
        let is_ahead = cursor.blocked().is_some_and(Block::is_cursor_ahead);
        let position = if is_ahead {
            format!("{PUBLISHED_THROUGH} = :through")
        } else {
            format!(
                "(attribute_not_exists({PUBLISHED_THROUGH}) OR {PUBLISHED_THROUGH} <= :through)"
            )
        };
        let saving = request
            .update_expression(update)
            .condition_expression(format!("{position} AND {same_marker}"))
            .send();
        let Err(error) = saving.await else {
            return Ok(Saved::Stored);
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let stored = failed.item().and_then(published_through);
                let contains =
                    cursor.suspended.is_none() && stored >= Some(cursor.published_through);
                Ok(if contains {
                    Saved::Stored
                } else {
                    Saved::Changed
                })
            }
            _ => Err(service_error(ACTION, error)),
        }
    }

    async fn advance(&self, advances: &[Advance<'_>]) -> Result<Vec<bool>, ServiceError> {
        const ACTION: &str = "BatchExecuteStatement on the cursor table";
        let statements = advances.iter().map(|advance| self.statement(advance));
        items::write(&self.client, statements.collect(), ACTION).await
    }

    async fn mark(&self, aggregate: &str, block: &Block) -> Result<(), ServiceError> {
        let suspension = Suspension::Blocked(block.clone());
        let change = MarkerChange::to(aggregate, Some(&suspension));
        let (set, remove) = (change.set.join(", "), change.remove.join(", "));
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Self::key(aggregate)))
            .update_expression(format!("SET {set} REMOVE {remove}"))
            .set_expression_attribute_values(Some(change.values))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| service_error("UpdateItem on the cursor table", error))
    }
}

impl CursorTable {
    /// The statement that stores a cursor which only advances: a new one, or one that isn't ahead and
    /// isn't suspended.
    fn statement(&self, advance: &Advance<'_>) -> Option<BatchStatementRequest> {
        let Advance {
            aggregate, cursor, ..
        } = advance;
        let through = Attribute::number(cursor.published_through.get());
        let context = cursor.context.clone().unwrap_or_default();
        let through = (PUBLISHED_THROUGH.to_owned(), through);
        if advance.is_new() {
            let id = (ID.to_owned(), Attribute::text(*aggregate));
            return items::insert(&self.table, [id, through].into_iter().chain(context));
        }
        let conditions = [
            Condition::AtMost(PUBLISHED_THROUGH, to_value(through.1.clone())),
            Condition::Missing(BLOCKED),
            Condition::Missing(PARKED),
        ];
        let set = std::iter::once(through).chain(context);
        items::update(&self.table, (ID, aggregate), set, [], conditions)
    }
}

/// The part of an update that makes a marker the only one, with the attributes of the index of suspended
/// aggregates; or that removes all of them.
struct MarkerChange {
    set: Vec<String>,
    remove: Vec<&'static str>,
    values: HashMap<String, AttributeValue>,
}

impl MarkerChange {
    fn to(aggregate: &str, suspended: Option<&Suspension>) -> Self {
        let Some(suspended) = suspended else {
            return Self {
                set: Vec::new(),
                remove: vec![BLOCKED, PARKED, SUSPENDED_IN, SUSPENDED_SINCE],
                values: HashMap::new(),
            };
        };
        let other = match suspended {
            Suspension::Blocked(_) => PARKED,
            Suspension::Parked(_) => BLOCKED,
        };
        let mut change = Self {
            set: Vec::new(),
            remove: vec![other],
            values: HashMap::new(),
        };
        for (index, (name, value)) in marker_attributes(aggregate, suspended).enumerate() {
            change.set.push(format!("{name} = :marker{index}"));
            change.values.insert(format!(":marker{index}"), value);
        }
        change
    }
}

/// The attributes of a suspended cursor's item: the marker, and the key of the index of suspended
/// aggregates.
pub fn marker_attributes(
    aggregate: &str,
    suspended: &Suspension,
) -> impl Iterator<Item = (&'static str, AttributeValue)> {
    let kind = match suspended {
        Suspension::Blocked(_) => "blocked",
        Suspension::Parked(_) => "parked",
    };
    let key = spread::index_key(kind, spread::partition(aggregate));
    let since = suspended.since().to_string();
    [
        marker(suspended),
        (SUSPENDED_IN, AttributeValue::S(key)),
        (SUSPENDED_SINCE, AttributeValue::S(since)),
    ]
    .into_iter()
}

/// The name and the value of a marker's attribute.
fn marker(suspended: &Suspension) -> (&'static str, AttributeValue) {
    match suspended {
        Suspension::Blocked(block) => (BLOCKED, block_value(block)),
        Suspension::Parked(parked) => (PARKED, parked_value(parked)),
    }
}

fn parked_value(parked: &Parked) -> AttributeValue {
    let attributes: Attributes = [
        (PARKED_THROUGH, Attribute::number(parked.through.get())),
        (SINCE, Attribute::text(parked.since)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    AttributeValue::M(to_item(attributes))
}

/// A block as the cursor's item contains it, in the attribute [`BLOCKED`].
fn block_value(block: &Block) -> AttributeValue {
    let mut attributes: Attributes = [
        (BLOCKED_SEQUENCE, Attribute::number(block.sequence.get())),
        (BLOCKED_REASON, Attribute::text(&block.reason)),
        (SINCE, Attribute::text(block.since)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(row) = &block.row {
        attributes.insert(BLOCKED_ROW.to_owned(), Attribute::text(row));
    }
    AttributeValue::M(to_item(attributes))
}

/// The sequence of a stored cursor; `None` if it can't be read.
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
    // A function of the previous release, which knows no parked aggregates, may have added a block.
    let parked = read_marker(item.remove(PARKED), PARKED, read_parked)?.map(Suspension::Parked);
    let blocked = read_marker(item.remove(BLOCKED), BLOCKED, read_block)?.map(Suspension::Blocked);
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
        suspended: blocked.or(parked),
    })
}

fn read_marker<T>(
    stored: Option<AttributeValue>,
    name: &str,
    read: impl FnOnce(&Attributes) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match stored {
        None => Ok(None),
        Some(AttributeValue::M(map)) => read(&from_item(map)).map(Some),
        Some(_) => Err(DecodeError::new(name, "is not of type M")),
    }
}

fn read_parked(parked: &Attributes) -> Result<Parked, DecodeError> {
    let through = parked.get(PARKED_THROUGH).and_then(sequence);
    let since = match parked.get(SINCE) {
        Some(Attribute::Text(since)) => Timestamp::parse(since).ok(),
        _ => None,
    };
    Ok(Parked {
        through: through.ok_or_else(|| DecodeError::new(PARKED, "contains no readable Through"))?,
        since: since.ok_or_else(|| DecodeError::new(PARKED, "contains no readable Since"))?,
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
        since: Timestamp::parse(&text(SINCE)?)
            .map_err(|error| DecodeError::new(BLOCKED, format!("Since {error}")))?,
    })
}

fn sequence(attribute: &Attribute) -> Option<Sequence> {
    attribute
        .as_integer()
        .and_then(|n| u64::try_from(n).ok())
        .and_then(Sequence::new)
}
