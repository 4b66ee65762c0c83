//! The rules of the invocation: which records are change notifications, and which record the response
//! names.

use aws_lambda_events::streams::DynamoDbEventResponse;
use bytes::Bytes;
use lambda_runtime::{Context, LambdaEvent};
use millrace_core::{Attribute, Attributes, DecodeError, Timestamp, row};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Event};
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::{TestAmbient, in_virtual_time};
use millrace_runtime::{Ambient, System};
use millrace_translator::handler::handle;
use millrace_translator::service::Translator;
use millrace_translator::testing::{Fault, TestServices};
use proptest::prelude::*;
use serde_json::{Value, json};

type Services = TestServices<Accounts>;

fn accounts() -> Accounts {
    Accounts::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

fn services() -> Services {
    TestServices::new(accounts())
}

/// A stream record as the mapping delivers it.
fn record(number: usize, event_name: &str, image: &Value) -> Value {
    json!({
        "eventID": format!("event-{number}"),
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-north-1",
        "eventSourceARN": "arn:aws:dynamodb:eu-north-1:000000000000:table/events/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000,
            "Keys": {"Id": image["Id"], "Version": image["Version"]},
            "NewImage": image,
            "SequenceNumber": format!("{number}00"),
            "SizeBytes": 100,
            "StreamViewType": "NEW_IMAGE",
        },
    })
}

fn created(id: &str) -> Value {
    json!({
        "Id": {"S": id}, "Version": {"N": "1"}, "Type": {"S": "CREATED"},
        "Timestamp": {"S": "2026-11-20T21:03:05Z"},
    })
}

