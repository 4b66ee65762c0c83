//! What `cargo bench -p millrace-benches --bench report` measures: the work of the functions between their service
//! calls, each next to the usual way to do it. [`works`] lists it:
//!
//! * [`one_pass`] and [`peer`]: from the bytes with which Lambda invokes the translator to typed rows, and on to
//!   the public events' bytes;
//! * [`plan`]: the translator's handler, to the records that it puts and the cursors that it saves;
//! * [`project`]: from the bytes with which Lambda invokes the projector to the items of the read model;
//! * [`decide`]: what the writer does between its two calls.
//!
//! All ways to do a piece of work must have the same result; a test and the benchmark check it.
//!
//! `cargo bench -p millrace-benches --bench from_outside` measures the functions from outside: a function's release
//! binary runs as on Lambda, with a mock of Lambda's runtime API and mocks of the AWS services, whose
//! latencies and failures are set:
//!
//! * [`batch`]: the invocations' events;
//! * [`services`]: the mocks of DynamoDB and Kinesis, which count calls and check the order on the stream;
//! * [`runtime_api`]: the mock of Lambda's runtime API;
//! * [`function`]: the process of a function, its CPU time and memory;
//! * [`http`]: the HTTP server of the mocks.

mod ambient;
pub mod batch;
pub mod decide;
pub mod function;
pub mod http;
pub mod one_pass;
pub mod peer;
pub mod plan;
pub mod project;
pub mod runtime_api;
pub mod services;
pub mod tls;
pub mod works;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millrace_core::{Attribute, Attributes, Domain as _, Envelope, StoredRow, StoredRowOf};
use millrace_domain::money::Currency;
use millrace_domain::{Accounts, Context, Event};
use serde_dynamo::{AttributeValue, Item};

/// The currency of all accounts.
const CURRENCY: &str = "EUR";

/// The first part of a UUID.
const UUID: &str = "6ba7b810-9dad-11d1-80b4-";

/// The public events' bytes in their order, by aggregate.
pub type Published = BTreeMap<String, Vec<Vec<u8>>>;

/// An event of a `DynamoDB` stream with so many records of credits to so many accounts, as Lambda delivers it. A
/// record has 861 bytes.
#[must_use]
pub fn stream_event(records: usize, accounts: usize) -> String {
    let mut json = r#"{"Records":["#.to_owned();
    for number in 0..records {
        if number > 0 {
            json.push(',');
        }
        write_record(&mut json, number, accounts);
    }
    json.push_str("]}");
    json
}

fn write_record(json: &mut String, number: usize, accounts: usize) {
    // Neighbours belong to different accounts, as in a stream of many writers.
    let account = number.wrapping_mul(2_654_435_761) % accounts;
    let id = format!("0d4f8a52-6c0e-4a52-9d56-1f0d8e{account:06x}");
    // Row 3 is the first event after the opening and the snapshot.
    let (version, sequence) = (3, 2);
    let second = number % 60;
    // DynamoDB sends an item's attributes in no particular order.
    let written = write!(
        json,
        r#"{{"eventID":"c4ca4238a0b923820dcc509a{number:08x}","eventName":"INSERT","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"eu-north-1","dynamodb":{{"ApproximateCreationDateTime":1800000000,"Keys":{{"Id":{{"S":"{id}"}},"Version":{{"N":"{version}"}}}},"NewImage":{{"Type":{{"S":"CREDIT"}},"CausationId":{{"S":"{UUID}{number:012x}"}},"Version":{{"N":"{version}"}},"Amount":{{"N":"{amount}"}},"Id":{{"S":"{id}"}},"Timestamp":{{"S":"2026-11-20T21:03:{second:02}.123Z"}},"CorrelationId":{{"S":"{UUID}{number:012x}"}},"SchemaVersion":{{"N":"1"}},"CommandId":{{"S":"{UUID}{number:012x}"}},"Sequence":{{"N":"{sequence}"}}}},"SequenceNumber":"{number:021}","SizeBytes":375,"StreamViewType":"NEW_IMAGE"}},"eventSourceARN":"arn:aws:dynamodb:eu-north-1:123456789012:table/events/stream/2026-01-01T00:00:00.000"}}"#,
        amount = 1_000 + number,
    );
    written.expect("a String accepts every write");
}

/// The domain, and the context after an account's opening.
fn accounts() -> (Accounts, Context) {
    let accounts = Accounts {
        default_currency: Currency::stored(CURRENCY).expect("a currency"),
    };
    let opened = Event::AccountCreated {
        currency: accounts.default_currency,
    };
    let mut context = Context::default();
    let public = Accounts::publish(&mut context, &opened);
    assert!(public.is_some(), "an opening lacks nothing");
    (accounts, context)
}

/// The bytes of the rows' public events.
fn published<T: AsRef<str> + Clone>(rows: &[StoredRowOf<Accounts, T>]) -> Vec<Vec<u8>> {
    let (_, mut context) = accounts();
    let events = rows.iter().map(|row| {
        let StoredRow::Event(event) = row else {
            panic!("a row is an event")
        };
        let envelope = Envelope::publish::<Accounts>(&mut context, event);
        let bytes = envelope.expect("complete").to_bytes::<Accounts>();
        bytes.expect("has a form")
    });
    events.collect()
}

/// The public events of rows, by aggregate.
fn published_by_aggregate(stream_event: &[u8]) -> Published {
    let rows = one_pass::decode(stream_event);
    let events = published(&rows);
    let mut published = Published::new();
    for (row, event) in rows.iter().zip(events) {
        let StoredRow::Event(row) = row else {
            panic!("a row is an event")
        };
        let events = published.entry(row.id.to_string()).or_default();
        events.push(event);
    }
    published
}

/// A row as an item of `serde_dynamo`.
fn item(row: &Attributes) -> Item {
    let attributes = row.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => AttributeValue::S(text.clone()),
            Attribute::Number(number) => AttributeValue::N(number.clone()),
            other => panic!("a row has no {other:?}"),
        };
        (name.clone(), value)
    });
    attributes
        .collect::<std::collections::HashMap<_, _>>()
        .into()
}

/// An item of `serde_dynamo` as attributes.
fn attributes(item: Item) -> Attributes {
    let attributes = item.into_inner().into_iter();
    let attributes = attributes.map(|(name, value)| {
        let value = match value {
            AttributeValue::S(text) => Attribute::Text(text),
            AttributeValue::N(number) => Attribute::Number(number),
            other => panic!("an item has no {other:?}"),
        };
        (name, value)
    });
    attributes.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_record_has_the_size_that_the_figures_are_for() {
        assert_eq!(
            super::stream_event(100, 10).len() / 100,
            862,
            "861 bytes and a comma"
        );
    }

    #[test]
    fn all_ways_have_the_same_result() {
        super::works::check(100, 10);
    }
}
