//! What core does with a domain that isn't an account.

mod orders;

use millrace_core::layout::SNAPSHOT_INTERVAL;
use millrace_core::testing::{assert_conforms, assert_projects, given};
use millrace_core::{
    Aggregate, AggregateId, Attribute, Attributes, DecodeError, Envelope, HistoryEntry, LoadError,
    Metadata, RecordedEvent, StoredRow, StoredRowOf, Timestamp, TraceParent, Version, View,
    envelope, row, view,
};
use orders::{By, Closed, Command, Event, Orders, PublicEvent, Status, orders, placed};
use proptest::prelude::*;

fn shipped(sku: &str) -> Event {
    Event::LineShipped {
        sku: sku.to_owned(),
    }
}

fn closed(cancelled: bool) -> Event {
    Event::OrderClosed(Closed {
        cancelled,
        by: if cancelled {
            By::Customer
        } else {
            By::LastLine
        },
    })
}

fn id() -> AggregateId {
    AggregateId::new("o-1").expect("valid")
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis).expect("in range")
}

const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn metadata() -> Metadata {
    Metadata {
        command_id: Some("command".to_owned()),
        correlation_id: Some("correlation".to_owned()),
        causation_id: Some("causation".to_owned()),
        trace_parent: TraceParent::parse(TRACE_PARENT).ok(),
        actor: Some("actor".to_owned()),
    }
}

fn recorded(version: u64, event: Event) -> RecordedEvent<Event> {
    RecordedEvent {
        id: id(),
        version: Version::new(version).expect("in range"),
        time: at(0),
        metadata: metadata(),
        event,
    }
}

fn event_row(version: u64, event: Event) -> Attributes {
    recorded(version, event).to_row::<Orders>().expect("a row")
}

fn read(row: &Attributes) -> Result<StoredRowOf<Orders>, DecodeError> {
    StoredRow::read(&orders(), row)
}

/// An aggregate's whole table, oldest first, and the aggregate, with one append per event.
fn written(events: &[Event]) -> (Aggregate<Orders>, Vec<Attributes>) {
    let mut aggregate = Aggregate::new(id());
    let mut table = Vec::new();
    for event in events {
        let (after, rows) = append(&aggregate, std::slice::from_ref(event), 0);
        table.extend(rows.into_iter().map(|(_, row)| row));
        aggregate = after;
    }
    (aggregate, table)
}

fn append(
    aggregate: &Aggregate<Orders>,
    events: &[Event],
    millis: i64,
) -> (Aggregate<Orders>, Vec<(Version, Attributes)>) {
    let appended = aggregate.append(events, at(millis), &Metadata::default());
    appended.expect("orders have rows")
}

fn load(newest_first: &[Attributes]) -> Result<Aggregate<Orders>, LoadError> {
    Aggregate::load(&orders(), id(), newest_first)
}

fn newest_first(table: &[Attributes]) -> Vec<Attributes> {
    let limit = usize::try_from(SNAPSHOT_INTERVAL).expect("small");
    table.iter().rev().take(limit).cloned().collect()
}

fn versions(rows: &[(Version, Attributes)]) -> Vec<u64> {
    rows.iter().map(|(version, _)| version.get()).collect()
}

fn many(count: usize) -> Vec<Event> {
    let mut events = vec![placed(&["x", "y"])];
    events.extend((0..count).map(|_| shipped("x")));
    events
}

#[test]
fn a_domain_with_nested_rows_conforms() {
    let history = [
        placed(&["x", "y"]),
        shipped("x"),
        shipped("y"),
        closed(false),
    ];
    assert_conforms(&orders(), &history);
    assert_projects::<Orders>(&history);
}

#[test]
fn a_command_may_lead_to_several_events() {
    let ship = |sku: &str| Command::Ship {
        sku: sku.to_owned(),
    };
    given(orders(), [placed(&["x", "y"])])
        .when(ship("x"))
        .then([shipped("x")]);
    given(orders(), [placed(&["x"])])
        .when(ship("x"))
        .then([shipped("x"), closed(false)]);
    given(orders(), [placed(&["x"]), closed(true)])
        .when(Command::Cancel)
        .then_refused("order-closed");
    given(orders(), [])
        .when(Command::Cancel)
        .then_refused("order-not-found");
}

