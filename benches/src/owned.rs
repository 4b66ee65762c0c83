//! The way of the previous release: an item of owned values between the parsed event and the typed row.
//! The conversion to the AWS SDK's type, which came in between, is left out.

use aws_lambda_events::dynamodb::Event;
use millrace_core::{Attribute, Attributes, StoredRow, StoredRowOf};
use millrace_domain::Accounts;
use serde_dynamo::{AttributeValue, Item};

use crate::peer::parse_as_lambda_runtime;
use crate::{accounts, published};

/// The rows of an event.
///
/// # Panics
/// If the event isn't one of [`stream_event`](crate::stream_event).
#[must_use]
pub fn decode(json: &[u8]) -> Vec<StoredRowOf<Accounts>> {
    let (accounts, _) = accounts();
    let event: Event = parse_as_lambda_runtime(json);
    let rows = event.records.iter().map(|record| {
        let mut image = from_item(record.change.keys.clone());
        image.extend(from_item(record.change.new_image.clone()));
        StoredRow::read(&accounts, &image).expect("a row")
    });
    rows.collect()
}

/// The bytes of the public events.
///
/// # Panics
/// Like [`decode`].
#[must_use]
pub fn translate(json: &[u8]) -> Vec<Vec<u8>> {
    published(&decode(json))
}

fn from_item(item: Item) -> Attributes {
    let attributes = item.into_inner().into_iter();
    let attributes = attributes.map(|(name, value)| {
        let value = match value {
            AttributeValue::S(text) => Attribute::Text(text),
            AttributeValue::N(number) => Attribute::Number(number),
            other => panic!("a row has no {other:?}"),
        };
        (name, value)
    });
    attributes.collect()
}
