//! A domain whose code panics for some values: the aggregates that have them are blocked, and the others
//! of the batch are completed in the same invocation.

use millrace_core::{Attribute, Domain, Refusal, Sequence};
use millrace_translator::cursor::Cursor;
use millrace_translator::testing::TestServices;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Meters with readings.
#[derive(Debug, Clone, Copy)]
struct Meters;

/// The readings for which the code panics, by what it does then.
const DECODING_THE_ROW: u64 = 11_111;
const PUBLISHING: u64 = 22_222;
const ENCODING_THE_EVENT: u64 = 33_333;
const ENCODING_THE_CONTEXT: u64 = 44_444;
const DECODING_THE_CONTEXT: u64 = 55_555;

fn panic_for(panicking: u64, value: u64) {
    assert!(value != panicking, "the reading is {value}");
}

#[derive(Deserialize)]
enum Command {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
enum Event {
    Installed {},
    Read {
        #[serde(deserialize_with = "decode_row")]
        value: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum PublicEvent {
    Installed {},
    Read {
        #[serde(serialize_with = "encode_event")]
        value: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Last {
    #[serde(serialize_with = "encode_context", deserialize_with = "decode_context")]
    value: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meter {}

fn decode_row<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    panic_for(DECODING_THE_ROW, value);
    Ok(value)
}

fn decode_context<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    panic_for(DECODING_THE_CONTEXT, value);
    Ok(value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn encode_event<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    panic_for(ENCODING_THE_EVENT, *value);
    serializer.serialize_u64(*value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn encode_context<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    panic_for(ENCODING_THE_CONTEXT, *value);
    serializer.serialize_u64(*value)
}

impl Domain for Meters {
    const COLLECTION: &'static str = "meters";
    const ID: &'static str = "meterId";
    const OPENS: &'static str = "install";
    const BEGINS: &'static str = "Installed";

    type Command = Command;
    type Event = Event;
    type State = Meter;
    type PublicEvent = PublicEvent;
    type Context = Last;
    type Accepted = ();

    fn decide(&self, _: Option<&Meter>, command: Command) -> Result<Vec<Event>, Refusal> {
        match command {}
    }

    fn evolve(_: Option<Meter>, _: &Event) -> Option<Meter> {
        Some(Meter {})
    }

    fn publish(context: &mut Last, event: &Event) -> Option<PublicEvent> {
        Some(match *event {
            Event::Installed {} => PublicEvent::Installed {},
            Event::Read { value } => {
                context.value = value;
                panic_for(PUBLISHING, value);
                PublicEvent::Read { value }
            }
        })
    }

    fn accepted(_: &Meter) {}
}

fn sequence(sequence: u64) -> Sequence {
    Sequence::new(sequence).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn aggregates_whose_code_panics_are_blocked_and_the_other_995_are_completed() {
    let services = TestServices::new(Meters);
    let values = [
        ("row", DECODING_THE_ROW),
        ("publish", PUBLISHING),
        ("event", ENCODING_THE_EVENT),
        ("context", ENCODING_THE_CONTEXT),
    ];
    let mut rows = Vec::new();
    for (id, value) in values {
        rows.extend(services.append(id, &[Event::Installed {}, Event::Read { value }]));
    }
    rows.extend(services.append("cursor", &[Event::Installed {}]));
    let mut cursor = Cursor {
        published_through: sequence(5),
        ..Cursor::default()
    };
    let context = ("Value".to_owned(), Attribute::number(DECODING_THE_CONTEXT));
    cursor.context = Some([context].into());
    services.world().cursors.insert("cursor".into(), Ok(cursor));
    let others: Vec<String> = (0..995).map(|number| format!("well-{number}")).collect();
    for id in &others {
        rows.extend(services.append(id, &[Event::Installed {}, Event::Read { value: 7 }]));
    }

    let outcome = services.translate(&rows).await;
    assert_eq!(outcome.resume_at, None);
    assert_eq!((outcome.aggregates, outcome.blocked), (1_000, 5));
    for id in &others {
        assert_eq!(services.sequences(id), [1, 2], "{id}");
        assert_eq!(services.cursor(id).published_through, sequence(2), "{id}");
    }
    for (id, value) in values {
        assert_eq!(services.sequences(id), [1], "{id}");
        let cursor = services.cursor(id);
        assert_eq!(cursor.published_through, sequence(1), "{id}");
        let block = cursor.blocked().cloned().expect("it is blocked");
        assert_eq!(block.sequence, sequence(2), "{id}");
        assert_eq!(block.row.as_deref(), Some("3"), "{id}");
        assert!(block.reason.contains("panicked"), "{}", block.reason);
        assert!(!block.reason.contains(&value.to_string()), "it quotes it");
    }
    let marks = &services.world().marks;
    let block = marks.get("cursor").expect("its block is recorded");
    assert!(block.reason.contains("panicked"), "{}", block.reason);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_panics_while_the_context_is_restored_blocks() {
    let services = TestServices::new(Meters);
    let panicking = Event::Read { value: PUBLISHING };
    services.append("a", &[Event::Installed {}, panicking]);
    let rows = services.append("a", &[Event::Read { value: 7 }]);
    let cursor = Cursor {
        published_through: sequence(2),
        ..Cursor::default()
    };
    services.world().cursors.insert("a".into(), Ok(cursor));
    let outcome = services.translate(&rows).await;
    assert_eq!((outcome.resume_at, outcome.blocked), (None, 1));
    let block = services
        .cursor("a")
        .blocked()
        .cloned()
        .expect("it is blocked");
    assert_eq!(block.row.as_deref(), Some("3"));
    assert!(services.sequences("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_block_ends_once_the_code_no_longer_panics_for_its_row() {
    let services = TestServices::new(Meters);
    let value = DECODING_THE_ROW;
    let rows = services.append("a", &[Event::Installed {}, Event::Read { value }]);
    services.translate(&rows).await;
    services.translate(&rows).await;
    assert!(services.cursor("a").blocked().is_some());
    {
        let mut world = services.world();
        let row = world.table.get_mut("a").and_then(|rows| rows.get_mut(&3));
        let row = row.expect("a row");
        row.insert("Value".into(), Attribute::number(7));
    }
    services.translate(&rows).await;
    assert_eq!(services.cursor("a").blocked(), None);
    assert_eq!(services.sequences("a"), [1, 2]);
}
