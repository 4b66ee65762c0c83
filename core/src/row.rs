//! Rows of the events table: core's columns, and the domain's own next to them.
//!
//! | row | core's columns |
//! |---|---|
//! | event | `Id`, `Version`, `Type`, `Timestamp`, `Sequence`, `SchemaVersion`, and where known `CommandId`, `CorrelationId`, `CausationId`, `TraceParent`, `Actor` |
//! | snapshot | `Id`, `Version`, `Type` = `SNAPSHOT`, `Timestamp`, `Sequence`, and `SchemaVersion` from version 2 on |
//!
//! Rows of the legacy layout have the first four only: their schema version is 1 and their sequence
//! follows from `Version`. `Timestamp` is RFC 3339 text; a number is read too, as seconds or
//! milliseconds since 1970.
//!
//! Reading never guesses. A row that can't be decoded is an error that names the attribute, and the
//! error never quotes a stored value other than `Type`, so it may be logged.

use std::borrow::Cow;

use crate::attribute::{Attribute, Attributes, BorrowedAttribute};
use crate::columns::{Columns, REPEATED};
use crate::decode::{decode_attribute, decode_struct, decode_variant};
use crate::domain::{Data, Domain};
use crate::encode::{encode_struct, encode_variant};
use crate::error::{DecodeError, EncodeError};
use crate::ids::{AggregateId, InvalidId, Metadata, is_printable};
use crate::layout::{Sequence, Version};
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// The table's hash key.
pub const ID: &str = "Id";
/// The table's range key.
pub const VERSION: &str = "Version";
/// What a row is: an event's serde name, or [`SNAPSHOT`].
pub const TYPE: &str = "Type";
/// When the row was written.
pub const TIMESTAMP: &str = "Timestamp";
/// An event's sequence; for a snapshot, that of the last event which it includes.
pub const SEQUENCE: &str = "Sequence";
/// The schema version of the domain's columns.
pub const SCHEMA_VERSION: &str = "SchemaVersion";
/// The command that wrote an event's row.
pub const COMMAND_ID: &str = "CommandId";
/// The business conversation that an event belongs to.
pub const CORRELATION_ID: &str = "CorrelationId";
/// The message that directly caused an event.
pub const CAUSATION_ID: &str = "CausationId";
/// Who sent the command, as API Gateway authenticated it. It is never published, and a row whose
/// `Actor` can't be read is an event like any other.
pub const ACTOR: &str = "Actor";
/// The writer's span for the command, as a [`TraceParent`]. An event doesn't depend on it: in a row whose
/// `TraceParent` can't be read, it is absent.
pub const TRACE_PARENT: &str = "TraceParent";

/// The names that no domain's column may have.
pub const RESERVED_COLUMNS: [&str; 11] = [
    ID,
    VERSION,
    TYPE,
    TIMESTAMP,
    SEQUENCE,
    SCHEMA_VERSION,
    COMMAND_ID,
    CORRELATION_ID,
    CAUSATION_ID,
    ACTOR,
    TRACE_PARENT,
];

/// The `Type` of a snapshot's row, which no event may have.
pub const SNAPSHOT: &str = "SNAPSHOT";

/// The schema version of a row without `SchemaVersion`.
const FIRST_SCHEMA: u32 = 1;

/// How many characters of an unknown `Type` an error quotes.
const QUOTED_CHARS: usize = 32;

/// A number below this is a time in seconds, else in milliseconds: as seconds it is the year 5138,
/// as milliseconds March 1973.
const FIRST_MILLIS: u64 = 100_000_000_000;

/// A row that was decoded.
///
/// `T` is the type of the strings of core's columns: `String`, or that of a [`BorrowedRowOf`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRow<E, S, T = String> {
    /// An event.
    Event(RecordedEvent<E, T>),
    /// A snapshot.
    Snapshot(Snapshot<S, T>),
}

/// A row of the domain `D`.
pub type StoredRowOf<D, T = String> = StoredRow<<D as Domain>::Event, <D as Domain>::State, T>;

/// A row of the domain `D` whose strings are borrowed from what it was read from, except where they had
/// to be unescaped.
pub type BorrowedRowOf<'a, D> = StoredRowOf<D, Cow<'a, str>>;

/// An event with its position in its aggregate's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent<E, T = String> {
    /// The aggregate.
    pub id: AggregateId<T>,
    /// The row.
    pub version: Version,
    /// When it happened.
    pub time: Timestamp,
    /// The ids that it was appended with.
    pub metadata: Metadata<T>,
    /// What happened.
    pub event: E,
}

/// An aggregate's state after all rows before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<S, T = String> {
    /// The aggregate.
    pub id: AggregateId<T>,
    /// The row.
    pub version: Version,
    /// When it was taken.
    pub time: Timestamp,
    /// The state.
    pub state: S,
}

