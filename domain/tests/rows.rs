//! The rows of accounts in the events table: their attributes, and which rows are refused.

use proptest::prelude::*;

use millrace_core::row::{
    ACTOR, COMMAND_ID, CORRELATION_ID, ID, SCHEMA_VERSION, SEQUENCE, SNAPSHOT, TIMESTAMP,
    TRACE_PARENT, TYPE, VERSION, is_plainly_a_snapshot,
};
use millrace_core::{
    AggregateId, Attribute, Attributes, DecodeError, Metadata, RecordedEvent, Snapshot, StoredRow,
    StoredRowOf, Timestamp, TraceParent, Version,
};
use millrace_domain::money::{Amount, Balance, Currency};
use millrace_domain::{Account, Accounts, Event, StoredChannel};

const AMOUNT: &str = "Amount";
const BALANCE: &str = "Balance";
const CHANNEL: &str = "Channel";
const CURRENCY: &str = "Currency";
const CREATED: &str = "CREATED";
const CREDIT: &str = "CREDIT";
const WITHDRAW: &str = "WITHDRAW";
const SPAN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn accounts() -> Accounts {
    Accounts {
        default_currency: Currency::stored("SEK").expect("valid"),
    }
}

fn read(row: &Attributes) -> Result<StoredRowOf<Accounts>, DecodeError> {
    StoredRow::read(&accounts(), row)
}

/// An attribute of any type.
fn any_attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        "[A-Z]{0,8}".prop_map(Attribute::Text),
        any::<String>().prop_map(Attribute::Text),
        "-?[0-9]{0,20}(\\.[0-9]{0,3})?".prop_map(Attribute::Number),
        any::<i64>().prop_map(Attribute::number),
        Just(Attribute::Other("M")),
    ]
}

fn row(attributes: &[(&str, Attribute)]) -> Attributes {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// A row in the legacy layout.
fn older(version: i64, row_type: &str, extra: &[(&str, Attribute)]) -> Attributes {
    let mut attributes = row(&[
        (ID, Attribute::text("a")),
        (VERSION, Attribute::number(version)),
        (TYPE, Attribute::text(row_type)),
        (
            TIMESTAMP,
            Attribute::text("2021-03-04T05:06:07.891234+00:00"),
        ),
    ]);
    attributes.extend(row(extra));
    attributes
}

fn recorded(version: u64, event: Event) -> RecordedEvent<Event> {
    RecordedEvent {
        id: AggregateId::new("a").expect("valid"),
        version: Version::new(version).expect("valid"),
        time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
        metadata: Metadata {
            command_id: Some("command".into()),
            correlation_id: Some("correlation".into()),
            causation_id: Some("causation".into()),
            trace_parent: TraceParent::parse(SPAN).ok(),
            actor: Some("actor".into()),
        },
        event,
    }
}

#[test]
fn an_actor_is_stored_and_an_invalid_actor_is_ignored() {
    for recorded in every_event() {
        let mut row = recorded.to_row::<Accounts>().expect("a row");
        assert_eq!(row["Actor"], Attribute::text("actor"));
        row.insert("Actor".to_owned(), Attribute::Other("M"));
        let StoredRow::Event(read) = read(&row).expect("read") else {
            panic!("an event");
        };
        assert_eq!((read.event, read.metadata.actor), (recorded.event, None));
    }
}

fn every_event() -> [RecordedEvent<Event>; 3] {
    let currency = Currency::stored("EUR").expect("valid");
    let amount = Amount::new(250).expect("valid");
    [
        recorded(1, Event::AccountCreated { currency }),
        recorded(3, Event::BalanceCredited { amount }),
        recorded(13, withdrawn(amount, StoredChannel::Atm)),
    ]
}

const fn withdrawn(amount: Amount, channel: StoredChannel) -> Event {
    Event::BalanceWithdrawn { amount, channel }
}

fn snapshot() -> Snapshot<Account> {
    Snapshot {
        id: AggregateId::new("a").expect("valid"),
        version: Version::new(12).expect("valid"),
        time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
        state: Account {
            currency: Currency::stored("EUR").expect("valid"),
            balance: Balance::new(42).expect("valid"),
        },
    }
}

#[test]
fn a_written_row_is_read_back_unchanged() {
    for event in every_event() {
        let read = read(&event.to_row::<Accounts>().expect("a row"));
        assert_eq!(read, Ok(StoredRow::Event(event)));
    }
    let read = read(&snapshot().to_row::<Accounts>().expect("a row"));
    assert_eq!(read, Ok(StoredRow::Snapshot(snapshot())));
}

#[test]
fn rows_have_exactly_these_attributes() {
    let [created, credited, withdrawn] = every_event();
    let names = |row: Attributes| row.into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(created.to_row::<Accounts>().expect("a row")),
        "Actor CausationId CommandId CorrelationId Currency Id SchemaVersion Sequence Timestamp TraceParent Type Version"
    );
    assert_eq!(
        names(credited.to_row::<Accounts>().expect("a row")),
        "Actor Amount CausationId CommandId CorrelationId Id SchemaVersion Sequence Timestamp TraceParent Type Version"
    );
    assert_eq!(
        names(withdrawn.to_row::<Accounts>().expect("a row")),
        "Actor Amount CausationId Channel CommandId CorrelationId Id SchemaVersion Sequence Timestamp TraceParent Type Version"
    );
    assert_eq!(
        names(snapshot().to_row::<Accounts>().expect("a row")),
        "Balance Currency Id SchemaVersion Sequence Timestamp Type Version"
    );
    assert_eq!(
        credited.to_row::<Accounts>().expect("a row")[SEQUENCE],
        Attribute::number(2)
    );
    assert_eq!(
        snapshot().to_row::<Accounts>().expect("a row")[SEQUENCE],
        Attribute::number(10)
    );
}

