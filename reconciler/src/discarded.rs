//! Discarded batches: the objects that Lambda writes into the failure bucket.
//!
//! An object contains the whole invocation record: the function, the reason, and under `payload` the
//! event that the function got, as text
//! ([DynamoDB](https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html),
//! [Kinesis](https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html)).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millrace_core::ids::is_reserved_id;
use millrace_core::{Attribute, Sequence, row};
use serde_json::Value;

/// A discarded batch.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscardedBatch {
    /// The function's name.
    pub function: String,
    /// The event that the function got.
    pub payload: Value,
    /// The highest sequence of each aggregate in the batch, of the records whose sequence can be read.
    pub through: BTreeMap<String, Sequence>,
    /// Whether `through` covers every record that the function doesn't skip. Only the function itself can
    /// handle a record whose sequence can't be read.
    pub is_complete: bool,
}

/// Which event a record contains.
enum Position {
    /// Its aggregate, and the sequence that publishing or projecting the record reaches.
    Known(String, Sequence),
    /// The function skips such a record.
    Skipped,
    Unreadable,
}

/// Why an object can't be read as a discarded batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObject {
    /// It isn't JSON.
    #[error("the object isn't JSON")]
    NotJson,
    /// A member is missing, or has another form than Lambda documents.
    #[error("the object's {0} can't be read")]
    Member(&'static str),
}

impl DiscardedBatch {
    /// Reads an object.
    ///
    /// # Errors
    /// [`InvalidObject`] that names the member which can't be read.
    pub fn read(object: &[u8]) -> Result<Self, InvalidObject> {
        let record: Value = serde_json::from_slice(object).map_err(|_| InvalidObject::NotJson)?;
        let arn = record["requestContext"]["functionArn"].as_str();
        let function = arn.and_then(function_name);
        let function = function.ok_or(InvalidObject::Member("requestContext.functionArn"))?;
        let payload = match &record["payload"] {
            Value::String(text) => serde_json::from_str(text).ok(),
            Value::Object(_) => Some(record["payload"].clone()),
            _ => None,
        };
        let payload: Value = payload.ok_or(InvalidObject::Member("payload"))?;
        let records = payload["Records"].as_array();
        let records = records.ok_or(InvalidObject::Member("payload.Records"))?;
        let (mut through, mut is_complete) = (BTreeMap::new(), true);
        for record in records {
            match position(record) {
                Position::Known(id, sequence) => {
                    let highest = through.entry(id).or_insert(Sequence::NONE);
                    *highest = sequence.max(*highest);
                }
                Position::Skipped => {}
                Position::Unreadable => is_complete = false,
            }
        }
        Ok(Self {
            function: function.to_owned(),
            payload,
            through,
            is_complete,
        })
    }
}

/// The function's name in its ARN, which may end with a version or an alias.
#[must_use]
pub fn function_name(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':').skip_while(|part| *part != "function");
    parts.nth(1).filter(|name| !name.is_empty())
}

fn position(record: &Value) -> Position {
    let known = if let Some(data) = record["kinesis"]["data"].as_str() {
        event_position(data)
    } else {
        let keys = &record["dynamodb"]["Keys"];
        let is_reserved = keys[row::ID]["S"].as_str().is_some_and(is_reserved_id);
        if is_reserved || record["eventName"] != "INSERT" {
            return Position::Skipped;
        }
        row_position(keys)
    };
    known.map_or(Position::Unreadable, |(id, sequence)| {
        Position::Known(id, sequence)
    })
}

/// The aggregate and the sequence of a row, by its keys.
fn row_position(keys: &Value) -> Option<(String, Sequence)> {
    let id = keys[row::ID]["S"].as_str()?;
    let version = Attribute::Number(keys[row::VERSION]["N"].as_str()?.to_owned());
    let version = row::version(&[(row::VERSION.to_owned(), version)].into()).ok()?;
    Some((id.to_owned(), version.sequence()))
}

