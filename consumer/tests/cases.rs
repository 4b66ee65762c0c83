//! The cases of `consumers/cases.json`, which the libraries for Python and Node.js pass too.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_consumer::testing::kinesis_event;
use millrace_consumer::{
    Change, Consumer, Envelope, Gap, Handler, MemoryPositions, Position, Positions, Received, Save,
    Saved, Sequence, SequenceGate, StoreError, Undecodable,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SOURCE: &str = "urn:millrace:accounts";
/// The sequence number of a batch's first record.
const FIRST_NUMBER: u64 = 100;

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
enum AccountEvent {
    AccountCreated { currency: String },
    BalanceCredited { amount: u64, currency: String },
    BalanceWithdrawn { amount: u64, currency: String },
}

fn cases() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../consumers/cases.json");
    let text = std::fs::read(path).expect("the cases");
    let cases: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(cases["source"], SOURCE);
    let known = [
        "AccountCreated:1",
        "BalanceCredited:1",
        "BalanceWithdrawn:1",
    ];
    assert_eq!(cases["knownTypes"], json!(known));
    cases
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    let list = value[name].as_array();
    list.unwrap_or_else(|| panic!("no list {name} in {value}"))
}

fn sequence(value: &Value) -> Sequence {
    let number = value.as_u64().and_then(Sequence::new);
    number.unwrap_or_else(|| panic!("{value} is no sequence"))
}