#[test]
fn legacy_rows_get_the_default_currency_and_the_sequence_of_their_version() {
    let time = Timestamp::parse("2021-03-04T05:06:07.891Z").expect("valid");
    let StoredRow::Event(created) = read(&older(1, CREATED, &[])).expect("reads") else {
        panic!("an event");
    };
    assert_eq!(
        created.event,
        Event::AccountCreated {
            currency: accounts().default_currency
        }
    );
    assert_eq!(
        (created.time, created.metadata),
        (time, Metadata::default())
    );

    let withdraw = older(13, WITHDRAW, &[(AMOUNT, Attribute::number(7))]);
    let StoredRow::Event(withdrawn) = read(&withdraw).expect("reads") else {
        panic!("an event");
    };
    assert_eq!(withdrawn.sequence().get(), 11);
    let amount = Amount::new(7).expect("valid");
    let unrecorded = Event::BalanceWithdrawn {
        amount,
        channel: StoredChannel::Unrecorded,
    };
    assert_eq!(withdrawn.event, unrecorded);

    let row = older(12, SNAPSHOT, &[(BALANCE, Attribute::number(0))]);
    let StoredRow::Snapshot(read) = read(&row).expect("reads") else {
        panic!("a snapshot");
    };
    assert_eq!(read.state.currency, accounts().default_currency);
}

#[test]
fn names_the_attribute_that_is_missing_or_has_another_type() {
    let rows = every_event()
        .map(|event| event.to_row::<Accounts>().expect("a row"))
        .into_iter()
        .chain([snapshot().to_row::<Accounts>().expect("a row")]);
    for row in rows {
        for name in row
            .keys()
            .filter(|name| ![ACTOR, TRACE_PARENT].contains(&name.as_str()))
        {
            let mut wrong = row.clone();
            wrong.insert(name.clone(), Attribute::Other("BOOL"));
            let error = read(&wrong).expect_err(name);
            assert_eq!(error.path(), *name);
            assert!(error.problem().contains("BOOL"), "{error}");
        }
        for name in [ID, VERSION, TYPE, TIMESTAMP, AMOUNT, BALANCE, CHANNEL] {
            let mut without = row.clone();
            if without.remove(name).is_some() {
                let error = read(&without).expect_err(name);
                assert_eq!(error.to_string(), format!("{name}: is missing"));
            }
        }
    }
}

