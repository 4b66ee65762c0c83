//! Invokes a consumer as Lambda does: the batch of a Kinesis mapping, and the consumer's response to it.
//!
//! A consumer doesn't distinguish such a batch from one of the mapping. The crate `millrace-consumer` is
//! the consumer's side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_core::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The most events of one invocation.
pub const MAX_EVENTS: usize = 500;
/// The most bytes of their data, before base64. A synchronous invocation takes 6 MB
/// ([limits](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)).
pub const MAX_EVENT_BYTES: usize = 3 * 1024 * 1024;

/// A record as Lambda delivers it from a Kinesis stream
/// ([example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html)).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord<'a> {
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: &'static str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    event_version: &'static str,
    invoke_identity_arn: &'static str,
    aws_region: &'a str,
    kinesis: StreamRecord<'a>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamRecord<'a> {
    kinesis_schema_version: &'static str,
    partition_key: &'a str,
    sequence_number: String,
    data: String,
    approximate_arrival_timestamp: f64,
}

/// What the record of an event contains.
#[derive(Debug, Clone)]
pub struct Delivered<'a> {
    /// The program that delivers it, which begins the record's `eventID`. Lambda's own ids begin with a
    /// shard.
    pub by: &'a str,
    /// The ARN of the stream; empty if the consumer doesn't read it.
    pub stream: &'a str,
    /// The aggregate's id.
    pub aggregate: &'a str,
    /// The sequence number, with which a partial batch response reports the record. No other record of the
    /// batch has it.
    pub sequence_number: String,
    /// The event's bytes.
    pub data: &'a [u8],
    /// When it was delivered.
    pub at: Timestamp,
}

impl<'a> EventRecord<'a> {
    /// The record of an event.
    #[must_use]
    pub fn new(delivered: Delivered<'a>) -> Self {
        let Delivered {
            by,
            stream,
            aggregate,
            sequence_number,
            data,
            at,
        } = delivered;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time in milliseconds has fewer bits"
        )]
        let seconds = at.unix_millis() as f64 / 1_000.0;
        Self {
            event_id: format!("{by}:{sequence_number}"),
            event_name: "aws:kinesis:record",
            event_source: "aws:kinesis",
            event_source_arn: stream,
            event_version: "1.0",
            invoke_identity_arn: "",
            // arn:aws:kinesis:REGION:ACCOUNT:stream/NAME
            aws_region: stream.split(':').nth(3).unwrap_or_default(),
            kinesis: StreamRecord {
                kinesis_schema_version: "1.0",
                partition_key: aggregate,
                sequence_number,
                data: STANDARD.encode(data),
                approximate_arrival_timestamp: seconds,
            },
        }
    }
}

/// The event of an invocation with these records, as JSON.
///
/// # Panics
/// Never: every member has a form in JSON.
#[must_use]
pub fn batch(records: &[EventRecord<'_>]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Batch<'a> {
        records: &'a [EventRecord<'a>],
    }
    serde_json::to_string(&Batch { records }).expect("strings and numbers have a form in JSON")
}

/// The position of the first record that a response reports as incomplete; `None` if it reports none. Lambda
/// would deliver this record and all later ones again.
///
/// A response without a list of failures reports success, and an identifier that no record has reports the
/// whole batch
/// ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html)).
/// `sequence_numbers` are those of the records, in order.
#[must_use]
pub fn first_incomplete<T: AsRef<str>>(response: &Value, sequence_numbers: &[T]) -> Option<usize> {
    let failures = response.get("batchItemFailures")?.as_array()?;
    let position = |failure: &Value| {
        let reported = failure.get("itemIdentifier").and_then(Value::as_str);
        let mut numbers = sequence_numbers.iter();
        numbers.position(|number| Some(number.as_ref()) == reported)
    };
    let positions = failures
        .iter()
        .map(|failure| position(failure).unwrap_or_default());
    positions.min()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use millrace_consumer::KinesisBatch;

    fn delivered(sequence_number: &str, data: &'static [u8]) -> EventRecord<'static> {
        EventRecord::new(Delivered {
            by: "replay",
            stream: "arn:aws:kinesis:eu-north-1:123456789012:stream/events",
            aggregate: "a",
            sequence_number: sequence_number.to_owned(),
            data,
            at: Timestamp::from_unix_millis(1_545_084_650_987).expect("a time"),
        })
    }

    #[test]
    fn a_record_has_the_members_of_lambdas_own() {
        let record = serde_json::to_value(delivered("495", b"Hello")).expect("JSON");
        let expected = json!({
            "eventID": "replay:495",
            "eventName": "aws:kinesis:record",
            "eventSource": "aws:kinesis",
            "eventSourceARN": "arn:aws:kinesis:eu-north-1:123456789012:stream/events",
            "eventVersion": "1.0",
            "invokeIdentityArn": "",
            "awsRegion": "eu-north-1",
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "a",
                "sequenceNumber": "495",
                "data": "SGVsbG8=",
                "approximateArrivalTimestamp": 1_545_084_650.987,
            },
        });
        assert_eq!(record, expected);
    }

    #[test]
    fn a_consumer_reads_what_was_delivered() {
        let body = batch(&[delivered("1", b"one"), delivered("2", b"two")]);
        let batch = KinesisBatch::read(body.as_bytes()).expect("a batch");
        let data: Vec<&[u8]> = batch.records.iter().map(|it| &it.data[..]).collect();
        assert_eq!(data, [b"one", b"two"]);
        assert_eq!(batch.records[1].stream_id, "replay:2");
        assert_eq!(
            batch.records[0].arrival.map(Timestamp::unix_millis),
            Some(1_545_084_650_987)
        );
    }

    #[test]
    fn the_lowest_reported_record_counts_as_lambda_counts_it() {
        let numbers = ["10", "11", "12"];
        for (response, expected) in [
            (json!(null), None),
            (json!({}), None),
            (json!("done"), None),
            (json!({"batchItemFailures": null}), None),
            (json!({"batchItemFailures": []}), None),
            (
                json!({"batchItemFailures": [{"itemIdentifier": "12"}]}),
                Some(2),
            ),
            (
                json!({"batchItemFailures": [{"itemIdentifier": "12"}, {"itemIdentifier": "11"}]}),
                Some(1),
            ),
            (
                json!({"batchItemFailures": [{"itemIdentifier": "13"}]}),
                Some(0),
            ),
            (
                json!({"batchItemFailures": [{"itemIdentifier": ""}]}),
                Some(0),
            ),
            (
                json!({"batchItemFailures": [{"itemIdentifier": null}]}),
                Some(0),
            ),
            (json!({"batchItemFailures": [{"id": "11"}]}), Some(0)),
        ] {
            assert_eq!(
                first_incomplete(&response, &numbers),
                expected,
                "{response}"
            );
        }
    }
}