#[test]
fn the_gate_compares_an_event_with_the_position() {
    let cases = cases();
    assert!(list(&cases, "gate").len() >= 9);
    for case in list(&cases, "gate") {
        let result = SequenceGate::check(sequence(&case["applied"]), sequence(&case["event"]));
        let expected = match case["result"].as_str() {
            Some("next") => SequenceGate::Next,
            Some("duplicate") => SequenceGate::Duplicate,
            Some("gap") => SequenceGate::Gap {
                missing: sequence(&case["missing"]),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(result, expected, "{case}");
    }
}

fn data(case: &Value) -> Vec<u8> {
    match case["dataBase64"].as_str() {
        Some(data) => STANDARD.decode(data).expect("base64"),
        None => case["data"].as_str().expect("data").as_bytes().to_vec(),
    }
}

fn without_nulls(value: &Value) -> Value {
    let members = value.as_object().expect("an object").iter();
    let members = members.filter(|(_, value)| !value.is_null());
    members
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A decoded record in the form of the cases.
fn shown(received: &Received<AccountEvent>) -> Value {
    match received {
        Received::Known(event) => {
            let tagged = serde_json::to_value(&event.event).expect("JSON");
            let (name, data) = tagged
                .as_object()
                .and_then(|it| it.iter().next())
                .expect("a tag");
            json!({"event": without_nulls(&json!({
                "id": event.id(), "type": name, "version": 1, "subject": event.subject,
                "sequence": event.sequence, "time": event.time,
                "correlationId": event.correlation_id, "causationId": event.causation_id,
                "traceParent": event.trace_parent, "data": data,
            }))})
        }
        Received::Unknown(event) => json!({"unknown": {
            "id": event.id(), "type": event.event.name, "version": event.event.version,
            "subject": event.subject, "sequence": event.sequence,
            "isKnownType": event.event.is_known_in_other_version,
        }}),
    }
}

#[test]
fn a_record_is_an_event_an_unknown_one_or_undecodable() {
    let cases = cases();
    assert!(list(&cases, "decode").len() >= 50);
    for case in list(&cases, "decode") {
        let decoded = Received::<AccountEvent>::parse(&data(case), SOURCE);
        let expected = if case["undecodable"] == true {
            assert!(decoded.is_err(), "{case}: {decoded:?}");
            continue;
        } else if case["event"].is_object() {
            json!({ "event": without_nulls(&case["event"]) })
        } else {
            json!({ "unknown": case["unknown"] })
        };
        let decoded = decoded.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(shown(&decoded), expected, "{}", case["name"]);
    }
}

#[derive(Default)]
struct Recorder {
    failing: Vec<String>,
    failing_undecodable: BTreeSet<u64>,
    undecodable: Arc<Mutex<Vec<u64>>>,
}

impl Handler for Recorder {
    const SOURCE: &'static str = SOURCE;
    type Event = AccountEvent;
    type State = u64;
    type Write = String;
    type Error = &'static str;

    async fn apply(
        &self,
        event: &Envelope<AccountEvent>,
        state: Option<u64>,
    ) -> Result<Change<u64, String>, &'static str> {
        if self.failing.contains(&event.id()) {
            return Err("this event fails");
        }
        Ok(Change {
            state: Some(state.unwrap_or_default() + 1),
            writes: vec![event.id()],
        })
    }

    async fn undecodable(&self, record: Undecodable<'_>) -> Result<(), &'static str> {
        let number = record.stream_id.rsplit(':').next().expect("a number");
        let position = number.parse::<u64>().expect("a number") - FIRST_NUMBER;
        self.undecodable.lock().expect("no panic").push(position);
        if self.failing_undecodable.contains(&position) {
            return Err("this record can't be stored");
        }
        Ok(())
    }
}

fn event(id: &str, event_type: &str, version: u64, members: &Value) -> Vec<u8> {
    let (subject, number) = id.rsplit_once(':').expect("an id");
    let mut data =
        json!({ "accountId": subject, "sequence": number.parse::<u64>().expect("a number") });
    for (name, value) in members.as_object().expect("an object") {
        data[name] = value.clone();
    }
    let event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": event_type, "subject": subject,
        "time": "2026-11-20T21:03:05.123Z", "datacontenttype": "application/json",
        "dataschema": format!("urn:millrace:schema:{event_type}:{version}"), "data": data,
    });
    event.to_string().into_bytes()
}

fn record(case: &Value) -> Vec<u8> {
    if let Some(id) = case["event"].as_str() {
        let number: u64 = id
            .rsplit(':')
            .next()
            .expect("a number")
            .parse()
            .expect("a number");
        if number == 1 {
            return event(id, "AccountCreated", 1, &json!({"currency": "EUR"}));
        }
        let members = json!({"amount": number, "currency": "EUR"});
        return event(id, "BalanceCredited", 1, &members);
    }
    if let Some(id) = case["unknownType"].as_str() {
        return event(id, "InterestPaid", 1, &json!({"interest": 1}));
    }
    if let Some(id) = case["unknownVersion"].as_str() {
        return event(id, "BalanceCredited", 2, &json!({"cents": 1}));
    }
    let bytes = case["undecodable"].as_str();
    bytes
        .map(|text| text.as_bytes().to_vec())
        .unwrap_or_default()
}

/// The batch as Lambda delivers it.
fn body(records: &[Value]) -> Vec<u8> {
    let data: Vec<_> = records.iter().map(record).collect();
    let numbered = (FIRST_NUMBER..).zip(&data);
    let mut body = kinesis_event(numbered.map(|(number, data)| (number, "key", &data[..])));
    for (position, case) in records.iter().enumerate() {
        if case["unusable"] == true {
            let record = body["Records"][position]["kinesis"].as_object_mut();
            record.expect("an object").remove("data");
        }
    }
    body.to_string().into_bytes()
}

/// The account of a record, if it is an event.
fn subject(record: &Value) -> Option<String> {
    let kinds = ["event", "unknownType", "unknownVersion"];
    let id = kinds.iter().find_map(|kind| record[kind].as_str())?;
    Some(id.rsplit_once(':').expect("an id").0.to_owned())
}

fn strings(case: &Value, member: &str) -> Vec<String> {
    let values = list(case, member).iter();
    values
        .map(|it| it.as_str().expect("a string").to_owned())
        .collect()
}

fn gaps(case: &Value, member: &str) -> BTreeMap<String, Gap> {
    let gaps = case[member].as_object().expect("an object").iter();
    gaps.map(|(subject, gap)| {
        let gap = Gap {
            missing: sequence(&gap["missing"]),
            seen: sequence(&gap["seen"]),
        };
        (subject.clone(), gap)
    })
    .collect()
}

/// Positions that can't be saved together with some events.
struct Refusing {
    positions: MemoryPositions<String>,
    refused: Vec<String>,
}

impl Positions<String> for Refusing {
    const MAX_WRITES: usize = <MemoryPositions<String> as Positions<String>>::MAX_WRITES;

    async fn read(&self, subject: &str) -> Result<Position, StoreError> {
        self.positions.read(subject).await
    }

    async fn save(&self, subject: &str, save: Save<String>) -> Result<Saved, StoreError> {
        if save.writes.iter().any(|id| self.refused.contains(id)) {
            return Err(StoreError::new("saving a position", "it is refused"));
        }
        self.positions.save(subject, save).await
    }
}

fn numbers(value: &Value) -> BTreeMap<String, u64> {
    let members = value.as_object().expect("an object").iter();
    let members = members.map(|(name, value)| (name.clone(), value.as_u64().expect("a number")));
    members.collect()
}

async fn run(case: &Value) -> Result<(), Infallible> {
    let name = &case["name"];
    let positions = MemoryPositions::default();
    let mut gaps_before = gaps(case, "gapsBefore");
    for (subject, applied) in numbers(&case["before"]) {
        let position = Position {
            sequence: Sequence::new(applied).expect("a sequence"),
            state: Some(applied.to_string()),
            gap: gaps_before.remove(&subject),
        };
        positions.set(&subject, position);
    }
    assert!(gaps_before.is_empty(), "{name}: a gap without a position");
    let undecodable = Arc::default();
    let handler = Recorder {
        failing: strings(case, "failing"),
        failing_undecodable: list(case, "failingUndecodable")
            .iter()
            .filter_map(Value::as_u64)
            .collect(),
        undecodable: Arc::clone(&undecodable),
    };
    let failing_undecodable = handler.failing_undecodable.clone();
    let store = Refusing {
        positions: positions.clone(),
        refused: strings(case, "failingSaves"),
    };
    let consumer = Consumer::new(handler, store);
    let outcome = consumer
        .process(&body(list(case, "records")))
        .await
        .expect("a batch");

    let reported: Vec<_> = outcome
        .response
        .batch_item_failures
        .into_iter()
        .map(|it| it.item_identifier)
        .collect();
    let failure = case["failure"]
        .as_u64()
        .map(|position| (FIRST_NUMBER + position).to_string());
    assert_eq!(reported, Vec::from_iter(failure), "{name}");
    // Different accounts are saved in any order.
    let mut applied = positions.writes();
    applied.sort_by_key(|id| id.split(':').next().map(str::to_owned));
    let expected: Vec<_> = list(case, "applied")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(applied, expected, "{name}");
    for (subject, after) in numbers(&case["after"]) {
        assert_eq!(
            positions.position(&subject).sequence.get(),
            after,
            "{name}: {subject}"
        );
    }
    let expected = gaps(case, "gaps");
    let subjects: BTreeSet<String> = list(case, "records").iter().filter_map(subject).collect();
    let found: BTreeMap<String, Gap> = subjects
        .into_iter()
        .filter_map(|subject| {
            let gap = positions.position(&subject).gap?;
            Some((subject, gap))
        })
        .collect();
    assert_eq!(found, expected, "{name}");
    let mut set_aside = undecodable.lock().expect("no panic").clone();
    set_aside.retain(|position| !failing_undecodable.contains(position));
    let expected: Vec<_> = list(case, "undecodable")
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(set_aside, expected, "{name}");
    assert_eq!(
        outcome.undecodable,
        expected.len() + failing_undecodable.len(),
        "{name}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_processed_as_specified() {
    let cases = cases();
    assert!(list(&cases, "batches").len() >= 20);
    for case in list(&cases, "batches") {
        run(case).await.expect("it can't fail");
    }
}