/// Whether core claims a column of this name.
#[must_use]
pub fn is_reserved_column(name: &str) -> bool {
    RESERVED_COLUMNS.contains(&name)
}

/// Whether a row says of itself that it is a snapshot, and so is no event. Anything else may be an
/// event, also a row whose `Type` can't be read.
#[must_use]
pub fn is_plainly_a_snapshot(row: &Attributes) -> bool {
    matches!(row.get(TYPE), Some(Attribute::Text(row_type)) if row_type == SNAPSHOT)
}

/// A row's aggregate.
///
/// # Errors
/// [`DecodeError`] if `Id` can't be read.
pub fn aggregate_id(row: &Attributes) -> Result<AggregateId, DecodeError> {
    let id: &str = required(row.get(ID), ID)?;
    AggregateId::new(id).map_err(|error| DecodeError::new(ID, error.to_string()))
}

/// A row's version.
///
/// # Errors
/// [`DecodeError`] if `Version` can't be read.
pub fn version(row: &Attributes) -> Result<Version, DecodeError> {
    read_version(row.get(VERSION))
}

/// A row's version, from its `Version`.
///
/// # Errors
/// Like [`version`].
pub fn read_version(value: Option<&Attribute<impl AsRef<str>>>) -> Result<Version, DecodeError> {
    Version::new(required(value, VERSION)?)
        .ok_or_else(|| DecodeError::new(VERSION, "is not an integer from 1 to 2^53-1"))
}

impl<E, T> RecordedEvent<E, T> {
    /// The event's position among its aggregate's events.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.version.sequence()
    }
}

impl<E: Data> RecordedEvent<E> {
    /// The event's row, in the current schema version.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's event is no enum with named fields, a field has no form as an
    /// attribute, or the row couldn't be read back: an aggregate begins with [`Domain::BEGINS`].
    pub fn to_row<D: Domain<Event = E>>(&self) -> Result<Attributes, EncodeError> {
        let (row_type, mut row) = encode_variant(&self.event)?;
        if row_type == SNAPSHOT || check_position::<D>(row_type, self.version).is_err() {
            return Err(EncodeError::new("is an event that can't be at this row"));
        }
        add_keys(&mut row, &self.id, self.version, row_type, self.time);
        add(&mut row, SCHEMA_VERSION, Attribute::number(D::SCHEMA));
        for (name, id) in [
            (COMMAND_ID, &self.metadata.command_id),
            (CORRELATION_ID, &self.metadata.correlation_id),
            (CAUSATION_ID, &self.metadata.causation_id),
            (ACTOR, &self.metadata.actor),
        ] {
            if let Some(id) = id {
                add(&mut row, name, Attribute::text(id));
            }
        }
        if let Some(trace_parent) = self.metadata.trace_parent {
            add(&mut row, TRACE_PARENT, Attribute::text(trace_parent));
        }
        Ok(row)
    }
}

impl<S: Data> Snapshot<S> {
    /// The snapshot's row.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's state is no struct, or a field has no form as an attribute.
    pub fn to_row<D: Domain<State = S>>(&self) -> Result<Attributes, EncodeError> {
        let mut row = encode_struct(&self.state)?;
        add_keys(&mut row, &self.id, self.version, SNAPSHOT, self.time);
        if D::SCHEMA > FIRST_SCHEMA {
            add(&mut row, SCHEMA_VERSION, Attribute::number(D::SCHEMA));
        }
        Ok(row)
    }
}

fn add_keys(
    row: &mut Attributes,
    id: &AggregateId,
    version: Version,
    row_type: &str,
    time: Timestamp,
) {
    add(row, ID, Attribute::text(id));
    add(row, VERSION, Attribute::number(version.get()));
    add(row, TYPE, Attribute::text(row_type));
    add(row, TIMESTAMP, Attribute::text(time));
    add(row, SEQUENCE, Attribute::number(version.sequence().get()));
}

fn add(row: &mut Attributes, name: &str, value: Attribute) {
    row.insert(name.to_owned(), value);
}

impl<E: Data, S: Data> StoredRow<E, S> {
    /// Reads a row of any schema version.
    ///
    /// # Errors
    /// [`DecodeError`] if any attribute is missing, of another type, or contradicts the row's
    /// position: a snapshot is at every tenth row and nowhere else, the event [`Domain::BEGINS`] at
    /// the first row and nowhere else, and `Sequence` follows from `Version`.
    pub fn read<D>(domain: &D, row: &Attributes) -> Result<Self, DecodeError>
    where
        D: Domain<Event = E, State = S>,
    {
        BorrowedRowOf::<D>::read_columns(domain, &mut Columns::from(row)).map(StoredRow::into_owned)
    }
}

