//! For the tests of a consumer (feature `testing`): records, batches, a feed that delivers events with every fault
//! that Kinesis and Lambda allow, and a store whose calls fail.

mod failing;
mod feed;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub use failing::FailingPositions;
pub use feed::{FeedError, HostileFeed, Report};

use crate::batch::KinesisRecord;

/// A record of the domain stream at this position in a batch, with the aggregate's id as partition key.
#[must_use]
pub fn kinesis_record(position: usize, aggregate: &str, data: &[u8]) -> KinesisRecord<'static> {
    KinesisRecord {
        position,
        stream_id: format!("shard:{position}").into(),
        partition_key: aggregate.to_owned().into(),
        arrival: None,
        data: data.to_vec(),
    }
}

/// A batch of records of the domain stream, each given by its partition key and its data.
#[must_use]
pub fn kinesis_records(records: &[(&str, Vec<u8>)]) -> Vec<KinesisRecord<'static>> {
    let positioned = records.iter().enumerate();
    positioned
        .map(|(position, (key, data))| kinesis_record(position, key, data))
        .collect()
}

/// A batch of a Kinesis mapping as Lambda delivers it
/// ([example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html)). Each record is given by its sequence
/// number, its partition key and its data.
#[must_use]
pub fn kinesis_event<'a>(records: impl IntoIterator<Item = (u64, &'a str, &'a [u8])>) -> Value {
    let records = records.into_iter().map(|(number, partition_key, data)| {
        json!({
            "eventID": format!("shardId-000000000000:{number}"),
            "eventName": "aws:kinesis:record",
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": partition_key,
                "sequenceNumber": number.to_string(),
                "data": STANDARD.encode(data),
                "approximateArrivalTimestamp": 1_545_084_650.987,
            },
        })
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// [`kinesis_event`] of records whose sequence number is their position in the batch.
#[must_use]
pub fn kinesis_batch(records: &[(&str, Vec<u8>)]) -> Value {
    let numbered = (0..).zip(records);
    kinesis_event(numbered.map(|(number, (key, data))| (number, *key, &data[..])))
}
