//! The account read and written through `millrace_core`, compared with this crate's own readers and
//! writers, which the functions use.
//!
//! Rows are made from valid ones of every layout by seeded mutations: attributes removed, of other
//! types, with numbers and strings at the limits, unknown attributes, other positions. `cargo test`
//! compares a part; all of it and its figures are shown by
//!
//! `cargo test --release -p millrace-domain --test differential -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::fmt;

use fastrand::Rng;
use millrace_core::{
    Aggregate, Domain, Project, Sequence, View, answer, cursor, resource, settings as stored, view,
};
use millrace_domain::accounts::{self, Account, Accounts, ListedCurrency};
use millrace_domain::api::{self, Accepted};
use millrace_domain::ids::Trace;
use millrace_domain::money::{Amount, Balance, Currency, MAX_MINOR_UNITS};
use millrace_domain::view::HistoryPage;
use millrace_domain::{
    AggregateId, Attribute, Attributes, Command, Envelope, Event, History, RecordedEvent, RowError,
    Settings, Snapshot, State, StoredRow, Timestamp, Version, decide, envelope,
};
use serde::Serialize;

const SEED: u64 = 20_261_121;
const SOME: u64 = 20_000;
const ALL: u64 = 2_000_000;

type CoreRow = millrace_core::StoredRowOf<Accounts>;
type CoreEnvelope = millrace_core::Envelope<accounts::PublicEvent>;

fn settings() -> Settings {
    Settings {
        default_currency: currency("SEK"),
    }
}

fn domain() -> Accounts {
    Accounts {
        settings: settings(),
    }
}

fn currency(code: &str) -> Currency {
    Currency::stored(code).expect("valid")
}

// Rows.

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcomes {
    read_equal: u64,
    events_with_equal_bytes: u64,
    refused_with_the_same_attribute: u64,
    refused_with_another_attribute: u64,
    snapshots_refused_for_their_schema_version: u64,
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "read equal: {}", self.read_equal)?;
        writeln!(
            f,
            "of these events, with equal bytes of the envelope: {}",
            self.events_with_equal_bytes
        )?;
        writeln!(
            f,
            "refused by both, the same attribute named: {}",
            self.refused_with_the_same_attribute
        )?;
        writeln!(
            f,
            "refused by both, another attribute named: {}",
            self.refused_with_another_attribute
        )?;
        writeln!(
            f,
            "snapshots refused for their SchemaVersion by core alone: {}",
            self.snapshots_refused_for_their_schema_version
        )
    }
}

#[test]
fn rows_are_read_as_before() {
    let outcomes = compare_rows(SOME);
    assert!(outcomes.read_equal > SOME / 4, "{outcomes}");
    assert!(
        outcomes.refused_with_the_same_attribute > SOME / 4,
        "{outcomes}"
    );
}

#[test]
#[ignore = "takes a minute; the command is at the top of this file"]
fn all_rows_are_read_as_before() {
    println!("{ALL} rows, seed {SEED}");
    println!("{}", compare_rows(ALL));
}

/// Panics at the first difference that isn't one of [`Outcomes`].
fn compare_rows(count: u64) -> Outcomes {
    let mut random = Rng::with_seed(SEED);
    let mut outcomes = Outcomes::default();
    for _ in 0..count {
        let row = mutated_row(&mut random);
        let before = StoredRow::read(&row, &settings());
        let core = CoreRow::read(&domain(), &row);
        if let Err(error) = &core {
            let text = error.to_string();
            assert!(error.path() == "Type" || !text.contains(SECRET), "{text}");
        }
        match (before, core) {
            (Ok(before), Ok(core)) => {
                assert_eq!(in_cores_types(&before), core, "{row:?}");
                outcomes.read_equal += 1;
                if let (StoredRow::Event(before), CoreRow::Event(core)) = (&before, &core) {
                    assert_bytes(before, core);
                    outcomes.events_with_equal_bytes += 1;
                }
            }
            (Err(before), Err(core)) if before.attribute == core.path() => {
                outcomes.refused_with_the_same_attribute += 1;
            }
            (Err(before), Err(core)) => {
                assert!(
                    has_two_faults(&row, &before),
                    "{row:?}: {before}; core: {core}"
                );
                outcomes.refused_with_another_attribute += 1;
            }
            (Ok(StoredRow::Snapshot(_)), Err(core)) if core.path() == "SchemaVersion" => {
                outcomes.snapshots_refused_for_their_schema_version += 1;
            }
            (before, core) => panic!("{row:?}: {before:?}; core: {core:?}"),
        }
    }
    outcomes
}

