//! Reading a stream event in one pass gives the same rows, and the same error texts, as parsing it with
//! `aws_lambda_events` and `serde_dynamo` does.
//!
//! The events are those of stored rows of all layouts, after arbitrary changes of one record. Four
//! differences are deliberate:
//!
//! 1. A change that makes the other parser refuse the whole batch is an error of its record alone, or none
//!    if the translator doesn't use what was changed. The rows of the other records are the same as without
//!    the change.
//! 2. The other parser takes the last of several attributes of the same name. Here such an attribute can't
//!    be read. DynamoDB never sends one.
//! 3. Of a `NewImage` or `Keys` that isn't an object, the other parser refuses the batch. Here it is empty,
//!    so the row can't be decoded, and the translator reads it from the events table.
//! 4. The content of sets and binary values isn't checked, because no code reads it.

mod json;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use aws_lambda_events::dynamodb::{Event as SlowEvent, EventRecord};
use aws_sdk_dynamodb::types::AttributeValue as SdkValue;
use millrace_core::ids::is_reserved_id;
use millrace_core::stream::read_records;
use millrace_core::{Attribute, BorrowedRowOf, Domain, StoredRow, StoredRowOf, StreamRecord, row};
use millrace_domain::Accounts;
use millrace_runtime::dynamodb::from_item;
use proptest::prelude::*;
use serde_dynamo::AttributeValue;
use serde_json::{Value, json};

use json::{Change, Json, Layout};

/// What a record is to the translator.
#[derive(Debug, Clone, PartialEq)]
enum Read<D: Domain> {
    NoInsert,
    Unusable,
    Reserved,
    Row(Box<Result<StoredRowOf<D>, String>>),
}

type Reads<D> = Vec<Read<D>>;

fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

/// The records as the types of `aws_lambda_events` contain them; `None` if these can't be parsed.
fn slow(body: &str) -> Option<Reads<Accounts>> {
    let event: SlowEvent = serde_json::from_str(body).ok()?;
    Some(event.records.iter().map(slow_record).collect())
}

fn slow_record(record: &EventRecord) -> Read<Accounts> {
    if record.event_name != "INSERT" {
        return Read::NoInsert;
    }
    let Some(AttributeValue::S(id)) = record.change.keys.get(row::ID) else {
        return Read::Unusable;
    };
    if is_reserved_id(id) {
        return Read::Reserved;
    }
    let item = |item: &serde_dynamo::Item| {
        let item: HashMap<String, SdkValue> = item.clone().into();
        from_item(item)
    };
    let mut image = item(&record.change.keys);
    image.extend(item(&record.change.new_image));
    let row = StoredRow::read(&accounts(), &image);
    Read::Row(Box::new(row.map_err(|error| error.to_string())))
}

fn fast(body: &str) -> Result<Reads<Accounts>, String> {
    let mut reads = Vec::new();
    read_records(body.as_bytes(), |_, record| reads.push(fast_record(record)))
        .map_err(|error| error.to_string())?;
    Ok(reads)
}

fn fast_record(record: &mut StreamRecord<'_>) -> Read<Accounts> {
    match record.event_name.as_deref() {
        None => return Read::Unusable,
        Some("INSERT") => {}
        Some(_) => return Read::NoInsert,
    }
    let Some(Attribute::Text(id)) = record.keys.get(row::ID) else {
        return Read::Unusable;
    };
    if is_reserved_id(id) {
        return Read::Reserved;
    }
    let row = BorrowedRowOf::<Accounts>::read_columns(&accounts(), record.item());
    let row = row.map(StoredRow::into_owned);
    Read::Row(Box::new(row.map_err(|error| error.to_string())))
}

/// The rows of the golden corpus and of previous versions, as `DynamoDB`'s JSON.
static ROWS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let read = |path: &Path| {
        let text = fs::read_to_string(path).expect("a file of rows");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let stored = read(&tests.join("stored/items.json"));
    let mut rows = stored["rows"].as_array().expect("rows").clone();
    for case in fs::read_dir(tests.join("corpus")).expect("the corpus") {
        let case = read(&case.expect("a case").path().join("rows.json"));
        rows.extend(case.as_array().expect("rows").iter().cloned());
    }
    rows
});

/// An event with a record of each of these rows.
fn event(rows: &[Value]) -> Json {
    let records = rows.iter().enumerate().map(|(number, row)| {
        json!({
            "eventID": format!("event-{number}"),
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-north-1",
            "eventSourceARN": "arn:aws:dynamodb:eu-north-1:000000000000:table/events/stream/1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_800_000_000,
                "Keys": {"Id": row["Id"], "Version": row["Version"]},
                "NewImage": row,
                "SequenceNumber": format!("{number}00"),
                "SizeBytes": 100,
                "StreamViewType": "NEW_IMAGE",
            },
        })
    });
    Json::from(&json!({ "Records": records.collect::<Vec<_>>() }))
}

