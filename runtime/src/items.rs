//! Several items of a `DynamoDB` table in one call: reads by id, and writes that each have a condition of
//! their own.
//!
//! The writes are statements of `PartiQL`. If a write has no statement, or its statement fails for any reason, it is
//! reported as not stored, and the caller saves that item alone. So the call for a single item decides what a conflict
//! or an error means, and a refused item never makes the others fail.

use std::collections::HashMap;
use std::fmt::Write as _;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, BatchStatementResponse,
    KeysAndAttributes,
};
use millrace_core::Attribute;

use crate::dynamodb::{service_error, to_value};
use crate::error::ServiceError;

/// The most characters of a statement
/// ([`BatchStatementRequest`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchStatementRequest.html)).
const MAX_CHARACTERS: usize = 8_192;

/// The memory that is reserved for a statement. Most are shorter.
const USUAL_BYTES: usize = 256;

/// The result of [`read`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Items {
    /// The items that exist, by id.
    pub found: Vec<(String, HashMap<String, AttributeValue>)>,
    /// The ids that the service didn't process in this call. Read them again.
    pub unprocessed: Vec<String>,
}

/// Reads up to 100 items
/// ([`BatchGetItem`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html))
/// of a table whose partition key `key` is a string and which has no sort key. It is one consistent read, which
/// isn't repeated here. `action` names the call in errors.
///
/// # Errors
/// [`ServiceError`]: nothing was read.
pub async fn read(
    client: &Client,
    table: &str,
    key: &str,
    ids: &[&str],
    action: &'static str,
) -> Result<Items, ServiceError> {
    let keys = ids.iter().map(|id| {
        let id = AttributeValue::S((*id).to_owned());
        HashMap::from([(key.to_owned(), id)])
    });
    let request = KeysAndAttributes::builder()
        .consistent_read(true)
        .set_keys(Some(keys.collect()))
        .build()
        .map_err(|error| ServiceError::new(action, error))?;
    let answer = client
        .batch_get_item()
        .request_items(table, request)
        .send()
        .await
        .map_err(|error| service_error(action, error))?;
    let id = |item: &HashMap<String, AttributeValue>| item.get(key)?.as_s().ok().cloned();
    let items = answer.responses.unwrap_or_default().into_values().flatten();
    let unprocessed = answer.unprocessed_keys.unwrap_or_default();
    let unprocessed = unprocessed.values().flat_map(KeysAndAttributes::keys);
    Ok(Items {
        found: items.filter_map(|item| Some((id(&item)?, item))).collect(),
        unprocessed: unprocessed.filter_map(id).collect(),
    })
}

/// A condition on the stored item.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<'a> {
    /// The attribute has this value.
    Equal(&'a str, AttributeValue),
    /// The attribute is of this value's type and not greater.
    AtMost(&'a str, AttributeValue),
    /// The item has no such attribute.
    Missing(&'a str),
}

/// Stores a new item. It fails with `DuplicateItem` if an item with its key exists
/// ([INSERT](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.insert.html)).
///
/// `None`: the statement would be too long, or an attribute's name might need an escape in it.
#[must_use]
pub fn insert(
    table: &str,
    item: impl IntoIterator<Item = (String, Attribute)>,
) -> Option<BatchStatementRequest> {
    let mut statement = Statement::new(format_args!("INSERT INTO \"{table}\" VALUE {{"));
    for (index, (name, value)) in item.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        statement.push(&name, format_args!("{comma}'{name}': ?"));
        statement.parameters.push(to_value(value));
    }
    statement.text.push('}');
    statement.build()
}

/// Changes the item of the table whose partition key is `key`. It creates no item, and fails with
/// `ConditionalCheckFailed` if there is none that meets the conditions
/// ([UPDATE](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.update.html)).
///
/// `None`: as for [`insert`].
#[must_use]
pub fn update<'a>(
    table: &str,
    (key, id): (&str, &str),
    set: impl IntoIterator<Item = (String, Attribute)>,
    removed: impl IntoIterator<Item = &'a str>,
    conditions: impl IntoIterator<Item = Condition<'a>>,
) -> Option<BatchStatementRequest> {
    let mut statement = Statement::new(format_args!("UPDATE \"{table}\""));
    for (name, value) in set {
        statement.push(&name, format_args!(" SET \"{name}\" = ?"));
        statement.parameters.push(to_value(value));
    }
    for name in removed {
        statement.push(name, format_args!(" REMOVE \"{name}\""));
    }
    statement.push(key, format_args!(" WHERE \"{key}\" = ?"));
    statement.parameters.push(AttributeValue::S(id.to_owned()));
    for condition in conditions {
        match condition {
            Condition::Equal(name, value) => {
                statement.push(name, format_args!(" AND \"{name}\" = ?"));
                statement.parameters.push(value);
            }
            Condition::AtMost(name, value) => {
                statement.push(name, format_args!(" AND \"{name}\" <= ?"));
                statement.parameters.push(value);
            }
            Condition::Missing(name) => {
                statement.push(name, format_args!(" AND \"{name}\" IS MISSING"));
            }
        }
    }
    statement.build()
}