/// Whether core refuses the row for something else too: without the attribute that was named before,
/// or with a good value for it.
fn has_two_faults(row: &Attributes, error: &RowError) -> bool {
    let good = [
        ("Type", Attribute::text("CREATED")),
        ("Type", Attribute::text("CREDIT")),
        ("Type", Attribute::text("SNAPSHOT")),
        ("Amount", Attribute::number(1)),
        ("Balance", Attribute::number(1)),
        ("Currency", Attribute::text("EUR")),
        ("Timestamp", Attribute::number(1)),
    ];
    let mut repaired: Vec<Attributes> = good
        .into_iter()
        .filter(|(name, _)| *name == error.attribute)
        .map(|(name, value)| {
            let mut row = row.clone();
            row.insert(name.to_owned(), value);
            row
        })
        .collect();
    let mut without = row.clone();
    without.remove(error.attribute);
    repaired.push(without);
    repaired
        .iter()
        .all(|row| CoreRow::read(&domain(), row).is_err())
}

fn in_cores_types(row: &StoredRow) -> CoreRow {
    match row.clone() {
        StoredRow::Event(RecordedEvent {
            id,
            version,
            time,
            trace: metadata,
            event,
        }) => CoreRow::Event(millrace_core::RecordedEvent {
            id,
            version,
            time,
            metadata,
            event,
        }),
        StoredRow::Snapshot(Snapshot {
            id,
            version,
            time,
            currency,
            balance,
        }) => CoreRow::Snapshot(millrace_core::Snapshot {
            id,
            version,
            time,
            state: Account { currency, balance },
        }),
    }
}

/// The event's envelope has the same bytes, and both readers read them to the same.
fn assert_bytes(before: &RecordedEvent, core: &millrace_core::RecordedEvent<Event>) {
    let mut opening = before.clone();
    opening.event = Event::AccountCreated {
        currency: currency("JPY"),
    };
    let context = envelope::Context::after(None, &opening);
    let context = envelope::Context::after(context, before).expect("an opening came before");
    let before = Envelope::of(before, context);
    let bytes = before.to_bytes();

    let mut context = accounts::Context::default();
    Accounts::publish(&mut context, &opening.event).expect("an opening");
    let core = CoreEnvelope::publish::<Accounts>(&mut context, core).expect("published");
    let core_bytes = core.to_bytes::<Accounts>().expect("has bytes");
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        String::from_utf8_lossy(&core_bytes)
    );
    assert_eq!(CoreEnvelope::parse::<Accounts>(&bytes), Ok(core));
}

const COLUMNS: [&str; 15] = [
    "Id",
    "Version",
    "Type",
    "Timestamp",
    "Amount",
    "Balance",
    "Currency",
    "Sequence",
    "SchemaVersion",
    "CommandId",
    "CorrelationId",
    "CausationId",
    "Actor",
    "TraceParent",
    "Unknown",
];

/// No error quotes it.
const SECRET: &str = "s3cr3t";

const STRINGS: [&str; 27] = [
    SECRET,
    "",
    " ",
    "a",
    "5",
    "CREATED",
    "CREDIT",
    "WITHDRAW",
    "SNAPSHOT",
    "Created",
    "REFUND",
    "EUR",
    "QQQ",
    "eur",
    "EURO",
    "ÉUR",
    "2021-03-04T05:06:07.891234+00:00",
    "2026-11-20T21:03:05Z",
    "2026-11-20 21:03:05Z",
    "2026-13-20T21:03:05Z",
    "9999-12-31T23:59:59.999Z",
    "0000-01-01T00:00:00Z",
    "2026-11-20",
    "a\nb",
    "\u{1}millrace",
    "quote \" and \\ and \u{2028}",
    "日本語",
];

