//! A domain whose types have no form as items, and whose code panics: faults that only the aggregates with
//! such values have.

use std::marker::PhantomData;
use std::time::Duration;

use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_record;
use millrace_core::{Attribute, Domain, Project, Refusal};
use millrace_projector::service::{Outcome, Projector};
use millrace_projector::testing::MemoryReadModel;
use millrace_runtime::Budget;
use serde::{Deserialize, Deserializer, Serialize};

use crate::accounts::{AMBIENT, sequence};

/// Meters with readings. A reading is a float in the view and in the history.
struct Meters;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Installed {},
    Read {
        #[serde(deserialize_with = "read_value")]
        value: u32,
        shown_in: Shown,
    },
}

/// The reading whose decoding panics.
const PANICKING: u32 = 66_666;

fn panic_for(value: u32) {
    assert!(value != PANICKING, "the reading is {value}");
}

fn read_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    u32::deserialize(deserializer).inspect(|value| panic_for(*value))
}

/// Where a reading is shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Shown {
    Nowhere,
    View,
    History,
    /// Applying the event panics.
    Panic,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reading {
    #[serde(default, deserialize_with = "read_integer")]
    reading: Option<f64>,
}

fn read_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<u32>::deserialize(deserializer)?;
    value.into_iter().for_each(panic_for);
    Ok(value.map(f64::from))
}

#[derive(Deserialize)]
enum Command {}

impl Domain for Meters {
    const COLLECTION: &'static str = "meters";
    const ID: &'static str = "meterId";
    const OPENS: &'static str = "install";
    const BEGINS: &'static str = "Installed";

    type Command = Command;
    type Event = Event;
    type State = ();
    type PublicEvent = Event;
    type Context = ();
    type Accepted = ();

    fn decide(&self, _: Option<&()>, command: Command) -> Result<Vec<Event>, Refusal> {
        match command {}
    }

    fn evolve(_: Option<()>, _: &Event) -> Option<()> {
        Some(())
    }

    fn publish((): &mut (), event: &Event) -> Option<Event> {
        Some(event.clone())
    }

    fn accepted((): &()) {}
}

impl Project for Meters {
    type View = Reading;
    type Entry = Reading;
    const HISTORY: &'static str = "readings";

    fn project(_: Option<&Reading>, event: &Event) -> (Reading, Reading) {
        let shown_in = |place| match event {
            Event::Read { value, shown_in } if *shown_in == place => Some(f64::from(*value)),
            Event::Read {
                shown_in: Shown::Panic,
                ..
            } => panic!("it quotes {event:?}"),
            Event::Installed {} | Event::Read { .. } => None,
        };
        let shown = |place| Reading {
            reading: shown_in(place),
        };
        (shown(Shown::View), shown(Shown::History))
    }

    fn not_found() -> Refusal {
        Refusal::unknown("meter-not-found", "there is no such meter")
    }
}

/// A meter's events: the installation, then readings that are shown nowhere but for the last one.
fn meter(id: &str, events: u64, last: Shown) -> Vec<KinesisRecord<'static>> {
    meter_reading(id, events, last, 7)
}

/// A meter's events, all of whose readings are of this value.
fn meter_reading(id: &str, events: u64, last: Shown, value: u32) -> Vec<KinesisRecord<'static>> {
    let event = |number| {
        let event = match number {
            1 => Event::Installed {},
            _ => Event::Read {
                value,
                shown_in: if number == events {
                    last
                } else {
                    Shown::Nowhere
                },
            },
        };
        let envelope = millrace_core::Envelope {
            subject: millrace_core::AggregateId::new(id).expect("an id"),
            sequence: sequence(number),
            time: millrace_core::Timestamp::from_unix_millis(0).expect("1970"),
            correlation_id: None,
            causation_id: None,
            trace_parent: None,
            event,
        };
        kinesis_record(0, id, &envelope.to_bytes::<Meters>().expect("encodes"))
    };
    (1..=events).map(event).collect()
}

