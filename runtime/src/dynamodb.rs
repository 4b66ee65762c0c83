//! Converts between core's plain attributes and the SDK's, and reads rows of the events table.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_core::settings::{ROW_ID, ROW_VERSION};
use millrace_core::{Attribute, Attributes, row};

use crate::error::ServiceError;

/// The error of a failed call. A call whose content `DynamoDB` refuses, such as an item that is too large,
/// is a [permanent](ServiceError::is_permanent) one
/// ([errors](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html)).
pub fn service_error<E>(action: &'static str, error: SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error.code() {
        Some(code @ "ValidationException") => ServiceError::permanent(action, code),
        _ => ServiceError::new(action, error),
    }
}

/// The item of the events table that contains the settings, read consistently; `None` until the
/// writer has started for the first time.
///
/// # Errors
/// [`ServiceError`]: nothing was read.
pub async fn stored_settings(
    client: &Client,
    events_table: &str,
) -> Result<Option<Attributes>, ServiceError> {
    let version = ROW_VERSION.to_string();
    let action = "GetItem of the settings";
    stored_row(client, events_table, ROW_ID, version, action).await
}

/// A row of the events table, read consistently in one call that isn't retried here; `None` where
/// there is none. `version` is the row's `Version` as stored, `action` what an error calls the call.
///
/// # Errors
/// [`ServiceError`]: nothing was read.
pub async fn stored_row(
    client: &Client,
    events_table: &str,
    id: impl Into<String>,
    version: impl Into<String>,
    action: &'static str,
) -> Result<Option<Attributes>, ServiceError> {
    let answer = client
        .get_item()
        .table_name(events_table)
        .consistent_read(true)
        .key(row::ID, AttributeValue::S(id.into()))
        .key(row::VERSION, AttributeValue::N(version.into()))
        .send()
        .await
        .map_err(|error| service_error(action, error))?;
    Ok(answer.item.map(from_item))
}

/// An item as the SDK takes it.
///
/// # Panics
/// On [`Attribute::Other`], a value of a type that isn't kept on reading. The functions never write one.
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
        Attribute::Bool(value) => AttributeValue::Bool(value),
        Attribute::Null => AttributeValue::Null(true),
        Attribute::List(list) => AttributeValue::L(list.into_iter().map(to_value).collect()),
        Attribute::Map(map) => AttributeValue::M(to_item(map)),
        Attribute::Other(name) => unreachable!("the domain writes no {name}"),
    }
}

/// An item as the domain reads it. Sets and binary values are kept by the name of their type.
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
        AttributeValue::Bool(value) => Attribute::Bool(value),
        AttributeValue::Null(_) => Attribute::Null,
        AttributeValue::L(list) => Attribute::List(list.into_iter().map(from_value).collect()),
        AttributeValue::M(map) => Attribute::Map(from_item(map)),
        AttributeValue::B(_) => Attribute::Other("B"),
        AttributeValue::Bs(_) => Attribute::Other("BS"),
        AttributeValue::Ns(_) => Attribute::Other("NS"),
        AttributeValue::Ss(_) => Attribute::Other("SS"),
        _ => Attribute::Other("a type that this SDK doesn't know"),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
    use aws_sdk_dynamodb::primitives::Blob;
    use aws_smithy_mocks::{mock, mock_client};

    use super::*;

    #[test]
    fn every_type_that_a_domain_stores_goes_both_ways() {
        let map = [("Null".to_owned(), Attribute::Null)].into();
        let list = Attribute::List(vec![Attribute::Bool(true), Attribute::Map(map)]);
        let attributes: Attributes = [
            ("S".to_owned(), Attribute::text("x")),
            ("N".to_owned(), Attribute::number(7)),
            ("L".to_owned(), list),
        ]
        .into();
        assert_eq!(from_item(to_item(attributes.clone())), attributes);
    }

    #[test]
    fn lists_maps_and_booleans_are_written() {
        let map = [("Null".to_owned(), Attribute::Null)].into();
        let list = Attribute::List(vec![Attribute::Bool(true), Attribute::Map(map)]);
        let map = [("Null".to_owned(), AttributeValue::Null(true))].into();
        assert_eq!(
            to_value(list),
            AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::M(map)])
        );
    }

    #[test]
    fn other_types_are_kept_by_name() {
        for (value, name) in [
            (AttributeValue::Ss(Vec::new()), "SS"),
            (AttributeValue::Ns(Vec::new()), "NS"),
            (AttributeValue::Bs(Vec::new()), "BS"),
            (AttributeValue::B(Blob::new([0])), "B"),
        ] {
            assert_eq!(from_value(value), Attribute::Other(name));
        }
    }

    #[tokio::test]
    async fn the_settings_are_one_item_of_the_events_table_read_consistently() {
        let read = |item: Option<&'static str>| {
            let rule = mock!(Client::get_item)
                .match_requests(|request| {
                    let key = [
                        ("Id".to_owned(), AttributeValue::S(ROW_ID.to_owned())),
                        ("Version".to_owned(), AttributeValue::N("0".to_owned())),
                    ];
                    request.table_name() == Some("events")
                        && request.consistent_read() == Some(true)
                        && request.key() == Some(&key.into())
                })
                .then_output(move || {
                    let value = item.map(|value| AttributeValue::S(value.to_owned()));
                    let item = value.map(|value| [("DefaultCurrency".to_owned(), value)].into());
                    GetItemOutput::builder().set_item(item).build()
                });
            async move {
                let client = mock_client!(aws_sdk_dynamodb, [&rule]);
                stored_settings(&client, "events").await.expect("read")
            }
        };
        assert_eq!(read(None).await, None);
        let expected = [("DefaultCurrency".to_owned(), Attribute::text("EUR"))];
        assert_eq!(read(Some("EUR")).await, Some(expected.into()));
    }
}