/// A statement that isn't complete yet.
struct Statement {
    text: String,
    parameters: Vec<AttributeValue>,
    /// Whether no name can need an escape between quotes.
    has_plain_names: bool,
}

impl Statement {
    fn new(text: std::fmt::Arguments<'_>) -> Self {
        let mut statement = Self {
            text: String::with_capacity(USUAL_BYTES),
            parameters: Vec::new(),
            has_plain_names: true,
        };
        statement.write(text);
        statement
    }

    /// Adds text that contains the name of an attribute.
    fn push(&mut self, name: &str, text: std::fmt::Arguments<'_>) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        self.has_plain_names &= name.bytes().all(is_plain);
        self.write(text);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a String accepts every write");
    }

    fn build(self) -> Option<BatchStatementRequest> {
        if !self.has_plain_names || self.text.len() > MAX_CHARACTERS {
            return None;
        }
        BatchStatementRequest::builder()
            .statement(self.text)
            .set_parameters(Some(self.parameters))
            .build()
            .ok()
    }
}

/// Executes up to 25 statements in one call, which isn't repeated here. Returns for each, in order, whether it had its
/// effect. `None` is an item without a statement: its result is `false`. `action` names the call in errors and logs.
///
/// Each statement has its own result in a response with status 200
/// ([`BatchExecuteStatement`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html)),
/// so the SDK doesn't retry a failed one. A statement without a result in the response counts as failed.
///
/// # Errors
/// [`ServiceError`]: it is unknown which statements had their effect.
pub async fn write(
    client: &Client,
    statements: Vec<Option<BatchStatementRequest>>,
    action: &'static str,
) -> Result<Vec<bool>, ServiceError> {
    let mut is_stored: Vec<bool> = statements.iter().map(Option::is_some).collect();
    let statements: Vec<_> = statements.into_iter().flatten().collect();
    if statements.is_empty() {
        return Ok(is_stored);
    }
    let answer = client
        .batch_execute_statement()
        .set_statements(Some(statements))
        .send()
        .await
        .map_err(|error| service_error(action, error))?;
    // The response has an entry for each statement, in order.
    let mut entries = answer.responses.unwrap_or_default().into_iter();
    for is_stored in is_stored.iter_mut().filter(|is_sent| **is_sent) {
        *is_stored = entries
            .next()
            .is_some_and(|entry| has_succeeded(&entry, action));
    }
    Ok(is_stored)
}

fn has_succeeded(entry: &BatchStatementResponse, action: &'static str) -> bool {
    let Some(error) = &entry.error else {
        return true;
    };
    let code = error.code.as_ref().map(BatchStatementErrorCodeEnum::as_str);
    let is_conflict = matches!(
        error.code,
        Some(
            BatchStatementErrorCodeEnum::ConditionalCheckFailed
                | BatchStatementErrorCodeEnum::DuplicateItem
        )
    );
    if is_conflict {
        tracing::info!(
            action,
            code,
            "the stored item has changed; the new one will be saved alone"
        );
    } else {
        tracing::warn!(
            action,
            code,
            "an item was not saved with others; it will be saved alone"
        );
    }
    false
}