#[test]
fn names_the_attribute_with_an_invalid_value() {
    let amount = |value: Attribute| older(3, CREDIT, &[(AMOUNT, value)]);
    let with = |name, value| older(3, CREDIT, &[(AMOUNT, Attribute::number(1)), (name, value)]);
    let n = |text: &str| Attribute::Number(text.to_owned());
    for (row, attribute) in [
        (amount(n("0")), AMOUNT),
        (amount(n("-1")), AMOUNT),
        (amount(n("1.5")), AMOUNT),
        (amount(n("9007199254740992")), AMOUNT),
        (amount(n("1e40")), AMOUNT),
        (amount(Attribute::text("1")), AMOUNT),
        (with(VERSION, n("0")), VERSION),
        (with(VERSION, n("-3")), VERSION),
        (with(VERSION, n("2.5")), VERSION),
        (with(VERSION, n("12")), TYPE),
        (with(VERSION, n("1")), TYPE),
        (with(ID, Attribute::text("")), ID),
        (with(TIMESTAMP, Attribute::text("yesterday")), TIMESTAMP),
        (with(TIMESTAMP, n("1.5")), TIMESTAMP),
        (with(TIMESTAMP, n("9223372036854775807")), TIMESTAMP),
        (with(TIMESTAMP, n("-9223372036854775808")), TIMESTAMP),
        (with(SEQUENCE, n("3")), SEQUENCE),
        (with(SEQUENCE, n("-2")), SEQUENCE),
        (with(SCHEMA_VERSION, n("3")), SCHEMA_VERSION),
        (with(SCHEMA_VERSION, n("0")), SCHEMA_VERSION),
        (with(COMMAND_ID, Attribute::text("")), COMMAND_ID),
        (
            with(CORRELATION_ID, Attribute::text("a\nb")),
            CORRELATION_ID,
        ),
        (older(3, "REFUND", &[]), TYPE),
        (older(3, CREATED, &[]), TYPE),
        (
            older(1, CREATED, &[(CURRENCY, Attribute::text("euro"))]),
            CURRENCY,
        ),
        (older(3, SNAPSHOT, &[(BALANCE, Attribute::number(0))]), TYPE),
        (
            older(12, SNAPSHOT, &[(BALANCE, n("9007199254740992"))]),
            BALANCE,
        ),
    ] {
        let error = read(&row).expect_err(attribute);
        assert_eq!(error.path(), attribute, "{row:?}: {error}");
    }
}

/// Rows of schema version 1 have no channel, whatever they contain.
#[test]
fn only_rows_of_schema_version_2_have_a_channel() {
    let row = |schema: i64, channel: Attribute| {
        let amount = (AMOUNT, Attribute::number(7));
        let schema = (SCHEMA_VERSION, Attribute::number(schema));
        older(3, WITHDRAW, &[amount, schema, (CHANNEL, channel)])
    };
    let channel = |row: &Attributes| match read(row).expect("readable") {
        StoredRow::Event(RecordedEvent {
            event: Event::BalanceWithdrawn { channel, .. },
            ..
        }) => channel,
        other => panic!("{other:?}"),
    };
    let atm = || Attribute::text("atm");
    assert_eq!(channel(&row(2, atm())), StoredChannel::Atm);
    assert_eq!(channel(&row(1, atm())), StoredChannel::Unrecorded);
    let number = Attribute::number(1);
    assert_eq!(channel(&row(1, number.clone())), StoredChannel::Unrecorded);
    for value in [number, Attribute::text("ATM"), Attribute::text("")] {
        let error = read(&row(2, value)).expect_err("not a channel");
        assert_eq!(error.path(), CHANNEL, "{error}");
    }
}

#[test]
fn an_unknown_type_is_quoted_and_truncated() {
    let row = older(3, &"X".repeat(1000), &[]);
    let error = read(&row).expect_err("unknown");
    assert!(error.problem().len() < 80, "{error}");
    assert!(error.problem().contains("XXX"), "{error}");
}

#[test]
fn only_a_row_of_the_type_snapshot_is_plainly_a_snapshot() {
    assert!(is_plainly_a_snapshot(
        &snapshot().to_row::<Accounts>().expect("a row")
    ));
    assert!(is_plainly_a_snapshot(&older(3, SNAPSHOT, &[])));
    assert!(!is_plainly_a_snapshot(&older(12, CREDIT, &[])));
    assert!(!is_plainly_a_snapshot(&row(&[(
        TYPE,
        Attribute::Other("BOOL")
    )])));
    assert!(!is_plainly_a_snapshot(&Attributes::new()));
}

proptest! {
    #[test]
    fn no_row_makes_reading_panic(
        start in 0_usize..3,
        changes in prop::collection::vec((prop::sample::select(vec![
            ID, VERSION, TYPE, AMOUNT, BALANCE, CHANNEL, CURRENCY, TIMESTAMP, SEQUENCE, SCHEMA_VERSION, COMMAND_ID,
        ]), proptest::option::of(any_attribute())), 0..4),
    ) {
        let mut row = every_event()[start].to_row::<Accounts>().expect("a row");
        for (name, value) in changes {
            match value {
                Some(value) => row.insert(name.to_owned(), value),
                None => row.remove(name),
            };
        }
        // An event that was read is written to a row that reads as the same event.
        if let Ok(StoredRow::Event(event)) = read(&row) {
            prop_assert_eq!(read(&event.to_row::<Accounts>().expect("a row")), Ok(StoredRow::Event(event)));
        }
    }
}
