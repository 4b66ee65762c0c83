//! A Kinesis mapping's batch: its records, read in one pass over the invocation's bytes, and the response
//! that reports how far the batch is processed. Every consumer of the domain stream uses both.
//!
//! Strings are borrowed from the bytes, except where they had to be unescaped. Members that no consumer
//! uses are skipped, whatever they contain.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_core::{DecodeError, Timestamp};
use serde::Serialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

const RECORDS: &str = "Records";
/// The JSON around the records isn't that of a batch.
const NO_BATCH: &str = "is not an object with a list of Records";

/// A record as a producer put it, at its position in the batch.
///
/// A Kinesis record contains one of them. Another form of Kinesis records may contain several
/// ([KPL aggregation](https://docs.aws.amazon.com/streams/latest/dev/kinesis-kpl-concepts.html)): then these have the
/// same position. So don't conclude from the position how many records there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisRecord<'a> {
    /// Its position in the batch, from 0.
    pub position: usize,
    /// Lambda's id of the record, which is unique within the stream: the shard's id and the sequence
    /// number, or the sequence number alone where the record has no such id.
    pub stream_id: Cow<'a, str>,
    /// The aggregate's id, if a Millrace program put the record.
    pub partition_key: Cow<'a, str>,
    /// When the record arrived on the stream; `None` if a [`Timestamp`] can't represent it.
    pub arrival: Option<Timestamp>,
    /// The event, or any other bytes that a producer put.
    pub data: Vec<u8>,
}

/// A batch of a Kinesis mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KinesisBatch<'a> {
    /// The records, in order, without those that can't be used.
    pub records: Vec<KinesisRecord<'a>>,
    /// Each record's sequence number, those of records that can't be used included.
    sequence_numbers: Vec<Cow<'a, str>>,
    /// The position of the first record that can't be used.
    unusable: Option<usize>,
}

/// The response of a function with partial batch responses
/// ([Lambda](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html)).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The records from which on Lambda has to deliver the batch again. Empty: all records are completed.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A record from which on Lambda has to deliver the batch again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// The record's sequence number.
    pub item_identifier: String,
}

impl<'a> KinesisBatch<'a> {
    /// Reads the bytes with which Lambda invokes a consumer.
    ///
    /// A record of an unexpected shape affects no other record: a member that isn't what it should be is
    /// treated as missing, and of a member that the record contains more than once, the last one counts.
    /// A record whose data is missing or isn't base64 can't be used. It counts as incomplete, so that
    /// Lambda delivers it again and in the end writes it to the mapping's failure destination.
    ///
    /// # Errors
    /// [`DecodeError`] if `body` is not JSON in UTF-8, or not an object with a list `Records`. The error
    /// quotes none of it.
    pub fn read(body: &'a [u8]) -> Result<Self, DecodeError> {
        // Checking all bytes at once is faster than checking each string.
        let text =
            std::str::from_utf8(body).map_err(|_| DecodeError::whole("is not JSON in UTF-8"))?;
        let mut batch = Self::default();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer
            .deserialize_map(EventMembers(&mut batch))
            .and_then(|()| deserializer.end())
            .map_err(|error| match error.classify() {
                Category::Data => DecodeError::whole(NO_BATCH),
                Category::Syntax | Category::Eof | Category::Io => DecodeError::whole(format!(
                    "is not JSON, at line {} column {}",
                    error.line(),
                    error.column()
                )),
            })?;
        Ok(batch)
    }

