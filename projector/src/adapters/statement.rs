//! Statements of `PartiQL` that save a view item on a condition.
//!
//! `INSERT` stores an item only if there is none of its key, and `UPDATE` changes an item only if it exists
//! and has the revision that was read
//! ([insert](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.insert.html),
//! [update](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.update.html)).
//! Every write gives an item a new revision, so an item of this revision is the one that was read, and the
//! attributes that differ are all there is to change.

use std::fmt::Write as _;

use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest};
use millrace_core::{Attribute, Attributes, view};
use millrace_runtime::dynamodb::to_value;

use crate::ports::{REVISION, ViewSave};

/// The most characters of a statement
/// ([BatchStatementRequest](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchStatementRequest.html)).
const MAX_CHARACTERS: usize = 8_192;

/// The memory that is reserved for a statement. Most are shorter.
const USUAL_BYTES: usize = 256;

/// The statement that saves an item of the table; `None` if the item has to be saved in another way,
/// because the statement would be too long, an attribute's name might need an escape in it, or the item
/// that was read has no revision.
pub(super) fn save(table: &str, save: ViewSave) -> Option<BatchStatementRequest> {
    let ViewSave { item, read } = save;
    let mut names = item.keys().chain(read.iter().flat_map(Attributes::keys));
    if !names.all(|name| is_plain(name)) {
        return None;
    }
    let (statement, parameters) = match read {
        None => insert(table, item),
        Some(read) => update(table, item, &read)?,
    };
    if statement.len() > MAX_CHARACTERS {
        return None;
    }
    let request = BatchStatementRequest::builder()
        .statement(statement)
        .set_parameters(Some(parameters));
    request.build().ok()
}

/// Whether a name between quotes is the attribute's name for certain.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn insert(table: &str, item: Attributes) -> (String, Vec<AttributeValue>) {
    let mut statement = String::with_capacity(USUAL_BYTES);
    push(
        &mut statement,
        format_args!("INSERT INTO \"{table}\" VALUE {{"),
    );
    let mut parameters = Vec::with_capacity(item.len());
    for (name, value) in item {
        let comma = if parameters.is_empty() { "" } else { "," };
        push(&mut statement, format_args!("{comma}'{name}':?"));
        parameters.push(to_value(value));
    }
    statement.push('}');
    (statement, parameters)
}

/// `None` if the new item has no id, or the item that was read no revision.
fn update(
    table: &str,
    mut item: Attributes,
    read: &Attributes,
) -> Option<(String, Vec<AttributeValue>)> {
    let id = item.remove(view::ID)?;
    let Some(Attribute::Text(revision)) = read.get(REVISION) else {
        return None;
    };
    let mut statement = String::with_capacity(USUAL_BYTES);
    push(&mut statement, format_args!("UPDATE \"{table}\""));
    let removed = read
        .keys()
        .filter(|name| !item.contains_key(*name) && *name != view::ID);
    let removed: Vec<&String> = removed.collect();
    let mut parameters = Vec::with_capacity(item.len() + 2);
    for (name, value) in item {
        if read.get(&name) != Some(&value) {
            push(&mut statement, format_args!(" SET \"{name}\"=?"));
            parameters.push(to_value(value));
        }
    }
    for name in removed {
        push(&mut statement, format_args!(" REMOVE \"{name}\""));
    }
    let (key, condition) = (view::ID, REVISION);
    push(
        &mut statement,
        format_args!(" WHERE \"{key}\"=? AND \"{condition}\"=?"),
    );
    parameters.push(to_value(id));
    parameters.push(AttributeValue::S(revision.clone()));
    Some((statement, parameters))
}

fn push(statement: &mut String, text: std::fmt::Arguments<'_>) {
    statement
        .write_fmt(text)
        .expect("a String accepts every write");
}