fn any_rows() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(prop::sample::select(&ROWS[..]), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn one_pass_reads_what_the_other_parser_reads(
        rows in any_rows(),
        changes in prop::collection::vec(any::<Change>(), 0..4),
        layout in any::<Layout>(),
    ) {
        let unchanged = event(&rows);
        let mut changed = unchanged.clone();
        for change in &changes {
            changed.first_record().apply(change);
        }
        let body = changed.write(layout);
        let fast = fast(&body).map_err(TestCaseError::fail)?;
        match slow(&body) {
            // Difference 2.
            Some(_) if repeats_a_name(changed.first_record()) => {}
            Some(slow) => prop_assert_eq!(&fast, &slow, "{}", body),
            // Difference 1.
            None => prop_assert!(!changes.is_empty(), "{}", body),
        }
        let expected = slow(&unchanged.write(Layout::default())).expect("an event");
        prop_assert_eq!(&fast[1..], &expected[1..], "{}", body);
    }
}

/// Whether any object in the value has a name twice.
fn repeats_a_name(value: &Json) -> bool {
    match value {
        Json::Word(_) | Json::Text(_) => false,
        Json::List(list) => list.iter().any(repeats_a_name),
        Json::Object(members) => {
            let is_repeated = |index: usize| {
                let (name, _) = &members[index];
                members[..index].iter().any(|(other, _)| other == name)
            };
            (0..members.len()).any(is_repeated)
                || members.iter().any(|(_, value)| repeats_a_name(value))
        }
    }
}

fn body(new_image: &str) -> String {
    format!(
        r#"{{"Records":[{{"awsRegion":"eu-north-1","eventID":"e","eventName":"INSERT","dynamodb":{{"SizeBytes":1,"Keys":{{"Id":{{"S":"a"}},"Version":{{"N":"1"}}}},"NewImage":{new_image}}}}}]}}"#
    )
}

/// The only record's error texts, of the other parser (`None` if it refuses the batch) and in one pass.
#[track_caller]
fn errors(new_image: &str) -> (Option<String>, String) {
    let error = |mut reads: Reads<Accounts>| match reads.remove(0) {
        Read::Row(row) => row.expect_err(new_image),
        other => panic!("{other:?}"),
    };
    let body = body(new_image);
    (slow(&body).map(error), error(fast(&body).expect("JSON")))
}

#[test]
fn the_deliberate_differences_are_these() {
    let row = r#""Type":{"S":"CREATED"},"Timestamp":{"S":"2026-11-20T21:03:05Z"}"#;
    // 1.
    let currency = format!(r#"{{{row},"Currency":{{"S":1}}}}"#);
    let error = "Currency: is of type a malformed attribute value, not S";
    assert_eq!(errors(&currency), (None, error.to_owned()));
    let unused = body(&format!(r#"{{{row},"Unused":{{"S":1}}}}"#));
    assert_eq!(slow(&unused), None);
    let read = fast(&unused).expect("JSON").remove(0);
    assert!(matches!(read, Read::Row(row) if row.is_ok()));
    // 2.
    let repeated = format!(r#"{{{row},"Type":{{"S":"CREATED"}}}}"#);
    let slow_reads = slow(&body(&repeated)).expect("an event");
    assert!(matches!(&slow_reads[0], Read::Row(row) if row.is_ok()));
    let read = fast(&body(&repeated)).expect("JSON").remove(0);
    let Read::Row(read) = read else {
        panic!("{read:?}")
    };
    let error = "Type: is of type a repeated attribute, not S";
    assert_eq!(*read, Err(error.to_owned()));
    // 3.
    let error = "Type: is missing".to_owned();
    assert_eq!(errors("[]"), (None, error.clone()));
    assert_eq!(errors("null"), (Some(error.clone()), error));
    // 4.
    let binary = format!(r#"{{{row},"Currency":{{"B":"no base64!"}}}}"#);
    let error = "Currency: is of type B, not S".to_owned();
    assert_eq!(errors(&binary), (None, error));
}

#[test]
fn of_several_errors_the_same_one_is_reported_in_any_order() {
    let row =
        r#""Type":{"S":"SNAPSHOT"},"Version":{"N":"2"},"Timestamp":{"S":"2026-11-20T21:03:05Z"}"#;
    let balance = r#""Balance":{"S":"x"}"#;
    let currency = r#""Currency":{"N":"1"}"#;
    let error = "Balance: is of type S, not N".to_owned();
    for image in [
        format!("{{{row},{balance},{currency}}}"),
        format!("{{{currency},{row},{balance}}}"),
    ] {
        assert_eq!(errors(&image), (Some(error.clone()), error.clone()));
    }
}