/// The aggregate and the sequence of a domain event in base64.
fn event_position(data: &str) -> Option<(String, Sequence)> {
    let event: Value = serde_json::from_slice(&BASE64.decode(data).ok()?).ok()?;
    let sequence = event["data"]["sequence"].as_u64().and_then(Sequence::new)?;
    Some((event["subject"].as_str()?.to_owned(), sequence))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(payload: &Value) -> Vec<u8> {
        json!({
            "requestContext": {
                "requestId": "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
                "functionArn": "arn:aws:lambda:us-east-2:123456789012:function:translator:3",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 1,
            },
            "version": "1.0",
            "payload": payload.to_string(),
        })
        .to_string()
        .into_bytes()
    }

    fn row(name: &str, id: &str, version: &str) -> Value {
        json!({
            "eventName": name,
            "dynamodb": {"Keys": {"Id": {"S": id}, "Version": {"N": version}}},
        })
    }

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    #[test]
    fn rows_give_the_highest_sequence_of_each_aggregate() {
        let payload = json!({"Records": [
            row("INSERT", "a", "3"),
            row("INSERT", "a", "1"),
            row("INSERT", "b", "2"),
            row("REMOVE", "c", "1"),
            row("INSERT", "\u{1}millrace", "0"),
        ]});
        let batch = DiscardedBatch::read(&object(&payload)).expect("a batch");
        assert!(batch.is_complete);
        assert_eq!(batch.function, "translator");
        assert_eq!(batch.payload, payload);
        // Version 2 is a snapshot: its event is the first.
        let expected = [("a".to_owned(), sequence(2)), ("b".to_owned(), sequence(1))];
        assert_eq!(batch.through, expected.into());
    }

    #[test]
    fn events_give_the_highest_sequence_of_each_subject() {
        let event = |subject: &str, sequence: u64| {
            let event = json!({"subject": subject, "data": {"sequence": sequence}});
            json!({"kinesis": {"data": BASE64.encode(event.to_string())}})
        };
        let foreign = json!({"kinesis": {"data": BASE64.encode("no event")}});
        let payload = json!({"Records": [event("a", 8), event("a", 7), foreign, event("b", 1)]});
        let batch = DiscardedBatch::read(&object(&payload)).expect("a batch");
        let expected = [("a".to_owned(), sequence(8)), ("b".to_owned(), sequence(1))];
        assert_eq!(batch.through, expected.into());
        assert!(!batch.is_complete, "one record is no event");
    }

    #[test]
    fn a_row_whose_sequence_cannot_be_read_makes_a_batch_incomplete() {
        for unreadable in [row("INSERT", "d", "1.5"), json!({"eventName": "INSERT"})] {
            let payload = json!({"Records": [row("INSERT", "a", "1"), unreadable]});
            let batch = DiscardedBatch::read(&object(&payload)).expect("a batch");
            assert!(!batch.is_complete, "{payload}");
            assert_eq!(batch.through, [("a".to_owned(), sequence(1))].into());
        }
    }

    #[test]
    fn what_is_no_discarded_batch_is_named() {
        let read = |object: Value| DiscardedBatch::read(object.to_string().as_bytes());
        let not_json = DiscardedBatch::read(b"no JSON");
        assert_eq!(not_json, Err(InvalidObject::NotJson));
        let no_function = Err(InvalidObject::Member("requestContext.functionArn"));
        assert_eq!(read(json!({})), no_function);
        let context = json!({"functionArn": "arn:aws:lambda:eu-west-1:1:function:f"});
        let no_payload = read(json!({"requestContext": context}));
        assert_eq!(no_payload, Err(InvalidObject::Member("payload")));
        let no_records = read(json!({"requestContext": context, "payload": "{}"}));
        assert_eq!(no_records, Err(InvalidObject::Member("payload.Records")));
        let empty = read(json!({"requestContext": context, "payload": {"Records": []}}));
        assert_eq!(empty.expect("a batch").through, BTreeMap::new());
    }
}