    /// How many records Lambda has delivered.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.sequence_numbers.len()
    }

    /// The position of the first record that isn't completed, if `resume_at` is that of the first usable
    /// one. `None`: all records are completed.
    #[must_use]
    pub fn resume_at(&self, resume_at: Option<usize>) -> Option<usize> {
        resume_at.into_iter().chain(self.unusable).min()
    }

    /// The response for a batch of which `resume_at` is the position of the first record that is not
    /// completed; `None` reports that all records are completed.
    ///
    /// The response contains at most that one record. Lambda delivers it and every later record again
    /// ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html)).
    /// If the record has no sequence number, the response contains an empty one, which reports the whole
    /// batch as failed.
    ///
    /// # Panics
    /// If `resume_at` is not a position in the batch.
    #[must_use]
    pub fn response(&self, resume_at: Option<usize>) -> BatchResponse {
        let number = |position: usize| self.sequence_numbers[position].clone().into_owned();
        let failures = resume_at
            .map(number)
            .map(|item_identifier| BatchItemFailure { item_identifier });
        BatchResponse {
            batch_item_failures: failures.into_iter().collect(),
        }
    }

    /// Adds a Kinesis record. This is the only place that knows how Kinesis records contain what producers put.
    fn add(&mut self, members: RecordMembers<'a>) {
        let position = self.delivered();
        let sequence_number = members.sequence_number.unwrap_or_default();
        let stream_id = members.event_id.unwrap_or_else(|| sequence_number.clone());
        self.sequence_numbers.push(sequence_number);
        let data = members.data.and_then(|data| STANDARD.decode(&*data).ok());
        let Some(data) = data else {
            tracing::error!(
                stream_id = &*stream_id,
                "a record contains no data in base64; the batch will be retried"
            );
            self.unusable = self.unusable.or(Some(position));
            return;
        };
        self.records.push(KinesisRecord {
            position,
            stream_id,
            partition_key: members.partition_key.unwrap_or_default(),
            arrival: members.arrival.and_then(arrival),
            data,
        });
    }
}

/// The time of a number of seconds since 1970, in milliseconds; `None` if a [`Timestamp`] can't represent
/// it.
fn arrival(seconds: f64) -> Option<Timestamp> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number out of range becomes one that no timestamp has"
    )]
    Timestamp::from_unix_millis((seconds * 1_000.0).round() as i64)
}

/// The members of a record that consumers use.
#[derive(Default)]
struct RecordMembers<'a> {
    event_id: Option<Cow<'a, str>>,
    sequence_number: Option<Cow<'a, str>>,
    partition_key: Option<Cow<'a, str>>,
    arrival: Option<f64>,
    data: Option<Cow<'a, str>>,
}

/// The event's only member that is used, its records.
struct EventMembers<'b, 'a>(&'b mut KinesisBatch<'a>);

impl<'a> Visitor<'a> for EventMembers<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let mut is_found = false;
        while let Some(name) = members.next_key_seed(AnyShape(Text))? {
            if name.as_deref() != Some(RECORDS) {
                members.next_value::<IgnoredAny>()?;
            } else if is_found {
                return Err(A::Error::duplicate_field(RECORDS));
            } else {
                members.next_value_seed(Records(self.0))?;
                is_found = true;
            }
        }
        if is_found {
            Ok(())
        } else {
            Err(A::Error::missing_field(RECORDS))
        }
    }
}

struct Records<'b, 'a>(&'b mut KinesisBatch<'a>);

impl<'a> DeserializeSeed<'a> for Records<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Records<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            let mut members = RecordMembers::default();
            let seed = AnyShape(EventRecord(&mut members));
            if elements.next_element_seed(seed)?.is_none() {
                return Ok(());
            }
            self.0.add(members);
        }
    }
}

/// What is read of a value that may have any shape. A value of a shape without a method of its own is
/// skipped.
trait Shape<'a>: Sized {
    type Value: Default;

    fn string(self, _: Cow<'a, str>) -> Self::Value {
        Self::Value::default()
    }

    fn number(self, _: f64) -> Self::Value {
        Self::Value::default()
    }

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }
}

struct AnyShape<S>(S);

