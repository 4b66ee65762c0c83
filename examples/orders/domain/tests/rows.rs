//! The rows of orders in the events table, of the current schema version and of version 1.

use millrace_core::row::{ID, SCHEMA_VERSION, SNAPSHOT, TIMESTAMP, TYPE, VERSION};
use millrace_core::{
    AggregateId, Attribute, Attributes, DecodeError, Metadata, RecordedEvent, Snapshot, StoredRow,
    StoredRowOf, Timestamp, Version,
};
use orders_domain::{Event, Line, Lines, Order, OrderLine, Orders, Recipient, Sku, Status};

fn sku() -> Sku {
    Sku::new("A-1").expect("valid")
}

fn lines(units: u32) -> Lines {
    let line = Line {
        sku: sku(),
        quantity: units.try_into().expect("valid"),
    };
    vec![line].try_into().expect("valid")
}

fn placed(units: u32) -> Event {
    Event::OrderPlaced {
        recipient: Recipient::new("Ada").expect("valid"),
        lines: lines(units),
    }
}

fn read(row: &Attributes) -> Result<StoredRowOf<Orders>, DecodeError> {
    StoredRow::read(&Orders, row)
}

fn event(row: &Attributes) -> Result<Event, DecodeError> {
    match read(row)? {
        StoredRow::Event(recorded) => Ok(recorded.event),
        StoredRow::Snapshot(_) => panic!("the row is a snapshot"),
    }
}

fn order(row: &Attributes) -> Result<Order, DecodeError> {
    match read(row)? {
        StoredRow::Snapshot(snapshot) => Ok(snapshot.state),
        StoredRow::Event(_) => panic!("the row is an event"),
    }
}

/// A row of schema version 1. Its rows have no `SchemaVersion`.
fn version_1(version: u64, row_type: &str, own: &[(&str, Attribute)]) -> Attributes {
    let core = [
        (ID, Attribute::text("o-1")),
        (VERSION, Attribute::number(version)),
        (TYPE, Attribute::text(row_type)),
        (TIMESTAMP, Attribute::text("2025-11-20T21:03:05.123Z")),
    ];
    let columns = core.iter().chain(own);
    columns
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn placed_in_version_1() -> Attributes {
    let own = [
        ("Recipient", Attribute::text("Ada")),
        ("Sku", Attribute::text("A-1")),
        ("Quantity", Attribute::number(3)),
    ];
    version_1(1, "OrderPlaced", &own)
}

#[test]
fn a_row_contains_the_lines_as_a_list_of_maps() {
    let recorded = RecordedEvent {
        id: AggregateId::new("o-1").expect("valid"),
        version: Version::FIRST,
        time: Timestamp::from_unix_millis(0).expect("valid"),
        metadata: Metadata::default(),
        event: placed(3),
    };
    let row = recorded.to_row::<Orders>().expect("a row");
    let line = [
        ("quantity".to_owned(), Attribute::number(3)),
        ("sku".to_owned(), Attribute::text("A-1")),
    ];
    let lines = Attribute::List(vec![Attribute::Map(line.into())]);
    assert_eq!(row["Lines"], lines);
    assert_eq!(row["Recipient"], Attribute::text("Ada"));
    assert_eq!(row[SCHEMA_VERSION], Attribute::number(2));
    assert_eq!(event(&row), Ok(placed(3)));
}

#[test]
fn a_snapshot_contains_the_order_without_its_recipient() {
    let snapshot = Snapshot {
        id: AggregateId::new("o-1").expect("valid"),
        version: Version::new(12).expect("valid"),
        time: Timestamp::from_unix_millis(0).expect("valid"),
        state: Order {
            status: Status::Open,
            lines: Vec::new(),
        },
    };
    let row = snapshot.to_row::<Orders>().expect("a row");
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    assert_eq!(
        names.join(" "),
        "Id Lines SchemaVersion Sequence Status Timestamp Type Version"
    );
    assert_eq!(order(&row), Ok(snapshot.state));
}

#[test]
fn reads_rows_of_version_1_as_one_line() {
    assert_eq!(event(&placed_in_version_1()), Ok(placed(3)));
    let own = [
        ("Sku", Attribute::text("A-1")),
        ("Quantity", Attribute::number(2)),
    ];
    assert_eq!(
        event(&version_1(3, "ParcelShipped", &own)),
        Ok(Event::ParcelShipped { lines: lines(2) })
    );
    assert_eq!(
        event(&version_1(4, "OrderCompleted", &[])),
        Ok(Event::OrderCompleted {})
    );
}

#[test]
fn reads_snapshots_of_version_1_as_one_line() {
    let own = [
        ("Status", Attribute::text("open")),
        ("Sku", Attribute::text("A-1")),
        ("Quantity", Attribute::number(3)),
        ("Shipped", Attribute::number(1)),
    ];
    let line = OrderLine {
        sku: sku(),
        ordered: 3,
        shipped: 1,
    };
    assert_eq!(
        order(&version_1(12, SNAPSHOT, &own)),
        Ok(Order {
            status: Status::Open,
            lines: vec![line],
        })
    );
}

#[test]
fn a_row_of_version_2_needs_lines() {
    let mut row = placed_in_version_1();
    row.insert(SCHEMA_VERSION.to_owned(), Attribute::number(2));
    let error = event(&row).expect_err("no lines");
    assert_eq!(error.to_string(), "Lines: is missing");
    row.insert(SCHEMA_VERSION.to_owned(), Attribute::number(3));
    let error = event(&row).expect_err("a later version");
    assert_eq!(error.path(), SCHEMA_VERSION);
}

#[test]
fn errors_in_rows_of_version_1_name_the_path_in_version_2() {
    for (column, value, path) in [
        ("Sku", Attribute::number(1), "Lines[0].sku"),
        ("Sku", Attribute::text("a-1"), "Lines[0].sku"),
        ("Quantity", Attribute::number(0), "Lines[0].quantity"),
        ("Recipient", Attribute::text("Ada\n"), "Recipient"),
    ] {
        let mut row = placed_in_version_1();
        row.insert(column.to_owned(), value);
        let error = event(&row).expect_err(column);
        assert_eq!(error.path(), path);
        assert!(!error.to_string().contains("Ada"), "{error}");
        row.remove(column);
        let error = event(&row).expect_err(column);
        assert_eq!(error.to_string(), format!("{path}: is missing"));
    }
}