impl<'a, E: Data, S: Data> StoredRow<E, S, Cow<'a, str>> {
    /// Reads a row of any schema version. Afterwards, the columns are those of the current one.
    ///
    /// # Errors
    /// Like [`StoredRow::read`].
    pub fn read_columns<D>(domain: &D, columns: &mut Columns<'a>) -> Result<Self, DecodeError>
    where
        D: Domain<Event = E, State = S>,
    {
        let core = CoreColumns::find(columns);
        let id = AggregateId::checked(required_text(core.id, ID)?)
            .map_err(|error| DecodeError::new(ID, error.to_string()))?;
        let version = read_version(core.version)?;
        let row_type = required_text(core.row_type, TYPE)?;
        let time = time(core.timestamp)?;
        check_sequence(core.sequence, version)?;
        let is_snapshot = row_type == SNAPSHOT;
        if is_snapshot && !version.is_snapshot() {
            return Err(DecodeError::new(
                TYPE,
                "is SNAPSHOT at a row where an event belongs",
            ));
        }
        let schema = schema_version(core.schema_version, D::SCHEMA)?;
        let metadata = core.metadata();

        domain.upcast(schema, columns);
        if is_snapshot {
            return Ok(Self::Snapshot(Snapshot {
                id,
                version,
                time,
                state: in_any_order(columns, |columns| {
                    decode_struct(columns, is_reserved_column)
                })?,
            }));
        }

        let event = in_any_order(columns, |columns| {
            let row_type = columns.text(TYPE).unwrap_or(&row_type);
            decode_variant(row_type, columns, is_reserved_column)
                .map_err(|error| known_type(error, row_type))
        })?;
        check_position::<D>(columns.text(TYPE).unwrap_or(&row_type), version)?;
        Ok(Self::Event(RecordedEvent {
            id,
            version,
            time,
            metadata: metadata?,
            event,
        }))
    }

    /// The same row with strings of its own.
    #[must_use]
    pub fn into_owned(self) -> StoredRow<E, S> {
        match self {
            Self::Event(event) => StoredRow::Event(RecordedEvent {
                id: event.id.into_owned(),
                version: event.version,
                time: event.time,
                metadata: event.metadata.into_owned(),
                event: event.event,
            }),
            Self::Snapshot(snapshot) => StoredRow::Snapshot(Snapshot {
                id: snapshot.id.into_owned(),
                version: snapshot.version,
                time: snapshot.time,
                state: snapshot.state,
            }),
        }
    }
}

impl<E, S, T> StoredRow<E, S, T> {
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

/// Core's columns of a row, found in one pass over all of its columns.
#[derive(Default)]
struct CoreColumns<'c, 'a> {
    id: Option<&'c BorrowedAttribute<'a>>,
    version: Option<&'c BorrowedAttribute<'a>>,
    row_type: Option<&'c BorrowedAttribute<'a>>,
    timestamp: Option<&'c BorrowedAttribute<'a>>,
    sequence: Option<&'c BorrowedAttribute<'a>>,
    schema_version: Option<&'c BorrowedAttribute<'a>>,
    command_id: Option<&'c BorrowedAttribute<'a>>,
    correlation_id: Option<&'c BorrowedAttribute<'a>>,
    causation_id: Option<&'c BorrowedAttribute<'a>>,
    trace_parent: Option<&'c BorrowedAttribute<'a>>,
    actor: Option<&'c BorrowedAttribute<'a>>,
}

impl<'c, 'a> CoreColumns<'c, 'a> {
    fn find(columns: &'c Columns<'a>) -> Self {
        let mut found = Self::default();
        for (name, value) in columns.iter() {
            let column = match name {
                ID => &mut found.id,
                VERSION => &mut found.version,
                TYPE => &mut found.row_type,
                TIMESTAMP => &mut found.timestamp,
                SEQUENCE => &mut found.sequence,
                SCHEMA_VERSION => &mut found.schema_version,
                COMMAND_ID => &mut found.command_id,
                CORRELATION_ID => &mut found.correlation_id,
                CAUSATION_ID => &mut found.causation_id,
                TRACE_PARENT => &mut found.trace_parent,
                ACTOR => &mut found.actor,
                _ => continue,
            };
            *column = Some(if column.is_some() { &REPEATED } else { value });
        }
        found
    }