impl<'a, S: Shape<'a>> DeserializeSeed<'a> for AnyShape<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, S: Shape<'a>> Visitor<'a> for AnyShape<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    #[expect(clippy::cast_precision_loss, reason = "a time needs fewer bits")]
    fn visit_i64<E>(self, number: i64) -> Result<S::Value, E> {
        Ok(self.0.number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time needs fewer bits")]
    fn visit_u64<E>(self, number: u64) -> Result<S::Value, E> {
        Ok(self.0.number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<S::Value, E> {
        Ok(self.0.number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<S::Value, E> {
        Ok(self.0.string(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<S::Value, E> {
        Ok(self.0.string(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<S::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(S::Value::default())
    }

    fn visit_map<A: MapAccess<'a>>(self, members: A) -> Result<S::Value, A::Error> {
        self.0.object(members)
    }
}

struct Text;

impl<'a> Shape<'a> for Text {
    type Value = Option<Cow<'a, str>>;

    fn string(self, text: Cow<'a, str>) -> Self::Value {
        Some(text)
    }
}

/// A number of seconds. A string of its digits is read too, as `aws_lambda_events` does.
struct Seconds;

impl<'a> Shape<'a> for Seconds {
    type Value = Option<f64>;

    fn string(self, text: Cow<'a, str>) -> Self::Value {
        text.parse().ok()
    }

    fn number(self, number: f64) -> Self::Value {
        Some(number)
    }
}

/// An element of `Records`.
struct EventRecord<'r, 'a>(&'r mut RecordMembers<'a>);

impl<'a> Shape<'a> for EventRecord<'_, 'a> {
    type Value = ();

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(record) = self;
        while let Some(name) = members.next_key_seed(AnyShape(Text))? {
            match name.as_deref().unwrap_or_default() {
                "eventID" => record.event_id = members.next_value_seed(AnyShape(Text))?,
                "kinesis" => members.next_value_seed(AnyShape(StreamRecord(record)))?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// An element's member `kinesis`.
struct StreamRecord<'r, 'a>(&'r mut RecordMembers<'a>);

impl<'a> Shape<'a> for StreamRecord<'_, 'a> {
    type Value = ();

    fn object<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(record) = self;
        while let Some(name) = members.next_key_seed(AnyShape(Text))? {
            match name.as_deref().unwrap_or_default() {
                "data" => record.data = members.next_value_seed(AnyShape(Text))?,
                "partitionKey" => {
                    record.partition_key = members.next_value_seed(AnyShape(Text))?;
                }
                "sequenceNumber" => {
                    record.sequence_number = members.next_value_seed(AnyShape(Text))?;
                }
                "approximateArrivalTimestamp" => {
                    record.arrival = members.next_value_seed(AnyShape(Seconds))?;
                }
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<KinesisBatch<'_>, String> {
        KinesisBatch::read(body.as_bytes()).map_err(|error| error.to_string())
    }

    const BATCH: &str = r#"{"Records":[
        {"eventID":"shardId-000000000000:7","kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"a",
            "sequenceNumber":"7","data":"AAo=","approximateArrivalTimestamp":1545084650.987}},
        {"kinesis":{"partitionKey":"a","sequenceNumber":"9","data":"","approximateArrivalTimestamp":1545084651}}
    ]}"#;

    #[test]
    fn each_record_is_read_at_its_position() {
        let arrival = |millis| {
            let arrival = Timestamp::from_unix_millis(millis);
            assert!(arrival.is_some());
            arrival
        };
        let batch = read(BATCH).expect("a batch");
        let record = |position, stream_id: &'static str, arrival, data: &[u8]| KinesisRecord {
            position,
            stream_id: stream_id.into(),
            partition_key: "a".into(),
            arrival,
            data: data.to_vec(),
        };
        let first = "shardId-000000000000:7";
        assert_eq!(
            batch.records,
            [
                record(0, first, arrival(1_545_084_650_987), b"\0\n"),
                // A record without Lambda's id.
                record(1, "9", arrival(1_545_084_651_000), b""),
            ]
        );
        assert_eq!((batch.delivered(), batch.resume_at(None)), (2, None));
        let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        let mut records = batch.records.iter();
        assert!(records.all(|it| is_borrowed(&it.stream_id) && is_borrowed(&it.partition_key)));
    }

    #[test]
    fn the_first_incomplete_record_is_reported_and_no_other() {
        let batch = read(BATCH).expect("a batch");
        let reported = |resume_at| {
            let failures = batch.response(resume_at).batch_item_failures;
            failures
                .into_iter()
                .map(|failure| failure.item_identifier)
                .collect::<Vec<_>>()
        };
        assert_eq!(reported(None), [""; 0]);
        assert_eq!(reported(Some(0)), ["7"]);
        assert_eq!(reported(Some(1)), ["9"]);
    }

    #[test]
    fn a_record_without_a_sequence_number_reports_the_whole_batch() {
        let batch = read(r#"{"Records":[{"kinesis":{"data":""}}]}"#).expect("a batch");
        assert_eq!(batch.records[0].stream_id, "");
        let failures = batch.response(Some(0)).batch_item_failures;
        assert_eq!(failures[0].item_identifier, "");
    }

    #[test]
    fn a_record_of_an_unexpected_shape_is_incomplete_and_affects_no_other() {
        let whole = r#"{"kinesis":{"partitionKey":"b","sequenceNumber":"2","data":"AAo="}}"#;
        for odd in [
            "null",
            "[1]",
            r#""x""#,
            "{}",
            r#"{"kinesis":[]}"#,
            r#"{"kinesis":{"sequenceNumber":"1"}}"#,
            r#"{"kinesis":{"sequenceNumber":"1","data":1}}"#,
            r#"{"kinesis":{"sequenceNumber":"1","data":["AAo="]}}"#,
            r#"{"kinesis":{"sequenceNumber":"1","data":"no base64!"}}"#,
        ] {
            let body = format!(r#"{{"Records":[{whole},{odd},{whole}]}}"#);
            let batch = read(&body).expect("a batch");
            let positions: Vec<_> = batch.records.iter().map(|it| it.position).collect();
            assert_eq!(positions, [0, 2], "{odd}");
            assert_eq!(batch.delivered(), 3, "{odd}");
            assert_eq!(batch.resume_at(None), Some(1), "{odd}");
            assert_eq!(batch.resume_at(Some(2)), Some(1), "{odd}");
            assert_eq!(batch.resume_at(Some(0)), Some(0), "{odd}");
            let failures = batch.response(Some(1)).batch_item_failures;
            let number = if odd.contains("sequenceNumber") {
                "1"
            } else {
                ""
            };
            assert_eq!(failures[0].item_identifier, number);
        }
    }

    #[test]
    fn a_member_of_an_unexpected_shape_is_missing() {
        let body = r#"{"Records":[{"eventID":{},"kinesis":{"partitionKey":null,
            "sequenceNumber":1,"data":"","approximateArrivalTimestamp":[]}}]}"#;
        let expected = KinesisRecord {
            position: 0,
            stream_id: "".into(),
            partition_key: "".into(),
            arrival: None,
            data: Vec::new(),
        };
        assert_eq!(read(body).expect("a batch").records, [expected]);
    }

    #[test]
    fn a_time_that_no_timestamp_represents_is_none() {
        for (seconds, millis) in [
            ("0", Some(0)),
            ("1545084650.98", Some(1_545_084_650_980)),
            ("\"1545084650.987\"", Some(1_545_084_650_987)),
            ("1e300", None),
            ("-1e300", None),
            ("\"now\"", None),
        ] {
            let body = format!(
                r#"{{"Records":[{{"kinesis":{{"data":"","approximateArrivalTimestamp":{seconds}}}}}]}}"#
            );
            let batch = read(&body).expect("a batch");
            let arrival = batch.records[0].arrival.map(Timestamp::unix_millis);
            assert_eq!(arrival, millis, "{seconds}");
        }
    }

    #[test]
    fn bytes_that_are_no_batch_are_an_error_that_quotes_nothing() {
        for (body, error) in [
            (
                &b"{\"Records\":[{\"secret\":\xff}]}"[..],
                "is not JSON in UTF-8",
            ),
            (b"", "is not JSON, at line 1 column 0"),
            (
                b"{\"Records\":[secret]}",
                "is not JSON, at line 1 column 13",
            ),
            (b"{\"Records\":[]} x", "is not JSON, at line 1 column 16"),
            (b"{}", NO_BATCH),
            (b"[]", NO_BATCH),
            (b"{\"Records\":{}}", NO_BATCH),
            (b"{\"Records\":[],\"Records\":[]}", NO_BATCH),
        ] {
            let read = KinesisBatch::read(body);
            assert_eq!(read.expect_err(error).to_string(), error);
        }
        assert_eq!(read(r#"{"Records":[]}"#), Ok(KinesisBatch::default()));
    }
}
