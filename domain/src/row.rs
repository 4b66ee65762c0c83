//! How an account's events and snapshots lie in the events table, in every schema version.
//!
//! | `Type` | other attributes |
//! |---|---|
//! | `CREATED` | `Currency`, `Timestamp` |
//! | `CREDIT`, `WITHDRAW` | `Amount`, `Timestamp` |
//! | `SNAPSHOT` | `Balance`, `Currency`, `Timestamp` |
//!
//! Event rows also carry `Sequence`, `SchemaVersion`, `CommandId`, `CorrelationId` and
//! `CausationId`, and `Actor` if the caller was authenticated. Rows of a legacy writer carry none of
//! these and no `Currency`: their currency is the configured default and their sequence follows from
//! `Version`. `Timestamp` is RFC 3339
//! text; a number is read too, as seconds or milliseconds since 1970.
//!
//! Reading never guesses. A row that can't be understood is an error that names the attribute, and
//! the error never quotes a stored value other than `Type`, so it may be logged.

use crate::account::{Event, State};
use crate::attribute::{Attribute, Attributes};
use crate::ids::{AggregateId, Trace, is_printable};
use crate::layout::{Sequence, Version};
use crate::money::{Amount, Balance, Currency, NO_BALANCE};
use crate::settings::Settings;
use crate::time::Timestamp;

pub use crate::ids::is_reserved_id;

/// The table's hash key.
pub const ID: &str = "Id";
/// The table's range key.
pub const VERSION: &str = "Version";
/// What a row is.
pub const TYPE: &str = "Type";
/// The command that wrote an event row.
pub const COMMAND_ID: &str = "CommandId";
const AMOUNT: &str = "Amount";
const BALANCE: &str = "Balance";
const CURRENCY: &str = "Currency";
const TIMESTAMP: &str = "Timestamp";
const SEQUENCE: &str = "Sequence";
const SCHEMA_VERSION: &str = "SchemaVersion";
const CORRELATION_ID: &str = "CorrelationId";
const CAUSATION_ID: &str = "CausationId";
/// Who sent the command, as API Gateway authenticated it. For people who ask who did what: it is
/// never published, and a row whose `Actor` can't be read is an event like any other.
const ACTOR: &str = "Actor";

const CREATED: &str = "CREATED";
const CREDIT: &str = "CREDIT";
const WITHDRAW: &str = "WITHDRAW";
/// The `Type` of a snapshot's row.
pub const SNAPSHOT: &str = "SNAPSHOT";

/// The schema version that event rows are written in, and the highest that is read.
pub const CURRENT_SCHEMA: i64 = 1;

/// How many characters of an unknown `Type` an error quotes.
const QUOTED_CHARS: usize = 32;

/// A number below this is a time in seconds, else in milliseconds: as seconds it is the year 5138,
/// as milliseconds March 1973.
const FIRST_MILLIS: u64 = 100_000_000_000;

/// A row that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRow {
    /// An event.
    Event(RecordedEvent),
    /// A snapshot.
    Snapshot(Snapshot),
}

/// An event with its place in the account's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Whose event it is.
    pub id: AggregateId,
    /// Its row.
    pub version: Version,
    /// When it happened.
    pub time: Timestamp,
    /// Where it comes from.
    pub trace: Trace,
    /// What happened.
    pub event: Event,
}

/// An account's state after all rows before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose state it is.
    pub id: AggregateId,
    /// Its row.
    pub version: Version,
    /// When it was taken.
    pub time: Timestamp,
    /// The account's currency.
    pub currency: Currency,
    /// What it held.
    pub balance: Balance,
}

/// A row that can't be understood: which attribute, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attribute}: {problem}")]
pub struct RowError {
    /// The attribute's name.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl RowError {
    /// An error of this attribute.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hold texts and errors alike"
    )]
    pub fn new(attribute: &'static str, problem: impl ToString) -> Self {
        Self {
            attribute,
            problem: problem.to_string(),
        }
    }
}