/// A row of an unknown type.
fn damaged(id: &str) -> Attributes {
    [
        (row::ID, Attribute::text(id)),
        (row::VERSION, Attribute::number(1)),
        (row::TYPE, Attribute::text("REFUND")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn invoke(services: &Services, records: Vec<Value>) -> Vec<Option<String>> {
    invoke_in(System, services, records).await
}

async fn invoke_in(
    ambient: impl Ambient,
    services: &Services,
    records: Vec<Value>,
) -> Vec<Option<String>> {
    let body = json!({ "Records": records }).to_string();
    let response = invoke_with(ambient, services, body.into()).await;
    let response = response.expect("a stream event");
    response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect()
}

async fn invoke_with(
    ambient: impl Ambient,
    services: &Services,
    body: Bytes,
) -> Result<DynamoDbEventResponse, DecodeError> {
    let mut context = Context::default();
    context.deadline = u64::try_from(ambient.now().unix_millis() + 20_000).expect("after 1970");
    let translator = Translator {
        domain: accounts(),
        rows: services,
        cursors: services,
        publisher: services,
        ambient,
    };
    handle(&translator, LambdaEvent::new(body, context)).await
}

#[tokio::test(start_paused = true)]
async fn inserts_of_events_are_news_and_nothing_else_is() {
    let services = services();
    let snapshot = json!({
        "Id": {"S": "b"}, "Version": {"N": "2"}, "Type": {"S": "SNAPSHOT"},
        "Balance": {"N": "0"}, "Timestamp": {"S": "2026-11-20T21:03:05Z"},
    });
    let settings = json!({
        "Id": {"S": "\u{1}millrace"}, "Version": {"N": "0"}, "Type": {"S": "SETTINGS"},
        "DefaultCurrency": {"S": "EUR"},
    });
    let failures = invoke(
        &services,
        vec![
            record(0, "INSERT", &settings),
            record(1, "MODIFY", &created("c")),
            record(2, "REMOVE", &created("d")),
            record(3, "INSERT", &snapshot),
            record(4, "INSERT", &created("a")),
        ],
    )
    .await;
    assert!(failures.is_empty());
    assert_eq!(services.sequences("a"), [1]);
    let published: Vec<String> = services
        .world()
        .stream
        .iter()
        .map(|record| record.partition_key.clone())
        .collect();
    assert_eq!(published, ["a"]);
    assert_eq!(services.world().cursors.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_names_the_first_record_that_is_not_through_and_only_it() {
    let services = services();
    services
        .world()
        .throttled
        .extend(["b".to_owned(), "c".to_owned()]);
    let records = ["a", "b", "c", "d"]
        .into_iter()
        .enumerate()
        .map(|(number, id)| record(number, "INSERT", &created(id)))
        .collect();
    assert_eq!(invoke(&services, records).await, [Some("100".to_owned())]);
    assert_eq!(services.sequences("a"), [1]);
    assert_eq!(services.sequences("d"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_sequence_number_stands_for_the_whole_batch() {
    let services = services();
    services.world().throttled.push("a".to_owned());
    let mut nameless = record(0, "INSERT", &created("a"));
    nameless["dynamodb"]
        .as_object_mut()
        .expect("an object")
        .remove("SequenceNumber");
    assert_eq!(
        invoke(&services, vec![nameless]).await,
        [Some(String::new())]
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_table_is_reported_and_holds_no_other_back() {
    let services = services();
    let mut foreign = record(0, "INSERT", &created("x"));
    foreign["dynamodb"]["Keys"] = json!({"Key": {"S": "x"}});
    let failures = invoke(&services, vec![foreign, record(1, "INSERT", &created("a"))]).await;
    assert_eq!(failures, [Some("000".to_owned())]);
    assert_eq!(services.sequences("a"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_unexpected_shape_is_reported_and_holds_no_other_back() {
    let services = services();
    let shapes = [
        json!(null),
        json!([{}]),
        json!({"eventName": 1}),
        json!({"eventName": "INSERT", "dynamodb": "x"}),
        json!({"eventName": "INSERT", "dynamodb": {"Keys": {"Id": {"S": 1}}}}),
    ];
    for shape in shapes {
        let batch = vec![record(0, "INSERT", &created("a")), shape.clone()];
        let failures = invoke(&services, batch).await;
        assert_eq!(failures, [Some(String::new())], "{shape}");
    }
    assert_eq!(services.sequences("a"), [1]);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_stream_event_are_an_error() {
    let services = services();
    for body in ["", "{}", "{\"Records\":[{}"] {
        let response = invoke_with(System, &services, body.into()).await;
        response.expect_err(body);
    }
    assert!(services.world().stream.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_of_any_attribute_types_is_set_aside_with_its_reason() {
    let services = services();
    let odd = json!({
        "Id": {"S": "a"}, "Version": {"N": "1"}, "Type": {"BOOL": true}, "M": {"M": {}},
        "L": {"L": []}, "Null": {"NULL": true}, "B": {"B": "AA=="}, "SS": {"SS": ["x"]},
        "NS": {"NS": ["1"]}, "BS": {"BS": ["AA=="]},
    });
    let mut row = services.append(
        "a",
        &[Event::AccountCreated {
            currency: Currency::stored("EUR").expect("valid"),
        }],
    );
    row[0].insert("Type".into(), Attribute::Other("BOOL"));
    services
        .world()
        .table
        .insert("a".into(), [(1, row.remove(0))].into());
    assert!(
        invoke(&services, vec![record(0, "INSERT", &odd)])
            .await
            .is_empty()
    );
    let reason = services
        .cursor("a")
        .blocked()
        .cloned()
        .expect("blocked")
        .reason;
    assert_eq!(reason, "Type: is of type BOOL, not S");
}

fn credited(id: &str, version: &Value) -> Value {
    let mut row = created(id);
    row["Version"] = json!({ "N": version });
    row["Type"] = json!({ "S": "CREDIT" });
    row["Amount"] = json!({ "N": "5" });
    row
}

#[tokio::test(start_paused = true)]
async fn an_invocation_measures_its_outcome() {
    let now = Timestamp::parse("2026-11-20T21:03:05.250Z").expect("valid");
    let (services, ambient) = (services(), TestAmbient::at(now));
    let amount = Amount::new(5).expect("valid");
    let rows = services.append(
        "a",
        &[
            Event::AccountCreated {
                currency: Currency::stored("EUR").expect("valid"),
            },
            Event::BalanceCredited { amount },
            Event::BalanceCredited { amount },
        ],
    );
    let version = |row: usize| rows[row][row::VERSION].clone();
    let Attribute::Number(third) = version(rows.len() - 1) else {
        panic!("a version is a number");
    };
    invoke(&services, vec![record(0, "INSERT", &created("a"))]).await;

    // A duplicate, an event after a missing one, and an undecodable row. The first put of the missing event
    // fails, after the cursors and two rows were read and the block was saved.
    let calls_before = [Fault::None; 4];
    services.world().faults.extend(calls_before);
    services.world().faults.push_back(Fault::Lost);
    let mut odd = created("b");
    odd["Type"] = json!({ "S": "REFUND" });
    services
        .world()
        .table
        .insert("b".to_owned(), [(1, damaged("b"))].into());
    let batch = vec![
        record(0, "INSERT", &created("a")),
        record(1, "INSERT", &credited("a", &json!(third))),
        record(2, "INSERT", &odd),
    ];
    assert!(invoke_in(&ambient, &services, batch).await.is_empty());
    assert_eq!(services.sequences("a"), [1, 2, 3]);
    assert_eq!(
        ambient.measured(),
        [
            (Metric::EventsTranslated, Some(2)),
            (Metric::EventsPublished, Some(2)),
            (Metric::EventsRepeated, Some(1)),
            (Metric::EventsRepaired, Some(1)),
            (Metric::AggregatesBlocked, Some(1)),
            (Metric::AggregatesParked, Some(0)),
            (Metric::PublishRetries, Some(1)),
            (Metric::LongestChain, Some(2)),
            (Metric::PublishLag, Some(250)),
        ]
    );
}

/// An attribute of any type, often one that an event row has.
fn any_attribute() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => "([0-9]{1,3}|-?[0-9]{1,40}(\\.[0-9]{1,3})?|1e9)".prop_map(|n| json!({"N": n})),
        2 => "(CREATED|CREDITED|WITHDRAWN|SNAPSHOT|2026-11-20T21:03:05Z)".prop_map(|s| json!({"S": s})),
        2 => "\\PC{0,9}".prop_map(|s| json!({"S": s})),
        1 => prop::sample::select(vec![
            json!({"BOOL": true}),
            json!({"NULL": true}),
            json!({"B": "AA=="}),
            json!({"L": [{"N": "1"}]}),
            json!({"M": {"Id": {"S": "a"}}}),
            json!({"SS": ["x"]}),
            json!({"NS": ["1"]}),
            json!({"BS": ["AA=="]}),
        ]),
    ]
}

fn any_item() -> impl Strategy<Value = Value> {
    let name =
        "(Id|Version|Type|Amount|Balance|Timestamp|Sequence|SchemaVersion|Currency|\\PC{0,4})";
    prop::collection::hash_map(name, any_attribute(), 0..8).prop_map(|item| json!(item))
}

fn any_change() -> impl Strategy<Value = (String, Value, Value)> {
    let name = "(INSERT|INSERT|INSERT|MODIFY|REMOVE|\\PC{0,6})";
    (name, any_item(), any_item())
}

proptest! {
    #[test]
    fn no_batch_panics_and_what_is_sound_in_it_is_published(
        changes in prop::collection::vec(any_change(), 0..12),
    ) {
        let sound = record(500, "INSERT", &created("sound"));
        let records: Vec<Value> = changes
            .iter()
            .enumerate()
            .map(|(number, (name, keys, image))| {
                let mut record = record(number, name, image);
                record["dynamodb"]["Keys"] = keys.clone();
                record
            })
            .chain([sound])
            .collect();
        let numbers: Vec<Value> = records
            .iter()
            .map(|record| record["dynamodb"]["SequenceNumber"].clone())
            .collect();
        let services = services();
        let failures = in_virtual_time(invoke(&services, records));
        prop_assert!(failures.len() <= 1);
        for failure in failures {
            prop_assert!(numbers.contains(&json!(failure)), "{failure:?}");
        }
        prop_assert_eq!(services.sequences("sound"), [1]);
    }
}