const NUMBERS: [&str; 40] = [
    "0",
    "-0",
    "1",
    "+1",
    "-1",
    "2",
    "3",
    "11",
    "12",
    "13",
    "007",
    "1.0",
    "10.000",
    "1.5",
    "1.",
    ".5",
    ".0",
    "",
    "-",
    "1e3",
    "1E0",
    "NaN",
    "99999999999",
    "100000000000",
    "-99999999999",
    "1600000000",
    "1600000000123",
    "253402300799999",
    "253402300800000",
    "-62135596800000",
    "-62135596800001",
    "9007199254740991",
    "9007199254740992",
    "-9007199254740991",
    "-9007199254740992",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999999999999999",
];

fn pick<'a, T: ?Sized>(random: &mut Rng, from: &[&'a T]) -> &'a T {
    from[random.usize(..from.len())]
}

fn attribute(random: &mut Rng) -> Attribute {
    match random.u8(..16) {
        0..=4 => Attribute::text(pick(random, &STRINGS)),
        5 => Attribute::text("é".repeat(random.usize(254..259))),
        6..=10 => Attribute::Number(pick(random, &NUMBERS).to_owned()),
        11 => Attribute::number(random.i64(..)),
        12 => Attribute::Bool(random.bool()),
        13 => Attribute::Null,
        14 => {
            let inner = Attribute::text(pick(random, &STRINGS));
            if random.bool() {
                Attribute::List(vec![inner])
            } else {
                Attribute::Map([("S".to_owned(), inner)].into())
            }
        }
        _ => Attribute::Other(pick(random, &["B", "BOOL", "L", "M", "NULL", "SS", "NS"])),
    }
}

/// A valid row of any layout.
fn valid_row(random: &mut Rng) -> Attributes {
    let version = match random.u8(..8) {
        0 | 1 => 1,
        2 => random.u64(1..=9_007_199_254_740_991),
        _ => random.u64(1..40),
    };
    let version = Version::new(version).expect("in range");
    let id = AggregateId::new(pick(random, &["a", "01890a5d-ac96", "日本語", "a \"b\""]));
    let id = id.expect("printable");
    let time = Timestamp::from_unix_millis(random.i64(0..2_000_000_000_000)).expect("in range");
    let currency = currency(pick(random, &["EUR", "JPY", "QQQ"]));
    let amount = Amount::new(random.i64(1..=MAX_MINOR_UNITS)).expect("in range");
    if version.is_snapshot() {
        let balance = Balance::new(random.i64(-5..=MAX_MINOR_UNITS)).expect("in range");
        let snapshot = Snapshot {
            id,
            version,
            time,
            currency,
            balance,
        };
        return snapshot.to_row();
    }
    let event = if version == Version::FIRST {
        Event::AccountCreated { currency }
    } else if random.bool() {
        Event::BalanceCredited { amount }
    } else {
        Event::BalanceWithdrawn { amount }
    };
    let recorded = RecordedEvent {
        id,
        version,
        time,
        trace: trace(random),
        event,
    };
    recorded.to_row()
}

fn trace(random: &mut Rng) -> Trace {
    let mut id = || random.bool().then(|| format!("id-{}", random.u8(..)));
    Trace {
        command_id: id(),
        correlation_id: id(),
        causation_id: id(),
        actor: id(),
    }
}

/// A row of any layout with up to three mutations.
fn mutated_row(random: &mut Rng) -> Attributes {
    let mut row = valid_row(random);
    if random.u8(..3) == 0 {
        for name in [
            "Sequence",
            "SchemaVersion",
            "CommandId",
            "CorrelationId",
            "CausationId",
            "Actor",
            "Currency",
        ] {
            row.remove(name);
        }
    }
    for _ in 0..pick(random, &[&0, &0, &1, &1, &1, &1, &2, &3]).to_owned() {
        mutate(random, &mut row);
    }
    row
}

fn mutate(random: &mut Rng, row: &mut Attributes) {
    let name = pick(random, &COLUMNS).to_owned();
    match random.u8(..8) {
        0 | 1 => {
            row.remove(&name);
        }
        2 => {
            let value = row.get(pick(random, &COLUMNS)).cloned();
            row.extend(value.map(|value| (name, value)));
        }
        3 => {
            // Another position, with the sequence of that position or the old one.
            let version = random.u64(1..40);
            row.insert("Version".to_owned(), Attribute::number(version));
            if random.bool() {
                row.remove("Sequence");
            }
        }
        4 => {
            let schema = pick(random, &["0", "1", "1.0", "2", "3", "4294967296", "-1"]);
            let value = Attribute::Number(schema.to_owned());
            row.insert("SchemaVersion".to_owned(), value);
        }
        _ => {
            row.insert(name, attribute(random));
        }
    }
}

