//! Rows of the events table: core's columns, and the domain's own next to them.
//!
//! | row | core's columns |
//! |---|---|
//! | event | `Id`, `Version`, `Type`, `Timestamp`, `Sequence`, `SchemaVersion`, and where known `CommandId`, `CorrelationId`, `CausationId`, `Actor` |
//! | snapshot | `Id`, `Version`, `Type` = `SNAPSHOT`, `Timestamp`, `Sequence`, and `SchemaVersion` from version 2 on |
//!
//! Rows of the legacy layout have the first four only: their schema version is 1 and their sequence
//! follows from `Version`. `Timestamp` is RFC 3339 text; a number is read too, as seconds or
//! milliseconds since 1970.
//!
//! Reading never guesses. A row that can't be decoded is an error that names the attribute, and the
//! error never quotes a stored value other than `Type`, so it may be logged.

use crate::attribute::{Attribute, Attributes};
use crate::columns::Columns;
use crate::decode::{decode_attribute, decode_struct, decode_variant};
use crate::domain::{Data, Domain};
use crate::encode::{encode_struct, encode_variant};
use crate::error::{DecodeError, EncodeError};
use crate::ids::{AggregateId, InvalidId, Metadata, is_printable};
use crate::layout::{Sequence, Version};
use crate::time::Timestamp;

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
/// The W3C trace context of the command. Reserved; not written yet.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRow<E, S> {
    /// An event.
    Event(RecordedEvent<E>),
    /// A snapshot.
    Snapshot(Snapshot<S>),
}

/// A row of the domain `D`.
pub type StoredRowOf<D> = StoredRow<<D as Domain>::Event, <D as Domain>::State>;

/// An event with its position in its aggregate's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent<E> {
    /// The aggregate.
    pub id: AggregateId,
    /// The row.
    pub version: Version,
    /// When it happened.
    pub time: Timestamp,
    /// The ids that it was appended with.
    pub metadata: Metadata,
    /// What happened.
    pub event: E,
}

/// An aggregate's state after all rows before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<S> {
    /// The aggregate.
    pub id: AggregateId,
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
    AggregateId::new(text(row, ID)?).map_err(|error| DecodeError::new(ID, error.to_string()))
}

/// A row's version.
///
/// # Errors
/// [`DecodeError`] if `Version` can't be read.
pub fn version(row: &Attributes) -> Result<Version, DecodeError> {
    Version::new(required(row, VERSION)?)
        .ok_or_else(|| DecodeError::new(VERSION, "is not an integer from 1 to 2^53-1"))
}

impl<E: Data> RecordedEvent<E> {
    /// The event's position among its aggregate's events.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.version.sequence()
    }

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
        let id = aggregate_id(row)?;
        let version = version(row)?;
        let row_type = text(row, TYPE)?;
        let time = time(row)?;
        check_sequence(row, version)?;
        let is_snapshot = row_type == SNAPSHOT;
        if is_snapshot && !version.is_snapshot() {
            return Err(DecodeError::new(
                TYPE,
                "is SNAPSHOT at a row where an event belongs",
            ));
        }

        let schema = schema_version(row, D::SCHEMA)?;
        let mut columns = Columns::from(row);
        domain.upcast(schema, &mut columns);
        if is_snapshot {
            return Ok(Self::Snapshot(Snapshot {
                id,
                version,
                time,
                state: decode_struct(&columns, is_reserved_column)?,
            }));
        }

        let row_type = columns.text(TYPE).unwrap_or(row_type);
        let event = decode_variant(row_type, &columns, is_reserved_column)
            .map_err(|error| known_type(error, row_type))?;
        check_position::<D>(row_type, version)?;
        Ok(Self::Event(RecordedEvent {
            id,
            version,
            time,
            metadata: metadata(row)?,
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

/// If two rows had the same sequence, the second one would be skipped as a duplicate. So a `Sequence`
/// that doesn't follow from `Version` is an error.
fn check_sequence(row: &Attributes, version: Version) -> Result<(), DecodeError> {
    let expected = version.sequence();
    match optional::<u64>(row, SEQUENCE)? {
        Some(sequence) if sequence != expected.get() => Err(DecodeError::new(
            SEQUENCE,
            format!("is not {expected}, the sequence of row {version}"),
        )),
        Some(_) | None => Ok(()),
    }
}

fn schema_version(row: &Attributes, current: u32) -> Result<u32, DecodeError> {
    let schema = optional(row, SCHEMA_VERSION)?.unwrap_or(FIRST_SCHEMA);
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

fn metadata(row: &Attributes) -> Result<Metadata, DecodeError> {
    Ok(Metadata {
        command_id: optional_id(row, COMMAND_ID)?,
        correlation_id: optional_id(row, CORRELATION_ID)?,
        causation_id: optional_id(row, CAUSATION_ID)?,
        actor: text(row, ACTOR).ok().map(str::to_owned),
    })
}

fn required<'a, T: serde::Deserialize<'a>>(
    row: &'a Attributes,
    name: &str,
) -> Result<T, DecodeError> {
    let value = row.get(name).ok_or_else(|| DecodeError::missing(name))?;
    decode_attribute(name, value)
}

/// `None` only where the attribute is missing: one of type NULL is an error.
fn optional<'a, T: serde::Deserialize<'a>>(
    row: &'a Attributes,
    name: &str,
) -> Result<Option<T>, DecodeError> {
    row.contains_key(name)
        .then(|| required(row, name))
        .transpose()
}

fn text<'a>(row: &'a Attributes, name: &str) -> Result<&'a str, DecodeError> {
    required(row, name)
}

fn optional_id(row: &Attributes, name: &str) -> Result<Option<String>, DecodeError> {
    match optional(row, name)? {
        Some(id) if !is_printable(id) => Err(DecodeError::new(name, InvalidId.to_string())),
        id => Ok(id.map(str::to_owned)),
    }
}

fn time(row: &Attributes) -> Result<Timestamp, DecodeError> {
    match row.get(TIMESTAMP) {
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
        Some(Attribute::Text(_)) | None => required(row, TIMESTAMP),
        Some(other) => {
            Err(DecodeError::wrong_type(other.type_name(), "S or N").in_field(TIMESTAMP))
        }
    }
}
