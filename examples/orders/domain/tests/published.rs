//! The bytes of public events, which never change, and the lake records that they become.

use millrace_core::lake;
use millrace_core::row::{ID, SCHEMA_VERSION, TIMESTAMP, TYPE, VERSION};
use millrace_core::{Attribute, Attributes, Envelope, StoredRow, json};
use orders_domain::{Orders, PublicEvent};

/// An order's rows, one per line, without `Id` and `Timestamp`. The first two are of schema version 1.
const ROWS: &str = include_str!("rows.jsonl");
/// The public events of these rows, one per line. Consumers depend on the published bytes: add lines, but
/// don't change any.
const EVENTS: &str = include_str!("published.jsonl");

fn row(line: &str) -> Attributes {
    let mut row = json::object(line.as_bytes()).expect("an object");
    row.extend([
        (ID.to_owned(), Attribute::text("o-1")),
        (
            TIMESTAMP.to_owned(),
            Attribute::text("2026-11-20T21:03:05.123Z"),
        ),
    ]);
    row
}

#[test]
fn rows_are_published_with_unchanged_bytes() {
    let mut published = String::new();
    for line in ROWS.lines() {
        let StoredRow::Event(recorded) = StoredRow::read(&Orders, &row(line)).expect(line) else {
            panic!("{line} should be an event");
        };
        let envelope = Envelope::publish::<Orders>(&mut (), &recorded).expect("published");
        let bytes = envelope.to_bytes::<Orders>().expect("JSON");
        published.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        published.push('\n');
    }
    assert_eq!(published, EVENTS);
}

#[test]
fn published_events_are_read_back_to_the_same_bytes() {
    for line in EVENTS.lines() {
        let envelope: Envelope<PublicEvent> =
            Envelope::parse::<Orders>(line.as_bytes()).expect(line);
        let bytes = envelope.to_bytes::<Orders>().expect("JSON");
        assert_eq!(std::str::from_utf8(&bytes), Ok(line));
        assert!(lake::is_row::<Orders>(line.as_bytes()), "{line}");
    }
}

#[test]
fn the_files_cover_every_type_and_every_schema_version() {
    for row_type in [
        "OrderPlaced",
        "LinesAdded",
        "ParcelShipped",
        "OrderCompleted",
        "OrderCancelled",
    ] {
        assert!(EVENTS.contains(&format!(r#""type":"{row_type}""#)));
    }
    let rows: Vec<Attributes> = ROWS.lines().map(row).collect();
    assert!(rows.iter().any(|row| !row.contains_key(SCHEMA_VERSION)));
    assert!(rows.iter().any(|row| row.contains_key(SCHEMA_VERSION)));
    assert!(
        rows.iter()
            .all(|row| row.contains_key(TYPE) && row.contains_key(VERSION))
    );
}

#[test]
fn the_lake_refuses_a_string_as_number_of_units() {
    let line = EVENTS.lines().next().expect("an event");
    let wrong = line.replace(r#""units":3"#, r#""units":"3""#);
    assert_ne!(wrong, line);
    assert!(!lake::is_row::<Orders>(wrong.as_bytes()));
}

#[test]
fn the_lake_refuses_lines_of_other_types() {
    let line = EVENTS.lines().next().expect("an event");
    for (right, other) in [
        (r#""quantity":3"#, r#""quantity":"3""#),
        (r#""lines":[{"#, r#""lines":["A-1",{"#),
    ] {
        let wrong = line.replace(right, other);
        assert_ne!(wrong, line);
        assert!(!lake::is_row::<Orders>(wrong.as_bytes()), "{wrong}");
    }
}