async fn project(memory: &MemoryReadModel, mut records: Vec<KinesisRecord<'_>>) -> Outcome {
    for (position, record) in records.iter_mut().enumerate() {
        record.position = position;
    }
    let projector = Projector {
        domain: PhantomData::<Meters>,
        model: memory,
        ambient: &*AMBIENT,
    };
    let budget = Budget::lasting(Duration::from_mins(1));
    projector.project(records, budget).await
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_items_cannot_be_encoded_makes_its_view_stale_and_no_other() {
    for shown_in in [Shown::View, Shown::History] {
        let memory = MemoryReadModel::default();
        let records = [meter("a", 3, shown_in), meter("b", 3, Shown::Nowhere)];
        let outcome = project(&memory, records.concat()).await;
        assert_eq!(
            (outcome.resume_at, outcome.stale, outcome.applied),
            (None, 1, 5)
        );
        let stale = memory.stale("a").expect("stale");
        let reason = "event 3 leads to an item that can't be encoded: Reading: has a type that is \
                      not supported";
        assert_eq!((stale.until, stale.reason.as_str()), (sequence(3), reason));
        let sequence_of = |id| memory.items().views[id]["Sequence"].clone();
        assert_eq!(sequence_of("a"), Attribute::number(2));
        assert_eq!(memory.items().history_of("a").count(), 2);
        assert_eq!(
            (sequence_of("b"), memory.stale("b")),
            (Attribute::number(3), None)
        );

        // The same events again change nothing.
        let outcome = project(&memory, meter("a", 3, shown_in)).await;
        assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        assert_eq!(memory.saves(), 2);
    }
}

/// A type may be read and have no form when it is written.
#[tokio::test(start_paused = true)]
async fn a_stored_view_that_cannot_be_encoded_becomes_stale_and_is_left_as_it_is() {
    let memory = MemoryReadModel::default();
    project(&memory, meter("a", 2, Shown::Nowhere)).await;
    let mut stored = memory.items().views["a"].clone();
    stored.insert("Reading".to_owned(), Attribute::number(7));
    memory.items().views.insert("a".to_owned(), stored.clone());
    let outcome = project(&memory, meter("a", 3, Shown::Nowhere)).await;
    assert_eq!(
        (outcome.resume_at, outcome.stale, outcome.applied),
        (None, 1, 0)
    );
    let reason = memory.stale("a").expect("stale").reason;
    let expected = "the view can't be written again: Reading: has a type that is not supported";
    assert_eq!(reason, expected);
    let mut left = memory.items().views["a"].clone();
    assert_ne!(left.remove("Revision"), stored.remove("Revision"));
    left.retain(|name, _| !name.starts_with("Stale"));
    assert_eq!(left, stored);
}

#[tokio::test(start_paused = true)]
async fn aggregates_whose_code_panics_become_stale_and_the_other_997_are_completed() {
    let memory = MemoryReadModel::default();
    project(&memory, meter("view", 1, Shown::Nowhere)).await;
    let reading = Attribute::number(u64::from(PANICKING));
    let mut view = memory.items().views["view"].clone();
    view.insert("Reading".to_owned(), reading);
    memory.items().views.insert("view".to_owned(), view);
    let mut records = vec![
        meter("apply", 3, Shown::Panic),
        meter_reading("parse", 2, Shown::Nowhere, PANICKING),
        meter("view", 2, Shown::Nowhere),
    ];
    let others: Vec<String> = (0..997).map(|number| format!("well-{number}")).collect();
    records.extend(others.iter().map(|id| meter(id, 2, Shown::Nowhere)));

    let outcome = project(&memory, records.concat()).await;
    assert_eq!(outcome.resume_at, None);
    assert_eq!((outcome.aggregates, outcome.stale), (1_000, 3));
    assert_eq!(outcome.applied, 2 + 1 + 2 * 997);
    for id in &others {
        assert_eq!(memory.items().views[id]["Sequence"], Attribute::number(2));
        assert_eq!(memory.stale(id), None, "{id}");
    }
    let reason = |id| memory.stale(id).expect("it is stale").reason;
    assert_eq!(reason("apply"), "applying event 3 panicked");
    assert_eq!(reason("parse"), "reading a record panicked");
    assert_eq!(reason("view"), "reading the view panicked");
    let through = memory.items().views["apply"]["Sequence"].clone();
    assert_eq!(through, Attribute::number(2), "the events before it");
}
