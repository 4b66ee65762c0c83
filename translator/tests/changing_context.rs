//! A domain whose public events repeat what the event before them contains, so that the context changes
//! with each event.

use millrace_core::{Domain, Refusal, Sequence};
use millrace_translator::MAX_READY_BYTES;
use millrace_translator::cursor::Cursor;
use millrace_translator::testing::{Fault, TestServices};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Meters, whose readings are published with the reading before.
#[derive(Debug, Clone, Copy)]
struct Meters;

#[derive(Deserialize)]
enum Command {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
enum Event {
    Installed { unit: String },
    Read { value: u64 },
    Reset {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum PublicEvent {
    Installed { unit: String },
    Read { value: u64, previous: Option<u64> },
    Reset { previous: Option<u64> },
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Previous {
    value: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meter {}

impl Domain for Meters {
    const COLLECTION: &'static str = "meters";
    const ID: &'static str = "meterId";
    const OPENS: &'static str = "install";
    const BEGINS: &'static str = "Installed";

    type Command = Command;
    type Event = Event;
    type State = Meter;
    type PublicEvent = PublicEvent;
    type Context = Previous;
    type Accepted = ();

    fn decide(&self, _: Option<&Meter>, command: Command) -> Result<Vec<Event>, Refusal> {
        match command {}
    }

    fn evolve(_: Option<Meter>, _: &Event) -> Option<Meter> {
        Some(Meter {})
    }

    fn publish(context: &mut Previous, event: &Event) -> Option<PublicEvent> {
        let previous = context.value;
        Some(match event {
            Event::Installed { unit } => PublicEvent::Installed { unit: unit.clone() },
            Event::Read { value } => {
                context.value = Some(*value);
                PublicEvent::Read {
                    value: *value,
                    previous,
                }
            }
            Event::Reset {} => {
                context.value = None;
                PublicEvent::Reset { previous }
            }
        })
    }

    fn accepted(_: &Meter) {}
}

fn installed() -> Event {
    Event::Installed {
        unit: "kWh".to_owned(),
    }
}

fn read(value: u64) -> Event {
    Event::Read { value }
}

/// What each record of the stream repeats.
fn previous(services: &TestServices<Meters>) -> Vec<Option<u64>> {
    let world = services.world();
    let data = |data: &[u8]| serde_json::from_slice::<Value>(data).expect("JSON");
    world
        .stream
        .iter()
        .map(|record| data(&record.data)["data"]["previous"].as_u64())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_cursor_contains_the_context_of_the_last_acknowledged_event() {
    let services = TestServices::new(Meters);
    let rows = services.append("a", &[installed(), read(10), read(20), read(30)]);
    // The cursors are read, two events are published, and the deadline is before a third put.
    services.world().faults = [Fault::None, Fault::None, Fault::None, Fault::Lost].into();
    let deadline = std::time::Duration::from_millis(5);
    let outcome = services.translate_within(&rows, deadline).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert_eq!(services.cursor("a").published_through.get(), 2);
    assert_eq!(services.translate(&rows).await.resume_at, None);
    assert_eq!(previous(&services), [None, None, Some(10), Some(20)]);
}

#[tokio::test(start_paused = true)]
async fn a_column_that_ends_is_not_kept() {
    let services = TestServices::new(Meters);
    let rows = services.append("a", &[installed(), read(10), Event::Reset {}]);
    services.translate(&rows).await;
    let cursor = services.cursor("a");
    assert_eq!(cursor.context, Some([].into()));
    services.translate(&services.append("a", &[read(5)])).await;
    assert_eq!(previous(&services), [None, None, Some(10), None]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_context_is_folded_from_all_events_before() {
    let services = TestServices::new(Meters);
    let mut events = vec![installed()];
    events.extend((1..=30).map(read));
    let rows = services.append("a", &events);
    let cursor = Cursor {
        published_through: Sequence::new(30).expect("valid"),
        ..Cursor::default()
    };
    services.world().cursors.insert("a".to_owned(), Ok(cursor));
    assert_eq!(services.translate(&rows).await.resume_at, None);
    assert_eq!(previous(&services), [Some(29)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_before_the_cursor_that_is_needed_and_missing_blocks() {
    let services = TestServices::new(Meters);
    let rows = services.append("a", &[installed(), read(10), read(20), read(30)]);
    services
        .world()
        .table
        .get_mut("a")
        .expect("rows")
        .remove(&3);
    let cursor = Cursor {
        published_through: Sequence::new(3).expect("valid"),
        ..Cursor::default()
    };
    services.world().cursors.insert("a".to_owned(), Ok(cursor));
    assert_eq!(services.translate(&rows[4..]).await.blocked, 1);
    let block = services.cursor("a").blocked().cloned().expect("blocked");
    assert_eq!(block.sequence.get(), 4);
    assert_eq!(block.reason, "row 3 is missing, and row 4 is there");
}

#[tokio::test(start_paused = true)]
async fn a_context_is_restored_with_one_read_of_each_page() {
    let services = TestServices::new(Meters);
    let rows = services.append("a", &[installed(), read(10), read(20), read(30)]);
    let cursor = Cursor {
        published_through: Sequence::new(3).expect("valid"),
        ..Cursor::default()
    };
    {
        let mut world = services.world();
        world.cursors.insert("a".to_owned(), Ok(cursor));
        world.page_rows = 10;
        world.faults = [Fault::None; 9].into();
    }
    assert_eq!(services.translate(&rows[4..]).await.resume_at, None);
    assert_eq!(previous(&services), [Some(20)]);
    // The cursor is loaded, a page is read, the event is put, and the cursor is saved.
    assert_eq!(services.world().faults.len(), 9 - 4);
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_may_be_ready_together_are_published_in_turn() {
    let services = TestServices::new(Meters);
    let unit = "x".repeat(1_000_000);
    assert!(40 * unit.len() > MAX_READY_BYTES);
    let mut rows = Vec::new();
    for number in 0..40 {
        let event = Event::Installed { unit: unit.clone() };
        rows.extend(services.append(&format!("a{number}"), &[event]));
    }
    assert_eq!(services.translate(&rows).await.resume_at, None);
    assert_eq!(services.world().stream.len(), 40);
}
