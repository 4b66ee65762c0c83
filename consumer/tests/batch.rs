//! Reading a Kinesis mapping's batch in one pass gives the same records as parsing it with
//! `aws_lambda_events` does.
//!
//! The batches are changed arbitrarily in one record. Four differences are deliberate:
//!
//! 1. A change that makes the other parser refuse the whole batch affects its record alone. The other
//!    records are the same as without the change.
//! 2. The other parser refuses a batch in which a record has a member twice, if it uses the member. Here the
//!    last one counts.
//! 3. The other parser reads the digits after a time's decimal point as a number of milliseconds: .98 as
//!    98 ms. Here they are decimals: 980 ms.
//! 4. The other parser reads a list in the place of a record, or of its member `kinesis`, as an object's members
//!    in order. Here such a record can't be read.

#[path = "../../translator/tests/one_pass/json.rs"]
mod json;

use aws_lambda_events::kinesis::KinesisEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_consumer::{KinesisBatch, KinesisRecord};
use millrace_core::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use json::{Change, Json, Layout};

/// What a consumer gets: the records, and each record's sequence number in a response.
type Read = (Vec<KinesisRecord<'static>>, Vec<String>);

/// The records as the types of `aws_lambda_events` contain them; `None` if these can't be parsed.
fn slow(body: &str) -> Option<Read> {
    let event: KinesisEvent = serde_json::from_str(body).ok()?;
    let numbers = event.records.iter();
    let numbers = numbers.map(|record| record.kinesis.sequence_number.clone());
    let records = event.records.iter().enumerate().map(|(position, record)| {
        let kinesis = &record.kinesis;
        let stream_id = record.event_id.as_ref();
        let arrival = kinesis.approximate_arrival_timestamp.timestamp_millis();
        KinesisRecord {
            position,
            stream_id: stream_id.unwrap_or(&kinesis.sequence_number).clone().into(),
            partition_key: kinesis.partition_key.clone().into(),
            arrival: Timestamp::from_unix_millis(arrival),
            data: kinesis.data.to_vec(),
        }
    });
    Some((records.collect(), numbers.collect()))
}

fn fast(body: &str) -> Result<Read, String> {
    let batch = KinesisBatch::read(body.as_bytes()).map_err(|error| error.to_string())?;
    let records = batch.records.iter().map(|record| KinesisRecord {
        stream_id: record.stream_id.to_string().into(),
        partition_key: record.partition_key.to_string().into(),
        ..record.clone()
    });
    let number = |position| {
        let mut failures = batch.response(Some(position)).batch_item_failures;
        failures.remove(0).item_identifier
    };
    let numbers = (0..batch.delivered()).map(number).collect();
    Ok((records.map(owned).collect(), numbers))
}

fn owned(record: KinesisRecord<'_>) -> KinesisRecord<'static> {
    KinesisRecord {
        position: record.position,
        stream_id: record.stream_id.into_owned().into(),
        partition_key: record.partition_key.into_owned().into(),
        arrival: record.arrival,
        data: record.data,
    }
}

/// A batch with a record of each of these data, as in
/// [Lambda's example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html).
fn batch(data: &[Vec<u8>]) -> Json {
    let records = data.iter().enumerate().map(|(number, data)| {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": format!("key-{number}"),
                "sequenceNumber": format!("4959033827149025660855969253836157109{number}"),
                "data": STANDARD.encode(data),
                "approximateArrivalTimestamp": 1_545_084_650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:4959033827149025660855969253836157109{number}"),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/lambda-role",
            "awsRegion": "eu-north-1",
            "eventSourceARN": "arn:aws:kinesis:eu-north-1:000000000000:stream/domain",
        })
    });
    Json::from(&json!({ "Records": records.collect::<Vec<_>>() }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn one_pass_reads_what_the_other_parser_reads(
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..4),
        changes in prop::collection::vec(any::<Change>(), 0..4),
        layout in any::<Layout>(),
    ) {
        let unchanged = batch(&data);
        let mut changed = unchanged.clone();
        for change in &changes {
            changed.first_record().apply(change);
        }
        let body = changed.write(layout);
        let (records, numbers) = fast(&body).map_err(TestCaseError::fail)?;
        match slow(&body) {
            // Difference 4.
            Some(_) if has_list(&body) => prop_assert!(records.iter().all(|it| it.position > 0)),
            Some(slow) => {
                let mut expected = slow.0;
                // Difference 3.
                if let Some(first) = expected.first_mut().filter(|it| it.arrival != records[0].arrival) {
                    prop_assert!(has_other_decimals(&body), "{}", body);
                    first.arrival = records[0].arrival;
                }
                prop_assert_eq!((&records, &numbers), (&expected, &slow.1), "{}", body);
            }
            // Differences 1 and 2.
            None => prop_assert!(!changes.is_empty(), "{}", body),
        }
        let expected = slow(&unchanged.write(Layout::default())).expect("a batch");
        let others = records.iter().filter(|record| record.position > 0);
        prop_assert!(others.eq(&expected.0[1..]), "{}", body);
        prop_assert_eq!(&numbers[1..], &expected.1[1..], "{}", body);
    }
}

/// Whether the first record, or its member `kinesis`, is a list.
fn has_list(body: &str) -> bool {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let record = &body["Records"][0];
    record.is_array() || record["kinesis"].is_array()
}

/// A list that the other parser reads as an object, which changes make now and then.
#[test]
fn a_list_is_no_record() {
    let mut body: Value =
        serde_json::from_str(&batch(&[vec![1], vec![2]]).write(Layout::default())).expect("JSON");
    body["Records"][0]["kinesis"] = json!([1_545_084_650.987, "AQ==", "NONE", "key", "1", "1.0"]);
    let body = body.to_string();
    assert!(slow(&body).is_some(), "the other parser reads it");
    let (records, _) = fast(&body).expect("a batch");
    let positions: Vec<usize> = records.iter().map(|record| record.position).collect();
    assert_eq!(positions, [1]);
}

/// Whether the first record's time has decimals, but not three.
fn has_other_decimals(body: &str) -> bool {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let time = &body["Records"][0]["kinesis"]["approximateArrivalTimestamp"];
    let time = time
        .as_str()
        .map_or_else(|| time.to_string(), str::to_owned);
    let decimals = time.split_once('.').map(|(_, decimals)| decimals);
    decimals.is_some_and(|decimals| decimals.len() != 3)
}

#[test]
fn the_deliberate_differences_are_these() {
    let body = |kinesis: &str| format!(r#"{{"Records":[{{"kinesis":{{{kinesis}}}}}]}}"#);
    let time = r#""approximateArrivalTimestamp":1"#;
    // 1.
    let number = body(&format!(r#"{time},"data":"AAo=","partitionKey":1"#));
    assert_eq!(slow(&number), None);
    let (records, _) = fast(&number).expect("a batch");
    assert_eq!(
        (&*records[0].partition_key, &*records[0].data),
        ("", &b"\0\n"[..])
    );
    // 2.
    let repeated = body(&format!(r#"{time},"data":"AAo=","data":"AAA=""#));
    assert_eq!(slow(&repeated), None);
    assert_eq!(fast(&repeated).expect("a batch").0[0].data, b"\0\0");
    // 3.
    let decimals = body(r#""approximateArrivalTimestamp":1.98,"data":"""#);
    let arrival = |(records, _): Read| records[0].arrival.map(Timestamp::unix_millis);
    assert_eq!(slow(&decimals).map(arrival), Some(Some(1_098)));
    assert_eq!(fast(&decimals).map(arrival), Ok(Some(1_980)));
}