// Envelopes.

#[test]
fn envelopes_are_read_as_before() {
    compare_envelopes(SOME / 4);
}

#[test]
#[ignore = "takes a minute; the command is at the top of this file"]
fn all_envelopes_are_read_as_before() {
    println!("{} envelopes, seed {SEED}", ALL / 4);
    for (outcome, count) in compare_envelopes(ALL / 4) {
        println!("{outcome}: {count}");
    }
}

/// Panics at the first difference that isn't one of the known ones.
fn compare_envelopes(count: u64) -> BTreeMap<&'static str, u64> {
    let mut random = Rng::with_seed(SEED);
    let mut outcomes = BTreeMap::new();
    for _ in 0..count {
        let bytes = mutated_envelope(&mut random);
        let before = Envelope::parse(&bytes);
        let core = CoreEnvelope::parse::<Accounts>(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = &core {
            assert!(!error.to_string().contains(SECRET), "{error}");
        }
        let outcome = match (before, core) {
            (Ok(before), Ok(core)) => {
                assert_eq!(
                    before.to_bytes(),
                    core.to_bytes::<Accounts>().expect("has bytes"),
                    "{text}"
                );
                "read equal"
            }
            (Err(envelope::EnvelopeError::Member { member, .. }), Err(core))
                if member == core.path() =>
            {
                "refused by both, the same member named"
            }
            (Err(envelope::EnvelopeError::Member { .. }), Err(_)) => {
                "refused by both, another member named"
            }
            (Err(envelope::EnvelopeError::Json(_)), Err(_)) => {
                "refused by both, before without naming a member"
            }
            // Core ignores every member that the type doesn't have, also this one.
            (Err(_), Ok(core))
                if text.contains("amount")
                    && matches!(core.event, accounts::PublicEvent::AccountCreated { .. }) =>
            {
                "openings with an amount, ignored by core alone"
            }
            (before, core) => panic!("{text}: {before:?}; core: {core:?}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

fn mutated_envelope(random: &mut Rng) -> Vec<u8> {
    let sequence = random.u64(1..30);
    let currency = currency(pick(random, &["EUR", "JPY"]));
    let amount = Amount::new(random.i64(1..1000)).expect("in range");
    let event = match (sequence, random.bool()) {
        (1, _) => Event::AccountCreated { currency },
        (_, true) => Event::BalanceCredited { amount },
        (_, false) => Event::BalanceWithdrawn { amount },
    };
    let envelope = Envelope {
        subject: AggregateId::new(pick(random, &["a", "a\"b"])).expect("printable"),
        sequence: millrace_domain::Sequence::new(sequence).expect("in range"),
        time: Timestamp::from_unix_millis(random.i64(0..2_000_000_000_000)).expect("in range"),
        correlation_id: random.bool().then(|| "c".to_owned()),
        causation_id: random.bool().then(|| "d".to_owned()),
        currency,
        event,
    };
    let text = String::from_utf8(envelope.to_bytes()).expect("JSON");
    match random.u8(..4) {
        0 => text.into_bytes(),
        1 => {
            let mut bytes = text.into_bytes();
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
            bytes
        }
        _ => mutated_members(random, &text),
    }
}

/// The envelope with one member removed, replaced or added, in the object or in `data`.
fn mutated_members(random: &mut Rng, text: &str) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let in_data = random.bool();
    let members = if in_data {
        &mut json["data"]
    } else {
        &mut json
    };
    let members = members.as_object_mut().expect("an object");
    let names: &[&str] = if in_data {
        &["accountId", "sequence", "amount", "currency", "unknown"]
    } else {
        &[
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "correlationid",
            "causationid",
            "data",
            "unknown",
        ]
    };
    let name = pick(random, names);
    if random.u8(..3) == 0 {
        members.remove(name);
    } else {
        let value: serde_json::Value = match random.u8(..9) {
            0..=2 => pick(random, &STRINGS).into(),
            3 => random.i64(-2..40).into(),
            4 => pick(random, &[&1.0, &1.5, &1e3]).to_owned().into(),
            5 => serde_json::Value::Null,
            6 => serde_json::json!([1]),
            7 => serde_json::json!({ "amount": 1 }),
            _ => u64::MAX.into(),
        };
        members.insert(name.to_owned(), value);
    }
    serde_json::to_vec(&json).expect("JSON")
}

// Commands, rows written, and views.

#[test]
fn commands_rows_and_views_are_as_before() {
    let mut random = Rng::with_seed(SEED);
    for _ in 0..SOME / 100 {
        compare_account(&mut random);
    }
}

#[test]
fn paths_and_stored_settings_are_as_before() {
    let mut random = Rng::with_seed(SEED);
    let segments = [
        "accounts",
        "account",
        "a",
        "a%20b",
        "%2E",
        "..",
        "a%2Fb",
        "a?b",
        "%ff",
        "",
        "credit",
        "withdraw",
        "open",
        "close",
        "transactions",
        "balance",
    ];
    for _ in 0..SOME {
        let mut path = String::new();
        for index in 0..random.usize(..5) {
            path.push('/');
            path.push_str(if index == 0 && random.u8(..8) > 0 {
                "accounts"
            } else {
                pick(&mut random, &segments)
            });
        }
        let before = api::Resource::parse(&path);
        let core = resource::Resource::parse::<Accounts>(&path);
        match (before, core) {
            (Ok(before), Ok(core)) => {
                assert_eq!(before.method(), core.method(), "{path}");
                assert_eq!(in_cores_resource(before), core, "{path}");
            }
            (Err(before), Err(core)) => assert_eq!(before.to_string(), core.to_string(), "{path}"),
            (before, core) => panic!("{path}: {before:?}; core: {core:?}"),
        }
        let id = pick(&mut random, &STRINGS);
        if let Ok(id) = AggregateId::new(id) {
            assert_eq!(api::path_of(&id), resource::item_path::<Accounts>(&id));
        }
    }

    assert_eq!(settings().to_row(), stored::to_row(&domain()));
    let other = Settings {
        default_currency: currency("EUR"),
    };
    let before = settings().check(&other.to_row()).expect_err("changed");
    let core = stored::check(&domain(), &other.to_row()).expect_err("changed");
    assert_eq!(before.to_string(), core.to_string());
}

fn in_cores_resource(resource: api::Resource) -> resource::Resource {
    match resource {
        api::Resource::Collection => resource::Resource::Collection,
        api::Resource::Item(id) => resource::Resource::Item(id),
        api::Resource::Command(id, name) => {
            let name = match name {
                api::CommandName::Credit => "credit",
                api::CommandName::Withdraw => "withdraw",
            };
            resource::Resource::Command(id, name.to_owned())
        }
        api::Resource::History(id) => resource::Resource::History(id),
        api::Resource::ValueAt(id) => resource::Resource::ViewAt(id),
    }
}

/// One account from its first command on: decided, refused, written, loaded and projected alike.
fn compare_account(random: &mut Rng) {
    let id = AggregateId::new("a").expect("printable");
    let mut history = History::begin(id.clone());
    let mut aggregate = Aggregate::<Accounts>::new(id.clone());
    let mut table: Vec<Attributes> = Vec::new();
    for _ in 0..random.usize(..40) {
        let (command, core_command) = command(random);
        let before = decide(history.state(), &command);
        let core = aggregate.decide(&domain(), core_command);
        let events = match (before, core) {
            (Ok(before), Ok(core)) => {
                assert_eq!(before, core);
                before
            }
            (Err(before), Err(core)) => {
                assert_eq!(before.to_string(), core.to_string());
                assert_eq!((before.code(), before.kind()), (core.code, core.kind));
                continue;
            }
            (before, core) => panic!("{command:?}: {before:?}; core: {core:?}"),
        };
        let at = Timestamp::from_unix_millis(random.i64(0..1_000_000)).expect("in range");
        let metadata = trace(random);
        let (after, rows) = history.append(&events, at, &metadata);
        let (core_after, core_rows) = aggregate
            .append(&events, at, &metadata)
            .expect("accounts have rows");
        assert_eq!(rows, core_rows);
        table.extend(rows.into_iter().map(|(_, row)| row));
        (history, aggregate) = (after, core_after);
        let accepted = answer::accepted(&aggregate).expect("an account that is open");
        assert_json(&Accepted::of(&history), &accepted);

        let newest_first: Vec<Attributes> = table.iter().rev().take(10).cloned().collect();
        let loaded = History::load(id.clone(), &newest_first, &settings());
        assert_eq!(loaded.as_ref(), Ok(&history));
        let loaded = Aggregate::load(&domain(), id.clone(), &newest_first);
        assert_eq!(loaded.as_ref(), Ok(&aggregate));
        assert_eq!(state(history.state()), aggregate.state().copied());
        assert_eq!(history.sequence(), aggregate.sequence());
    }
    compare_views(&table);
}

/// Both are the same JSON, with members in the same order.
fn assert_json(before: &impl Serialize, core: &impl Serialize) {
    let before = serde_json::to_string(before).expect("serialises");
    assert_eq!(before, serde_json::to_string(core).expect("serialises"));
}

fn state(state: &State) -> Option<Account> {
    match *state {
        State::Unopened => None,
        State::Open { currency, balance } => Some(Account { currency, balance }),
    }
}

fn command(random: &mut Rng) -> (Command, accounts::Command) {
    let limit = if random.u8(..10) == 0 {
        MAX_MINOR_UNITS
    } else {
        100
    };
    let amount = Amount::new(random.i64(1..=limit)).expect("in range");
    match random.u8(..8) {
        0 => {
            let default_currency = settings().default_currency;
            let open = accounts::Command::Open { currency: None };
            (
                Command::Open {
                    currency: default_currency,
                },
                open,
            )
        }
        1 => {
            let currency = ListedCurrency::new("JPY").expect("listed");
            let open = accounts::Command::Open {
                currency: Some(currency),
            };
            (
                Command::Open {
                    currency: currency.into(),
                },
                open,
            )
        }
        2..=4 => (
            Command::Credit { amount },
            accounts::Command::Credit { amount },
        ),
        _ => (
            Command::Withdraw { amount },
            accounts::Command::Withdraw { amount },
        ),
    }
}

fn compare_views(table: &[Attributes]) {
    let mut context = None;
    let mut core_context = accounts::Context::default();
    let mut before: Option<millrace_domain::View> = None;
    let mut core_before: Option<View<Account>> = None;
    for row in table {
        let (Ok(StoredRow::Event(event)), Ok(CoreRow::Event(core_event))) = (
            StoredRow::read(row, &settings()),
            CoreRow::read(&domain(), row),
        ) else {
            continue;
        };
        context = envelope::Context::after(context, &event);
        let envelope = Envelope::of(&event, context.expect("an opening came first"));
        let core = CoreEnvelope::publish::<Accounts>(&mut core_context, &core_event);
        let core = core.expect("an opening came first");
        assert_eq!(
            envelope.to_bytes(),
            core.to_bytes::<Accounts>().expect("has bytes")
        );
        let cursor_item = context.expect("an opening came first").to_attributes();
        let core_cursor = cursor::context_columns::<Accounts>(&core_context);
        assert_eq!(core_cursor.as_ref(), Ok(&cursor_item));
        let read = cursor::read_context::<Accounts>(&cursor_item);
        assert_eq!(read, Ok(core_context));

        let (view, entry) = millrace_domain::View::apply(before.as_ref(), &envelope);
        let (core_view, core_entry) =
            view::apply::<Accounts>(core_before.as_ref(), &core).expect("applies");
        let effective_at = entry.effective_at;
        assert_json(&view, &answer::view::<Accounts>(&core_view));
        assert_json(
            &entry.value_at(effective_at),
            &answer::view_at::<Accounts>(
                &core_entry.id,
                core_entry.sequence,
                Accounts::view_after(&core_entry.entry).expect("an entry tells the view"),
                effective_at,
            ),
        );
        let next = Sequence::new(7);
        let subject = || core.subject.clone();
        assert_json(
            &HistoryPage::new(subject(), vec![entry.clone()], next),
            &answer::history_page::<Accounts>(subject(), vec![core_entry.clone()], next),
        );
        let item = view.to_attributes();
        assert_eq!(core_view.to_item().as_ref(), Ok(&item));
        assert_eq!(View::read(&item), Ok(Some(core_view.clone())));
        let item = entry.to_attributes();
        assert_eq!(core_entry.to_item().as_ref(), Ok(&item));
        assert_eq!(millrace_core::HistoryEntry::read(&item), Ok(core_entry));
        (before, core_before) = (Some(view), Some(core_view));
    }
}