impl RecordedEvent {
    /// The event's place in the account's history.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.version.sequence()
    }

    /// The event's row, in the current schema version.
    #[must_use]
    pub fn to_row(&self) -> Attributes {
        let (row_type, attribute) = match &self.event {
            Event::AccountCreated { currency } => (CREATED, (CURRENCY, Attribute::text(currency))),
            Event::BalanceCredited { amount } => {
                (CREDIT, (AMOUNT, Attribute::number(amount.minor_units())))
            }
            Event::BalanceWithdrawn { amount } => {
                (WITHDRAW, (AMOUNT, Attribute::number(amount.minor_units())))
            }
        };
        let mut row = keys(&self.id, self.version, row_type, self.time);
        row.extend(
            [
                attribute,
                (SEQUENCE, Attribute::number(self.sequence().get())),
                (SCHEMA_VERSION, Attribute::number(CURRENT_SCHEMA)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        for (name, id) in [
            (COMMAND_ID, &self.trace.command_id),
            (CORRELATION_ID, &self.trace.correlation_id),
            (CAUSATION_ID, &self.trace.causation_id),
            (ACTOR, &self.trace.actor),
        ] {
            if let Some(id) = id {
                row.insert(name.to_owned(), Attribute::text(id));
            }
        }
        row
    }
}

impl Snapshot {
    /// The snapshot's row; `None` for an account that was never opened, which has none.
    #[must_use]
    pub fn of(id: &AggregateId, version: Version, time: Timestamp, state: State) -> Option<Self> {
        match state {
            State::Unopened => None,
            State::Open { currency, balance } => Some(Self {
                id: id.clone(),
                version,
                time,
                currency,
                balance,
            }),
        }
    }

    /// The state that it holds.
    #[must_use]
    pub const fn state(&self) -> State {
        State::Open {
            currency: self.currency,
            balance: self.balance,
        }
    }

    /// The snapshot's row.
    #[must_use]
    pub fn to_row(&self) -> Attributes {
        let mut row = keys(&self.id, self.version, SNAPSHOT, self.time);
        row.extend(
            [
                (BALANCE, Attribute::number(self.balance.minor_units())),
                (CURRENCY, Attribute::text(self.currency)),
                (SEQUENCE, Attribute::number(self.version.sequence().get())),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        row
    }
}

fn keys(id: &AggregateId, version: Version, row_type: &str, time: Timestamp) -> Attributes {
    [
        (ID, Attribute::text(id)),
        (VERSION, Attribute::number(version.get())),
        (TYPE, Attribute::text(row_type)),
        (TIMESTAMP, Attribute::text(time)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Whether a row says of itself that it is a snapshot, and so is no event. Anything else may be an
/// event, also a row whose `Type` can't be read.
#[must_use]
pub fn is_plainly_a_snapshot(row: &Attributes) -> bool {
    row.get(TYPE) == Some(&Attribute::Text(SNAPSHOT.to_owned()))
}

/// A row's own account.
///
/// # Errors
/// [`RowError`] when `Id` can't be read.
pub fn aggregate_id(row: &Attributes) -> Result<AggregateId, RowError> {
    AggregateId::new(text(row, ID)?).map_err(|error| RowError::new(ID, error))
}

/// A row's own version.
///
/// # Errors
/// [`RowError`] when `Version` can't be read.
pub fn version(row: &Attributes) -> Result<Version, RowError> {
    u64::try_from(integer(row, VERSION)?)
        .ok()
        .and_then(Version::new)
        .ok_or_else(|| RowError::new(VERSION, "is not a whole number from 1 on"))
}

impl StoredRow {
    /// Reads a row of any schema version.
    ///
    /// # Errors
    /// [`RowError`] when any attribute is missing, of another type, or contradicts the row's place:
    /// a snapshot stands at every tenth row and nowhere else, an opening at the first row and
    /// nowhere else, and `Sequence` follows from `Version`.
    pub fn read(row: &Attributes, settings: &Settings) -> Result<Self, RowError> {
        let id = aggregate_id(row)?;
        let version = version(row)?;
        let row_type = text(row, TYPE)?;
        let time = time(row)?;
        check_sequence(row, version)?;

        if row_type == SNAPSHOT {
            if !version.is_snapshot() {
                return Err(RowError::new(
                    TYPE,
                    "is SNAPSHOT at a row where an event belongs",
                ));
            }
            let balance = Balance::new(integer(row, BALANCE)?)
                .ok_or_else(|| RowError::new(BALANCE, NO_BALANCE))?;
            let currency = currency(row)?.unwrap_or(settings.default_currency);
            return Ok(Self::Snapshot(Snapshot {
                id,
                version,
                time,
                currency,
                balance,
            }));
        }

        let event = match row_type {
            CREATED => Event::AccountCreated {
                currency: currency(row)?.unwrap_or(settings.default_currency),
            },
            CREDIT => Event::BalanceCredited {
                amount: amount(row)?,
            },
            WITHDRAW => Event::BalanceWithdrawn {
                amount: amount(row)?,
            },
            unknown => {
                let quoted: String = unknown.chars().take(QUOTED_CHARS).collect();
                return Err(RowError::new(
                    TYPE,
                    format!("{quoted:?} is no known row type"),
                ));
            }
        };
        check_place(&event, version)?;
        check_schema_version(row)?;
        let trace = Trace {
            command_id: optional_id(row, COMMAND_ID)?,
            correlation_id: optional_id(row, CORRELATION_ID)?,
            causation_id: optional_id(row, CAUSATION_ID)?,
            actor: text(row, ACTOR).ok().map(str::to_owned),
        };
        Ok(Self::Event(RecordedEvent {
            id,
            version,
            time,
            trace,
            event,
        }))
    }

    /// The row's version.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self {
            Self::Event(event) => event.version,
            Self::Snapshot(snapshot) => snapshot.version,
        }
    }

    /// When the row was written.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        match self {
            Self::Event(event) => event.time,
            Self::Snapshot(snapshot) => snapshot.time,
        }
    }
}

fn check_place(event: &Event, version: Version) -> Result<(), RowError> {
    if version.is_snapshot() {
        return Err(RowError::new(
            TYPE,
            "is an event at a row where a snapshot belongs",
        ));
    }
    match (event, version == Version::FIRST) {
        (Event::AccountCreated { .. }, false) => Err(RowError::new(
            TYPE,
            "is CREATED at a row other than the first",
        )),
        (Event::BalanceCredited { .. } | Event::BalanceWithdrawn { .. }, true) => {
            Err(RowError::new(TYPE, "is not CREATED at the first row"))
        }
        _ => Ok(()),
    }
}

/// Two rows of one sequence would make one of them look like a repeat of the other and be dropped,
/// so a `Sequence` that doesn't follow from `Version` is an error.
fn check_sequence(row: &Attributes, version: Version) -> Result<(), RowError> {
    if !row.contains_key(SEQUENCE) {
        return Ok(());
    }
    let expected = version.sequence();
    if u64::try_from(integer(row, SEQUENCE)?) == Ok(expected.get()) {
        Ok(())
    } else {
        Err(RowError::new(
            SEQUENCE,
            format!("is not {expected}, which row {version} stands for"),
        ))
    }
}

fn check_schema_version(row: &Attributes) -> Result<(), RowError> {
    if !row.contains_key(SCHEMA_VERSION) {
        return Ok(());
    }
    if (1..=CURRENT_SCHEMA).contains(&integer(row, SCHEMA_VERSION)?) {
        Ok(())
    } else {
        Err(RowError::new(
            SCHEMA_VERSION,
            "is of a schema that this release can't read",
        ))
    }
}

fn required<'a>(row: &'a Attributes, name: &'static str) -> Result<&'a Attribute, RowError> {
    row.get(name)
        .ok_or_else(|| RowError::new(name, "is missing"))
}

fn text<'a>(row: &'a Attributes, name: &'static str) -> Result<&'a str, RowError> {
    match required(row, name)? {
        Attribute::Text(text) => Ok(text),
        other => Err(RowError::new(
            name,
            format!("is of type {}, not S", other.type_name()),
        )),
    }
}

fn integer(row: &Attributes, name: &'static str) -> Result<i64, RowError> {
    let attribute = required(row, name)?;
    match attribute {
        Attribute::Number(_) => attribute
            .as_integer()
            .ok_or_else(|| RowError::new(name, "is not a whole number")),
        other => Err(RowError::new(
            name,
            format!("is of type {}, not N", other.type_name()),
        )),
    }
}

fn amount(row: &Attributes) -> Result<Amount, RowError> {
    Amount::new(integer(row, AMOUNT)?).map_err(|error| RowError::new(AMOUNT, error))
}

fn currency(row: &Attributes) -> Result<Option<Currency>, RowError> {
    if !row.contains_key(CURRENCY) {
        return Ok(None);
    }
    let code = text(row, CURRENCY)?;
    Currency::stored(code)
        .map(Some)
        .map_err(|error| RowError::new(CURRENCY, error))
}

fn time(row: &Attributes) -> Result<Timestamp, RowError> {
    match required(row, TIMESTAMP)? {
        Attribute::Text(text) => {
            Timestamp::parse(text).map_err(|error| RowError::new(TIMESTAMP, error))
        }
        number @ Attribute::Number(_) => number
            .as_integer()
            .and_then(|n| {
                if n.unsigned_abs() < FIRST_MILLIS {
                    n.checked_mul(1000)
                } else {
                    Some(n)
                }
            })
            .and_then(Timestamp::from_unix_millis)
            .ok_or_else(|| {
                RowError::new(TIMESTAMP, "is not whole seconds or milliseconds since 1970")
            }),
        other => Err(RowError::new(
            TIMESTAMP,
            format!("is of type {}, not S or N", other.type_name()),
        )),
    }
}

fn optional_id(row: &Attributes, name: &'static str) -> Result<Option<String>, RowError> {
    if !row.contains_key(name) {
        return Ok(None);
    }
    let id = text(row, name)?;
    if is_printable(id) {
        Ok(Some(id.to_owned()))
    } else {
        Err(RowError::new(name, crate::ids::InvalidId))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attribute::any_attribute;

    fn settings() -> Settings {
        Settings {
            default_currency: Currency::stored("SEK").expect("valid"),
        }
    }

    fn row(attributes: &[(&str, Attribute)]) -> Attributes {
        attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    /// A row as an older producer wrote it.
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

    fn recorded(version: u64, event: Event) -> RecordedEvent {
        RecordedEvent {
            id: AggregateId::new("a").expect("valid"),
            version: Version::new(version).expect("valid"),
            time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
            trace: Trace {
                command_id: Some("command".into()),
                correlation_id: Some("correlation".into()),
                causation_id: Some("causation".into()),
                actor: Some("actor".into()),
            },
            event,
        }
    }

    #[test]
    fn a_reserved_id_is_no_aggregates() {
        assert!(is_reserved_id(crate::settings::ROW_ID));
        assert!(AggregateId::new(crate::settings::ROW_ID).is_err());
        for id in ["", "a", " ", "millrace", "a\u{1}"] {
            assert!(!is_reserved_id(id), "{id:?}");
        }
    }

    #[test]
    fn an_actor_is_stored_and_never_stands_in_an_events_way() {
        for recorded in every_event() {
            let mut row = recorded.to_row();
            assert_eq!(row["Actor"], Attribute::text("actor"));
            row.insert("Actor".to_owned(), Attribute::Other("M"));
            let StoredRow::Event(read) = StoredRow::read(&row, &settings()).expect("read") else {
                panic!("an event");
            };
            assert_eq!((read.event, read.trace.actor), (recorded.event, None));
        }
    }

    fn every_event() -> [RecordedEvent; 3] {
        let currency = Currency::stored("EUR").expect("valid");
        let amount = Amount::new(250).expect("valid");
        [
            recorded(1, Event::AccountCreated { currency }),
            recorded(3, Event::BalanceCredited { amount }),
            recorded(13, Event::BalanceWithdrawn { amount }),
        ]
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            id: AggregateId::new("a").expect("valid"),
            version: Version::new(12).expect("valid"),
            time: Timestamp::parse("2026-11-20T21:03:05.123Z").expect("valid"),
            currency: Currency::stored("EUR").expect("valid"),
            balance: Balance::new(42).expect("valid"),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for event in every_event() {
            let read = StoredRow::read(&event.to_row(), &settings());
            assert_eq!(read, Ok(StoredRow::Event(event)));
        }
        let read = StoredRow::read(&snapshot().to_row(), &settings());
        assert_eq!(read, Ok(StoredRow::Snapshot(snapshot())));
    }

    #[test]
    fn event_rows_carry_the_attributes_of_the_design() {
        let [created, credited, _] = every_event();
        let names = |row: Attributes| row.into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(created.to_row()),
            "Actor CausationId CommandId CorrelationId Currency Id SchemaVersion Sequence Timestamp Type Version"
        );
        assert_eq!(
            names(credited.to_row()),
            "Actor Amount CausationId CommandId CorrelationId Id SchemaVersion Sequence Timestamp Type Version"
        );
        assert_eq!(
            names(snapshot().to_row()),
            "Balance Currency Id Sequence Timestamp Type Version"
        );
        assert_eq!(credited.to_row()[SEQUENCE], Attribute::number(2));
        assert_eq!(snapshot().to_row()[SEQUENCE], Attribute::number(10));
    }

    #[test]
    fn rows_of_an_older_producer_take_the_default_currency_and_the_sequence_of_their_place() {
        let time = Timestamp::parse("2021-03-04T05:06:07.891Z").expect("valid");
        let StoredRow::Event(created) =
            StoredRow::read(&older(1, CREATED, &[]), &settings()).expect("reads")
        else {
            panic!("an event");
        };
        assert_eq!(
            created.event,
            Event::AccountCreated {
                currency: settings().default_currency
            }
        );
        assert_eq!((created.time, created.trace), (time, Trace::default()));

        let withdraw = older(13, WITHDRAW, &[(AMOUNT, Attribute::number(7))]);
        let StoredRow::Event(withdrawn) = StoredRow::read(&withdraw, &settings()).expect("reads")
        else {
            panic!("an event");
        };
        assert_eq!(withdrawn.sequence().get(), 11);

        let row = older(12, SNAPSHOT, &[(BALANCE, Attribute::number(0))]);
        let StoredRow::Snapshot(read) = StoredRow::read(&row, &settings()).expect("reads") else {
            panic!("a snapshot");
        };
        assert_eq!(read.currency, settings().default_currency);
    }

    #[test]
    fn a_timestamp_may_be_a_number_of_seconds_or_milliseconds() {
        for (number, text) in [
            (1_600_000_000_i64, "2020-09-13T12:26:40.000Z"),
            (1_600_000_000_123, "2020-09-13T12:26:40.123Z"),
            (99_999_999_999, "5138-11-16T09:46:39.000Z"),
            (100_000_000_000, "1973-03-03T09:46:40.000Z"),
        ] {
            let row = older(1, CREATED, &[(TIMESTAMP, Attribute::number(number))]);
            let read = StoredRow::read(&row, &settings()).expect("reads");
            assert_eq!(read.time().to_string(), text);
        }
    }

    #[test]
    fn every_attribute_that_is_missing_or_of_another_type_is_named() {
        let rows = every_event()
            .map(|event| event.to_row())
            .into_iter()
            .chain([snapshot().to_row()]);
        for row in rows {
            for name in row.keys().filter(|name| *name != ACTOR) {
                let mut wrong = row.clone();
                wrong.insert(name.clone(), Attribute::Other("BOOL"));
                let error = StoredRow::read(&wrong, &settings()).expect_err(name);
                assert_eq!(error.attribute, name);
                assert!(error.problem.contains("BOOL"), "{error}");
            }
            for name in [ID, VERSION, TYPE, TIMESTAMP, AMOUNT, BALANCE] {
                let mut without = row.clone();
                if without.remove(name).is_some() {
                    let error = StoredRow::read(&without, &settings()).expect_err(name);
                    assert_eq!((error.attribute, &*error.problem), (name, "is missing"));
                }
            }
        }
    }

    #[test]
    fn every_value_that_makes_no_sense_is_named() {
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
            (with(SCHEMA_VERSION, n("2")), SCHEMA_VERSION),
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
            let error = StoredRow::read(&row, &settings()).expect_err(attribute);
            assert_eq!(error.attribute, attribute, "{row:?}: {error}");
        }
    }

    #[test]
    fn an_unknown_type_is_quoted_and_cut_short() {
        let row = older(3, &"X".repeat(1000), &[]);
        let error = StoredRow::read(&row, &settings()).expect_err("unknown");
        assert!(error.problem.len() < 80, "{error}");
        assert!(error.problem.contains("XXX"), "{error}");
    }

    #[test]
    fn only_a_row_that_says_so_is_plainly_a_snapshot() {
        assert!(is_plainly_a_snapshot(&snapshot().to_row()));
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
        fn no_row_panics(
            start in 0_usize..3,
            changes in prop::collection::vec((prop::sample::select(vec![
                ID, VERSION, TYPE, AMOUNT, BALANCE, CURRENCY, TIMESTAMP, SEQUENCE, SCHEMA_VERSION, COMMAND_ID,
            ]), proptest::option::of(any_attribute())), 0..4),
        ) {
            let mut row = every_event()[start].to_row();
            for (name, value) in changes {
                match value {
                    Some(value) => row.insert(name.to_owned(), value),
                    None => row.remove(name),
                };
            }
            // What is understood is written back to a row that reads the same.
            if let Ok(StoredRow::Event(event)) = StoredRow::read(&row, &settings()) {
                prop_assert_eq!(StoredRow::read(&event.to_row(), &settings()), Ok(StoredRow::Event(event)));
            }
        }
    }
}
