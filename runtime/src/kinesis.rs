//! A Kinesis mapping's batch: its records as plain values, and the response that reports how far it is
//! processed. Every consumer of the domain stream uses both.

use aws_lambda_events::kinesis::KinesisEventRecord;
use aws_lambda_events::streams::KinesisEventResponse;
use millrace_core::Timestamp;

/// A record of a Kinesis stream, at its position in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisRecord {
    /// Its position in the batch, from 0.
    pub position: usize,
    /// Lambda's id of the record, which is unique within the stream: the shard's id and the sequence
    /// number, or the sequence number alone where the record has no such id.
    pub stream_id: String,
    /// The aggregate's id, if a Millrace program put the record.
    pub partition_key: String,
    /// When the record arrived on the stream; `None` if a [`Timestamp`] can't represent it.
    pub arrival: Option<Timestamp>,
    /// The event, or any other bytes that a producer put.
    pub data: Vec<u8>,
}

/// Converts a batch's records, in order.
#[must_use]
pub fn from_batch(records: &[KinesisEventRecord]) -> Vec<KinesisRecord> {
    records
        .iter()
        .enumerate()
        .map(|(position, record)| {
            let stream_id = record.event_id.clone();
            KinesisRecord {
                position,
                stream_id: stream_id.unwrap_or_else(|| record.kinesis.sequence_number.clone()),
                partition_key: record.kinesis.partition_key.clone(),
                arrival: Timestamp::from_unix_millis(
                    record
                        .kinesis
                        .approximate_arrival_timestamp
                        .timestamp_millis(),
                ),
                data: record.kinesis.data.to_vec(),
            }
        })
        .collect()
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
pub fn partial_batch_response(
    records: &[KinesisEventRecord],
    resume_at: Option<usize>,
) -> KinesisEventResponse {
    let mut response = KinesisEventResponse::default();
    if let Some(position) = resume_at {
        response.add_failure(records[position].kinesis.sequence_number.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::kinesis::KinesisEvent;
    use serde_json::json;

    use super::*;

    fn batch() -> Vec<KinesisEventRecord> {
        let record = |sequence_number: &str, data: &str| {
            json!({
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "a",
                "sequenceNumber": sequence_number,
                "data": data,
                "approximateArrivalTimestamp": 1_545_084_650.987,
            })
        };
        let event: KinesisEvent = serde_json::from_value(json!({ "Records": [
            {"eventID": "shardId-000000000000:7", "kinesis": record("7", "AAo=")},
            {"kinesis": record("9", "")},
        ]}))
        .expect("an event");
        event.records
    }

    #[test]
    fn converts_each_record_at_its_position() {
        let arrival = Timestamp::from_unix_millis(1_545_084_650_987);
        assert!(arrival.is_some());
        let record = |position, stream_id: &str, data: &[u8]| KinesisRecord {
            position,
            stream_id: stream_id.to_owned(),
            partition_key: "a".to_owned(),
            arrival,
            data: data.to_vec(),
        };
        assert_eq!(
            from_batch(&batch()),
            [
                record(0, "shardId-000000000000:7", b"\0\n"),
                // A record without Lambda's id.
                record(1, "9", b""),
            ]
        );
    }

    #[test]
    fn reports_the_first_incomplete_record_and_no_other() {
        let reported = |resume_at| {
            let failures = partial_batch_response(&batch(), resume_at).batch_item_failures;
            failures
                .into_iter()
                .map(|failure| failure.item_identifier)
                .collect::<Vec<_>>()
        };
        assert_eq!(reported(None), []);
        assert_eq!(reported(Some(0)), [Some("7".to_owned())]);
        assert_eq!(reported(Some(1)), [Some("9".to_owned())]);
    }
}
