//! Between the domain's plain attributes and the SDK's.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_domain::settings::{ROW_ID, ROW_VERSION};
use millrace_domain::{Attribute, Attributes, row};

use crate::error::ServiceError;

/// The item of the events table that contains the settings, read consistently; `None` until the
/// writer has started for the first time.
///
/// # Errors
/// [`ServiceError`]: nothing was read.
pub async fn stored_settings(
    client: &Client,
    events_table: &str,
) -> Result<Option<Attributes>, ServiceError> {
    let answer = client
        .get_item()
        .table_name(events_table)
        .consistent_read(true)
        .key(row::ID, AttributeValue::S(ROW_ID.to_owned()))
        .key(row::VERSION, AttributeValue::N(ROW_VERSION.to_string()))
        .send()
        .await
        .map_err(|error| ServiceError::new("GetItem of the settings", error))?;
    Ok(answer.item.map(from_item))
}

/// An item as the SDK takes it.
///
/// # Panics
/// On [`Attribute::Other`], which stands for a value that was read and not understood; the domain
/// never writes one.
#[must_use]
pub fn to_item(attributes: Attributes) -> HashMap<String, AttributeValue> {
    attributes
        .into_iter()
        .map(|(name, value)| (name, to_value(value)))
        .collect()
}

/// A value as the SDK takes it.
///
/// # Panics
/// Like [`to_item`].
#[must_use]
pub fn to_value(attribute: Attribute) -> AttributeValue {
    match attribute {
        Attribute::Text(text) => AttributeValue::S(text),
        Attribute::Number(number) => AttributeValue::N(number),
        Attribute::Other(name) => unreachable!("the domain writes no {name}"),
    }
}

/// An item as the domain reads it.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "the SDK hands out this very type")]
pub fn from_item(item: HashMap<String, AttributeValue>) -> Attributes {
    item.into_iter()
        .map(|(name, value)| (name, from_value(value)))
        .collect()
}

fn from_value(value: AttributeValue) -> Attribute {
    match value {
        AttributeValue::S(text) => Attribute::Text(text),
        AttributeValue::N(number) => Attribute::Number(number),
        AttributeValue::B(_) => Attribute::Other("B"),
        AttributeValue::Bool(_) => Attribute::Other("BOOL"),
        AttributeValue::Bs(_) => Attribute::Other("BS"),
        AttributeValue::L(_) => Attribute::Other("L"),
        AttributeValue::M(_) => Attribute::Other("M"),
        AttributeValue::Ns(_) => Attribute::Other("NS"),
        AttributeValue::Null(_) => Attribute::Other("NULL"),
        AttributeValue::Ss(_) => Attribute::Other("SS"),
        _ => Attribute::Other("a type that this SDK doesn't know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_go_both_ways() {
        let attributes: Attributes = [
            ("S".to_owned(), Attribute::text("x")),
            ("N".to_owned(), Attribute::number(7)),
        ]
        .into();
        assert_eq!(from_item(to_item(attributes.clone())), attributes);
    }

    #[test]
    fn other_types_are_kept_by_name() {
        for (value, name) in [
            (AttributeValue::Bool(true), "BOOL"),
            (AttributeValue::Null(true), "NULL"),
            (AttributeValue::L(Vec::new()), "L"),
            (AttributeValue::M(HashMap::new()), "M"),
            (AttributeValue::Ss(Vec::new()), "SS"),
            (AttributeValue::Ns(Vec::new()), "NS"),
            (AttributeValue::Bs(Vec::new()), "BS"),
        ] {
            assert_eq!(from_value(value), Attribute::Other(name));
        }
    }
}