#[test]
#[should_panic(expected = "left == right")]
fn a_specification_of_other_events_fails() {
    given(orders(), [placed(&["x"])])
        .when(Command::Cancel)
        .then([closed(false)]);
}

#[test]
#[should_panic(expected = "refused with order-closed")]
fn a_specification_of_a_refusal_fails_if_the_command_is_accepted() {
    given(orders(), [placed(&["x"])])
        .when(Command::Cancel)
        .then_refused("order-closed");
}

#[test]
fn an_event_row_has_the_columns_of_core_and_of_the_domain() {
    let row = event_row(3, shipped("x"));
    let expected = [
        ("Id", Attribute::text("o-1")),
        ("Version", Attribute::number(3)),
        ("Type", Attribute::text("LineShipped")),
        ("Timestamp", Attribute::text("1970-01-01T00:00:00.000Z")),
        ("Sequence", Attribute::number(2)),
        ("SchemaVersion", Attribute::number(2)),
        ("CommandId", Attribute::text("command")),
        ("CorrelationId", Attribute::text("correlation")),
        ("CausationId", Attribute::text("causation")),
        ("TraceParent", Attribute::text(TRACE_PARENT)),
        ("Actor", Attribute::text("actor")),
        ("Sku", Attribute::text("x")),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    assert_eq!(row, expected.into());
    assert_eq!(read(&row), Ok(StoredRow::Event(recorded(3, shipped("x")))));
}

#[test]
fn a_snapshot_has_the_schema_version_of_the_domain_and_no_metadata() {
    let (_, table) = written(&[placed(&["x"])]);
    let names: Vec<&str> = table[1].keys().map(String::as_str).collect();
    assert_eq!(
        names.join(" "),
        "Id Open SchemaVersion Sequence Status Timestamp Type Version"
    );
    assert!(row::is_plainly_a_snapshot(&table[1]));
    assert!(!row::is_plainly_a_snapshot(&table[0]));
}

#[test]
fn a_row_of_an_older_schema_is_upcast_and_its_errors_name_the_new_attribute() {
    let mut row = event_row(1, placed(&["x"]));
    for name in ["Customer", "Lines", "SchemaVersion"] {
        row.remove(name);
    }
    for (name, value) in [
        ("Type", Attribute::text("PLACED")),
        ("Buyer", Attribute::text("Bob")),
        ("Sku", Attribute::text("x")),
        ("Quantity", Attribute::number(2)),
    ] {
        row.insert(name.to_owned(), value);
    }
    let customer = |row: &Attributes| match read(row) {
        Ok(StoredRow::Event(RecordedEvent {
            event: Event::OrderPlaced { customer, lines },
            ..
        })) => (customer, lines[0].quantity.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(customer(&row), ("Bob".to_owned(), 2));
    row.remove("Buyer");
    assert_eq!(customer(&row), ("house".to_owned(), 2));
    row.insert("Quantity".to_owned(), Attribute::text("many"));
    let error = read(&row).expect_err("many");
    assert_eq!(error.to_string(), "Lines[0].quantity: is of type S, not N");
}

#[test]
fn a_row_that_contradicts_its_position_or_schema_names_the_column() {
    let with = |version: u64, name: &str, value: Attribute| {
        let event = if version == 1 {
            placed(&["x"])
        } else {
            shipped("x")
        };
        let mut row = event_row(version, event);
        row.insert(name.to_owned(), value);
        row
    };
    let number = |text: &str| Attribute::Number(text.to_owned());
    for (row, text) in [
        (
            with(3, "Id", Attribute::text("")),
            "Id: is not an id: 1 to 256 characters, none of them a control character",
        ),
        (
            with(3, "Version", number("0")),
            "Version: is not an integer from 1 to 2^53-1",
        ),
        (
            with(3, "Version", number("2.5")),
            "Version: is not an integer in range",
        ),
        (
            with(3, "Version", number("4")),
            "Sequence: is not 3, the sequence of row 4",
        ),
        (
            with(3, "Sequence", Attribute::Null),
            "Sequence: is of type NULL, not N",
        ),
        (
            with(3, "SchemaVersion", number("3")),
            "SchemaVersion: is of a schema that this release can't read",
        ),
        (
            with(3, "SchemaVersion", number("0")),
            "SchemaVersion: is of a schema that this release can't read",
        ),
        (
            with(3, "Type", Attribute::text("Other")),
            "Type: \"Other\" is no known row type",
        ),
        (
            with(3, "Type", Attribute::text("SNAPSHOT")),
            "Type: is SNAPSHOT at a row where an event belongs",
        ),
        (
            with(1, "Type", Attribute::text("LineShipped")),
            "Sku: is missing",
        ),
        (
            with(3, "Timestamp", number("1.5")),
            "Timestamp: is not an integer of seconds or milliseconds since 1970",
        ),
        (
            with(3, "Timestamp", number("-9223372036854775808")),
            "Timestamp: is not an integer of seconds or milliseconds since 1970",
        ),
        (
            with(3, "Timestamp", Attribute::Null),
            "Timestamp: is of type NULL, not S or N",
        ),
        (
            with(3, "CommandId", Attribute::text("a\nb")),
            "CommandId: is not an id: 1 to 256 characters, none of them a control character",
        ),
    ] {
        assert_eq!(read(&row).expect_err(text).to_string(), text);
    }
    let mut by = event_row(3, closed(true));
    by.insert("By".to_owned(), Attribute::text("secret"));
    assert_eq!(
        read(&by).expect_err("no variant").to_string(),
        "By: is none of the known variants"
    );
    let mut moved = event_row(3, shipped("x"));
    moved.remove("Sequence");
    for (version, text) in [
        (1, "Type: is not OrderPlaced at the first row"),
        (12, "Type: is an event at a row where a snapshot belongs"),
    ] {
        moved.insert("Version".to_owned(), Attribute::number(version));
        assert_eq!(read(&moved).expect_err(text).to_string(), text);
    }
    let mut begun = event_row(1, placed(&["x"]));
    begun.remove("Sequence");
    begun.insert("Version".to_owned(), Attribute::number(3));
    assert_eq!(
        read(&begun).expect_err("begun").to_string(),
        "Type: is OrderPlaced at a row other than the first"
    );
    let long = with(3, "Type", Attribute::text("X".repeat(1000)));
    assert!(read(&long).expect_err("unknown").to_string().len() < 80);
}

#[test]
fn an_actor_never_makes_a_row_undecodable() {
    let mut row = event_row(3, shipped("x"));
    row.insert("Actor".to_owned(), Attribute::Other("M"));
    let mut expected = recorded(3, shipped("x"));
    expected.metadata.actor = None;
    assert_eq!(read(&row), Ok(StoredRow::Event(expected)));
}

#[test]
fn a_timestamp_may_be_a_number_of_seconds_or_milliseconds() {
    for (number, text) in [
        (1_600_000_000_i64, "2020-09-13T12:26:40.000Z"),
        (1_600_000_000_123, "2020-09-13T12:26:40.123Z"),
        (99_999_999_999, "5138-11-16T09:46:39.000Z"),
        (100_000_000_000, "1973-03-03T09:46:40.000Z"),
    ] {
        let mut row = event_row(3, shipped("x"));
        row.insert("Timestamp".to_owned(), Attribute::number(number));
        assert_eq!(read(&row).expect("reads").time().to_string(), text);
    }
}

#[test]
fn an_event_that_could_not_be_read_back_is_never_written() {
    assert!(recorded(1, shipped("x")).to_row::<Orders>().is_err());
    assert!(recorded(3, placed(&["x"])).to_row::<Orders>().is_err());
    assert!(recorded(12, shipped("x")).to_row::<Orders>().is_err());
    let begun = Aggregate::<Orders>::new(id());
    for events in [&[shipped("x")][..], &[placed(&["x"]), placed(&["x"])]] {
        let appended = begun.append(events, at(0), &Metadata::default());
        assert!(appended.is_err(), "{events:?}");
    }
}

#[test]
fn the_first_event_writes_a_snapshot_and_every_tenth_row_is_one() {
    let mut aggregate = Aggregate::new(id());
    let mut sizes = Vec::new();
    for event in many(10) {
        let (after, rows) = append(&aggregate, &[event], 0);
        sizes.push(rows.len());
        aggregate = after;
    }
    assert_eq!(sizes, [2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]);
    let (after, rows) = append(&written(&many(0)).0, &many(12)[1..], 0);
    assert_eq!(versions(&rows), (3..=15).collect::<Vec<_>>());
    assert_eq!(after.sequence().get(), 13);
}

#[test]
fn a_snapshot_that_a_legacy_writer_left_out_is_written_first() {
    let (_, mut table) = written(&many(9));
    assert!(row::is_plainly_a_snapshot(&table.pop().expect("not empty")));
    let loaded = load(&newest_first(&table)).expect("row 2 is among the newest ten");
    let (after, rows) = append(&loaded, &[shipped("y")], 0);
    assert_eq!(versions(&rows), [12, 13]);
    assert_eq!(
        rows[0].1["Open"],
        Attribute::List(vec![Attribute::text("y")])
    );
    assert_eq!(after.sequence().get(), 11);

    let (_, mut table) = written(&many(0));
    table.truncate(1);
    let loaded = load(&newest_first(&table)).expect("folds from row 1");
    assert_eq!(loaded.state().map(|order| order.status), Some(Status::Open));
    assert_eq!(versions(&append(&loaded, &[shipped("x")], 0).1), [2, 3]);
}

#[test]
fn time_never_runs_backwards_but_a_wrong_clock_is_not_followed() {
    let tolerance = 300_000;
    let (begun, _) = append(&Aggregate::new(id()), &[placed(&["x"])], 1_000 + tolerance);
    for (now, time) in [
        (1_000, 1_000 + tolerance),
        (999, 999),
        (1_001 + tolerance, 1_001 + tolerance),
    ] {
        let (_, rows) = append(&begun, &[shipped("x")], now);
        assert_eq!(rows[0].1["Timestamp"], Attribute::text(at(time)), "{now}");
    }
}

#[test]
fn an_aggregate_decides_by_its_state_and_equals_one_of_the_same_rows_only() {
    let (aggregate, _) = written(&many(0));
    assert_eq!(
        aggregate.decide(&orders(), Command::Cancel),
        Ok(vec![closed(true)])
    );
    assert_ne!(aggregate, Aggregate::new(id()));
    assert_ne!(aggregate, append(&aggregate, &[shipped("x")], 0).0);
    assert!(format!("{aggregate:?}").contains("o-1"));
}

#[test]
fn rows_that_fold_to_no_state_are_an_error() {
    assert_eq!(load(&[]), Ok(Aggregate::new(id())));
    let (_, table) = written(&many(20));
    let newest = table.len() as u64;

    let mut gap = newest_first(&table);
    gap.remove(1);
    assert_eq!(
        load(&gap),
        Err(LoadError::Missing {
            version: newest - 1
        })
    );

    let mut undecodable = newest_first(&table);
    undecodable[0].remove("Sku");
    let error = load(&undecodable).expect_err("undecodable").to_string();
    assert_eq!(
        error,
        format!("row {newest} can't be read: Sku: is missing")
    );
    undecodable[0].remove("Version");
    let error = load(&undecodable).expect_err("undecodable").to_string();
    assert_eq!(error, "row 0 can't be read: Version: is missing");

    let oldest = Version::new(newest).expect("in range");
    assert_eq!(
        load(&newest_first(&table)[..1]),
        Err(LoadError::NoSnapshot { oldest })
    );
}

fn published(events: &[Event]) -> Vec<Envelope<PublicEvent>> {
    let (_, table) = written(events);
    let rows = table.iter().map(|row| read(row).expect("own rows"));
    rows.filter_map(|row| match row {
        StoredRow::Event(event) => Envelope::publish::<Orders>(&mut (), &event),
        StoredRow::Snapshot(_) => None,
    })
    .collect()
}

fn bytes(envelope: &Envelope<PublicEvent>) -> String {
    let bytes = envelope.to_bytes::<Orders>().expect("has bytes");
    String::from_utf8(bytes).expect("JSON")
}

const SHIPPED: &str = concat!(
    r#"{"specversion":"1.0","id":"o-1:2","source":"urn:millrace:orders","type":"LineShipped","#,
    r#""subject":"o-1","time":"1970-01-01T00:00:00.000Z","datacontenttype":"application/json","#,
    r#""dataschema":"urn:millrace:schema:LineShipped:1","correlationid":"correlation","#,
    r#""causationid":"causation","#,
    r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","#,
    r#""data":{"orderId":"o-1","sequence":2,"sku":"\"x\""}}"#
);

#[test]
fn an_envelope_is_one_cloud_event() {
    let event = recorded(3, shipped("\"x\""));
    let shipped = Envelope::publish::<Orders>(&mut (), &event).expect("published");
    assert_eq!(bytes(&shipped), SHIPPED);
    assert_eq!(Envelope::parse::<Orders>(SHIPPED.as_bytes()), Ok(shipped));
    let placed = &published(&[placed(&["x"])])[0];
    assert!(
        bytes(placed).ends_with(concat!(
            r#""dataschema":"urn:millrace:schema:OrderPlaced:1","data":{"orderId":"o-1","sequence":1,"#,
            r#""lines":[{"sku":"x","quantity":1,"options":{"colour":"red"}}]}}"#
        )),
        "absent members are left out, and fields are in their own order: {}",
        bytes(placed)
    );
}

#[test]
fn a_wrong_member_of_an_envelope_is_named_and_an_unknown_one_ignored() {
    for (from, to, path) in [
        (
            r#""specversion":"1.0""#,
            r#""specversion":"2.0""#,
            "specversion",
        ),
        (r#""specversion":"1.0","#, "", "specversion"),
        ("urn:millrace:orders", "urn:other", "source"),
        (r#""id":"o-1:2""#, r#""id":"o-1:3""#, "id"),
        (r#""type":"LineShipped""#, r#""type":"Other""#, "type"),
        (":LineShipped:1", ":LineShipped:2", "dataschema"),
        (r#""subject":"o-1""#, r#""subject":"""#, "subject"),
        (r#""subject":"o-1""#, r#""subject":1"#, "subject"),
        ("1970-01-01T", "1970-01-01 at ", "time"),
        (
            r#""datacontenttype":"application/json","#,
            "",
            "datacontenttype",
        ),
        (
            r#""correlationid":"correlation""#,
            r#""correlationid":5"#,
            "correlationid",
        ),
        (r#""orderId":"o-1""#, r#""orderId":"o-2""#, "data.orderId"),
        (r#""sequence":2"#, r#""sequence":0"#, "data.sequence"),
        (r#""sequence":2"#, r#""sequence":1"#, "data.sequence"),
        (r#""sequence":2"#, r#""sequence":2.0"#, "data.sequence"),
        (r#""sku":"\"x\"""#, r#""sku":5"#, "data.sku"),
        (r#""sku":"\"x\"""#, r#""sku":"x","sku":"x""#, "data.sku"),
        (r#""data":{"#, r#""data":5,"x":{"#, "data"),
        (r#""data":{"#, r#""x":{"#, "data"),
        ("{", "", ""),
    ] {
        let wrong = SHIPPED.replacen(from, to, 1);
        let error = Envelope::parse::<Orders>(wrong.as_bytes()).expect_err(to);
        assert_eq!(error.path(), path, "{wrong}: {error}");
    }
    for (from, to) in [
        ("{", r#"{"tracestate":"congo=t61rcWkgMzE","#),
        (r#""data":{"#, r#""data":{"new":[0.5],"new":1,"#),
    ] {
        let extended = SHIPPED.replacen(from, to, 1);
        let read = Envelope::parse::<Orders>(extended.as_bytes()).expect("reads");
        assert_eq!(bytes(&read), SHIPPED);
    }
}

#[test]
fn an_event_without_a_valid_trace_parent_is_an_event() {
    let member = format!(r#""traceparent":"{TRACE_PARENT}","#);
    let without = SHIPPED.replace(&member, "");
    for traceparent in [
        "",
        r#""traceparent":null,"#,
        r#""traceparent":"","#,
        r#""traceparent":1,"#,
        r#""traceparent":{},"#,
        r#""traceparent":"00-1","#,
        r#""traceparent":"00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01","#,
        member.repeat(2).as_str(),
    ] {
        let envelope = SHIPPED.replace(&member, traceparent);
        let read = Envelope::parse::<Orders>(envelope.as_bytes()).expect(traceparent);
        assert_eq!((read.trace_parent, bytes(&read)), (None, without.clone()));
        assert_eq!(envelope::trace_id(envelope.as_bytes()), None);
    }
    let later = SHIPPED.replace("\"00-", "\"01-");
    let read = Envelope::parse::<Orders>(later.as_bytes()).expect("read");
    assert_eq!(bytes(&read), SHIPPED);
}

#[test]
fn the_trace_of_bytes_that_are_no_event_is_found_for_the_log() {
    let unknown = SHIPPED.replace(r#""data""#, r#""other""#);
    assert!(Envelope::parse::<Orders>(unknown.as_bytes()).is_err());
    let found = envelope::trace_id(unknown.as_bytes()).map(|id| id.to_string());
    assert_eq!(found.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    for bytes in ["", "[]", TRACE_PARENT] {
        assert_eq!(envelope::trace_id(bytes.as_bytes()), None);
    }
}

#[test]
fn a_row_without_a_valid_trace_parent_is_the_same_event_without_one() {
    let mut without = recorded(3, shipped("x"));
    without.metadata.trace_parent = None;
    let row = without.to_row::<Orders>().expect("a row");
    assert!(!row.contains_key("TraceParent"));
    assert_eq!(read(&row), Ok(StoredRow::Event(without.clone())));
    for wrong in [
        Attribute::text(""),
        Attribute::text(TRACE_PARENT.to_uppercase()),
        Attribute::number(1),
        Attribute::Null,
        Attribute::Other("M"),
    ] {
        let mut row = event_row(3, shipped("x"));
        row.insert("TraceParent".to_owned(), wrong);
        assert_eq!(read(&row), Ok(StoredRow::Event(without.clone())));
    }
    let published = Envelope::publish::<Orders>(&mut (), &without).expect("published");
    assert!(!bytes(&published).contains("traceparent"));
}

#[test]
fn a_view_and_its_history_are_the_fold_of_public_events() {
    let mut before = None;
    for envelope in published(&[placed(&["x"]), shipped("x"), closed(false)]) {
        let (view, entry) = view::apply::<Orders>(before.as_ref(), &envelope).expect("applies");
        let item = view.to_item().expect("an item");
        assert_eq!(View::read(&item), Ok(Some(view.clone())));
        let item = entry.to_item().expect("an item");
        assert_eq!(HistoryEntry::read(&item), Ok(entry));
        before = Some(view);
    }
    let view = before.expect("three events");
    assert_eq!((view.sequence.get(), view.view.closed), (3, true));
    let mut none = view.to_item().expect("an item");
    none.insert("Sequence".to_owned(), Attribute::number(0));
    assert_eq!(View::<orders::View>::read(&none), Ok(None));
    none.insert("Sequence".to_owned(), Attribute::text("0"));
    let error = View::<orders::View>::read(&none).expect_err("no number");
    assert_eq!(error.path(), "Sequence");
}

#[test]
fn effective_times_never_run_backwards() {
    let mut events = published(&[placed(&["x"]), shipped("x")]);
    events[0].time = at(5);
    let (first, _) = view::apply::<Orders>(None, &events[0]).expect("applies");
    let (second, entry) = view::apply::<Orders>(Some(&first), &events[1]).expect("applies");
    assert_eq!((second.opened_at, second.updated_at), (at(5), at(5)));
    assert_eq!((entry.time, entry.effective_at), (at(0), at(5)));
    assert_eq!(entry.event_type, "LineShipped");
}

fn any_history() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        "[x-z]".prop_map(|sku| shipped(&sku)),
        any::<bool>().prop_map(closed)
    ];
    prop::collection::vec(event, 0..40).prop_map(|events| {
        std::iter::once(placed(&["x", "y", "z"]))
            .chain(events)
            .collect()
    })
}

proptest! {
    #[test]
    fn loading_from_a_snapshot_equals_folding_from_the_start(events in any_history()) {
        let (aggregate, table) = written(&events);
        let loaded = load(&newest_first(&table));
        prop_assert_eq!(loaded.as_ref(), Ok(&aggregate));
        let together = append(&Aggregate::new(id()), &events, 0);
        prop_assert_eq!(together.0, aggregate);
        let rows: Vec<Attributes> = together.1.into_iter().map(|(_, row)| row).collect();
        prop_assert_eq!(rows, table, "one append or many write the same rows");
    }

    #[test]
    fn sequences_of_public_events_are_dense_from_1(events in any_history()) {
        let sequences: Vec<u64> = published(&events).iter().map(|event| event.sequence.get()).collect();
        prop_assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..SHIPPED.len(), byte in any::<u8>()) {
        prop_assert!(Envelope::parse::<Orders>(&bytes).is_err());
        let mut damaged = SHIPPED.as_bytes().to_vec();
        damaged[cut] = byte;
        if let Ok(read) = Envelope::parse::<Orders>(&damaged) {
            let bytes = read.to_bytes::<Orders>().expect("has bytes");
            prop_assert_eq!(Envelope::parse::<Orders>(&bytes), Ok(read));
        }
    }
}