    fn metadata(&self) -> Result<Metadata<Cow<'a, str>>, DecodeError> {
        let trace_parent = match self.trace_parent {
            Some(Attribute::Text(text)) => TraceParent::parse(text).ok(),
            Some(_) | None => None,
        };
        let actor = match self.actor {
            Some(Attribute::Text(actor)) => Some(actor.clone()),
            Some(_) | None => None,
        };
        Ok(Metadata {
            command_id: optional_id(self.command_id, COMMAND_ID)?,
            correlation_id: optional_id(self.correlation_id, CORRELATION_ID)?,
            causation_id: optional_id(self.causation_id, CAUSATION_ID)?,
            trace_parent,
            actor,
        })
    }
}

/// Decodes the columns in the order in which they were read. If this fails, they are decoded in the order of
/// their names: of several errors, the same one is reported in whatever order the columns were read.
fn in_any_order<T>(
    columns: &mut Columns<'_>,
    decode: impl Fn(&Columns<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    decode(columns).or_else(|_| {
        columns.sort();
        decode(columns)
    })
}

/// If two rows had the same sequence, the second one would be skipped as a duplicate. So a `Sequence`
/// that doesn't follow from `Version` is an error.
fn check_sequence(
    value: Option<&BorrowedAttribute<'_>>,
    version: Version,
) -> Result<(), DecodeError> {
    let expected = version.sequence();
    match optional::<u64>(value, SEQUENCE)? {
        Some(sequence) if sequence != expected.get() => Err(DecodeError::new(
            SEQUENCE,
            format!("is not {expected}, the sequence of row {version}"),
        )),
        Some(_) | None => Ok(()),
    }
}

fn schema_version(value: Option<&BorrowedAttribute<'_>>, current: u32) -> Result<u32, DecodeError> {
    let schema = optional(value, SCHEMA_VERSION)?.unwrap_or(FIRST_SCHEMA);
    if (FIRST_SCHEMA..=current).contains(&schema) {
        Ok(schema)
    } else {
        Err(DecodeError::new(
            SCHEMA_VERSION,
            "is of a schema that this release can't read",
        ))
    }
}

fn check_position<D: Domain>(row_type: &str, version: Version) -> Result<(), DecodeError> {
    let begins = row_type == D::BEGINS;
    let problem = if version.is_snapshot() {
        "is an event at a row where a snapshot belongs".to_owned()
    } else if begins && version != Version::FIRST {
        format!("is {} at a row other than the first", D::BEGINS)
    } else if !begins && version == Version::FIRST {
        format!("is not {} at the first row", D::BEGINS)
    } else {
        return Ok(());
    };
    Err(DecodeError::new(TYPE, problem))
}

/// Names `Type` where its value names no event.
fn known_type(error: DecodeError, row_type: &str) -> DecodeError {
    if error.is_unknown_tag() {
        let quoted: String = row_type.chars().take(QUOTED_CHARS).collect();
        DecodeError::new(TYPE, format!("{quoted:?} is no known row type"))
    } else {
        error
    }
}

fn required<'c, T, S>(value: Option<&'c Attribute<S>>, name: &str) -> Result<T, DecodeError>
where
    T: serde::Deserialize<'c>,
    S: AsRef<str>,
{
    decode_attribute(name, value.ok_or_else(|| DecodeError::missing(name))?)
}

/// `None` only where the attribute is missing: one of type NULL is an error.
fn optional<'c, T: serde::Deserialize<'c>>(
    value: Option<&'c BorrowedAttribute<'_>>,
    name: &str,
) -> Result<Option<T>, DecodeError> {
    value.map(|value| decode_attribute(name, value)).transpose()
}

/// The string itself, not one that is borrowed from the column.
fn required_text<'a>(
    value: Option<&BorrowedAttribute<'a>>,
    name: &str,
) -> Result<Cow<'a, str>, DecodeError> {
    match value {
        Some(Attribute::Text(text)) => Ok(text.clone()),
        Some(other) => Err(DecodeError::wrong_type(other.type_name(), "S").in_field(name)),
        None => Err(DecodeError::missing(name)),
    }
}

fn optional_id<'a>(
    value: Option<&BorrowedAttribute<'a>>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, DecodeError> {
    if value.is_none() {
        return Ok(None);
    }
    let id = required_text(value, name)?;
    if is_printable(&id) {
        Ok(Some(id))
    } else {
        Err(DecodeError::new(name, InvalidId.to_string()))
    }
}

fn time(value: Option<&BorrowedAttribute<'_>>) -> Result<Timestamp, DecodeError> {
    match value {
        Some(number @ Attribute::Number(_)) => number
            .as_integer()
            .and_then(|number| {
                if number.unsigned_abs() < FIRST_MILLIS {
                    number.checked_mul(1000)
                } else {
                    Some(number)
                }
            })
            .and_then(Timestamp::from_unix_millis)
            .ok_or_else(|| {
                DecodeError::new(
                    TIMESTAMP,
                    "is not an integer of seconds or milliseconds since 1970",
                )
            }),
        Some(Attribute::Text(_)) | None => required(value, TIMESTAMP),
        Some(other) => {
            Err(DecodeError::wrong_type(other.type_name(), "S or N").in_field(TIMESTAMP))
        }
    }
}
