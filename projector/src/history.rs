//! Writes any number of history items, in calls within `BatchWriteItem`'s limits.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_core::{Attribute, Attributes};
use millrace_runtime::{Ambient, Backoff, ServiceError};

use crate::ports::{MAX_HISTORY_BYTES, MAX_HISTORY_ITEMS, ReadModel};

/// How many calls of one [`put_all`] are in flight at the same time.
const CONCURRENCY: usize = 8;

/// How often items that a call left unprocessed are sent again, with backoff as
/// [`BatchWriteItem`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html)'s
/// page advises.
const MAX_BATCH_TRIES: u32 = 6;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(1),
};

/// The bytes of a request without its items: the JSON around them, and the table's name or ARN, which
/// has at most 1,024 characters.
const FRAME: usize = 2 * 1024;
/// The bytes of an item without its attributes: `{"PutRequest":{"Item":{…}}},`.
const ITEM_FRAME: usize = 27;
/// The bytes of an attribute without its name and value: `:{"S":…},`.
const ATTRIBUTE_FRAME: usize = 8;

/// Puts history items, each of which replaces an item of its key, in as few calls as the service's limits
/// allow, several calls at the same time. Items that a call leaves unprocessed are sent again, and only
/// those.
///
/// # Errors
/// [`ServiceError`]: some of the items may be stored. Putting them again changes nothing.
pub async fn put_all(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    mut items: Vec<Attributes>,
) -> Result<(), ServiceError> {
    let mut calls = Vec::new();
    while !items.is_empty() {
        let rest = items.split_off(call_size(&items));
        calls.push(items);
        items = rest;
    }
    stream::iter(calls)
        .map(|items| put(model, ambient, items))
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

/// How many of the items, from the first, fit into one call; at least one. An item that is too large
/// for a call is also too large for the table, and DynamoDB refuses it.
fn call_size(items: &[Attributes]) -> usize {
    let mut bytes = FRAME;
    let fitting = items
        .iter()
        .take(MAX_HISTORY_ITEMS)
        .take_while(|item| {
            bytes += request_size(item);
            bytes <= MAX_HISTORY_BYTES
        })
        .count();
    fitting.max(1)
}

/// The bytes of an item in a request, in `DynamoDB`'s JSON.
fn request_size(item: &Attributes) -> usize {
    ITEM_FRAME + attributes_size(item)
}

fn attributes_size(attributes: &Attributes) -> usize {
    let sizes = attributes
        .iter()
        .map(|(name, value)| json_size(name) + value_size(value) + ATTRIBUTE_FRAME);
    sizes.sum()
}

fn value_size(value: &Attribute) -> usize {
    match value {
        Attribute::Text(text) | Attribute::Number(text) => json_size(text),
        // The names of these types are three characters longer: `"BOOL":false`, `"NULL":true`.
        Attribute::Bool(_) => 3 + 5,
        Attribute::Null => 3 + 4,
        Attribute::List(elements) => {
            let sizes = elements.iter().map(|it| value_size(it) + ATTRIBUTE_FRAME);
            2 + sizes.sum::<usize>()
        }
        Attribute::Map(members) => 2 + attributes_size(members),
        // The projector writes no such value.
        Attribute::Other(_) => 0,
    }
}

/// The bytes of a JSON string, quotes included.
fn json_size(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0x00..0x20 => 6,
        _ => 1,
    });
    2 + escaped.sum::<usize>()
}

async fn put(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    mut items: Vec<Attributes>,
) -> Result<(), ServiceError> {
    for retry in 0..MAX_BATCH_TRIES {
        items = model.put_history(items).await?;
        if items.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(BACKOFF.delay(retry, ambient)).await;
    }
    Err(ServiceError::new(
        "BatchWriteItem on the history table",
        "each attempt left items unprocessed",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(name: &str, value: &str) -> Attributes {
        [(name.to_owned(), Attribute::text(value))].into()
    }

    /// Items of which each takes so many bytes of a request.
    fn items(sizes: &[usize]) -> Vec<Attributes> {
        let frame = request_size(&item("A", ""));
        sizes
            .iter()
            .map(|size| item("A", &"x".repeat(size - frame)))
            .collect()
    }

    #[test]
    fn a_call_is_filled_to_its_limit_in_bytes_and_no_further() {
        let room = MAX_HISTORY_BYTES - FRAME;
        let half = room / 2;
        assert_eq!(call_size(&items(&[half, room - half, 100])), 2);
        assert_eq!(call_size(&items(&[half, room - half + 1, 100])), 1);
        assert_eq!(call_size(&items(&[room, 100])), 1);
        assert_eq!(call_size(&items(&[room + 1, 100])), 1, "never none");
        assert_eq!(call_size(&items(&[100; 26])), 25);
        assert_eq!(call_size(&items(&[100; 25])), 25);
    }

    #[test]
    fn the_frame_has_room_for_the_longest_table_name() {
        let frame = serde_json::json!({"RequestItems": {"x".repeat(1_024): []}});
        assert!(frame.to_string().len() <= FRAME);
    }

    #[test]
    fn a_request_with_nested_values_is_no_larger_than_is_counted() {
        let members = [
            ("no".to_owned(), Attribute::Bool(false)),
            ("none".to_owned(), Attribute::Null),
        ];
        let list = vec![Attribute::text("x"), Attribute::Map(members.into())];
        let item = [("A".to_owned(), Attribute::List(list))].into();
        let sent = serde_json::json!({"PutRequest": {"Item": {"A": {"L": [
            {"S": "x"}, {"M": {"no": {"BOOL": false}, "none": {"NULL": true}}}
        ]}}}});
        let sent = sent.to_string().len();
        let counted = request_size(&item);
        assert!((sent..sent + 12).contains(&counted), "{sent}, {counted}");
    }

    proptest! {
        #[test]
        fn a_request_has_the_size_that_is_counted(name in any::<String>(), value in any::<String>()) {
            let sent = serde_json::json!({"PutRequest": {"Item": {&name: {"S": &value}}}});
            // A comma is counted after each item, and after each attribute.
            prop_assert_eq!(request_size(&item(&name, &value)), sent.to_string().len() + 2);
        }
    }
}
