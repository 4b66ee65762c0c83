//! The public contract: one [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md)
//! JSON object, in structured mode, per event.
//!
//! Invariant: the same event always serialises to the same bytes: members are in one order (those of
//! `data` in the order of the domain's fields), absent ones are left out, times have three decimals.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attribute::{Attribute, Attributes};
use crate::columns::Columns;
use crate::decode::{decode_struct, decode_variant, variant_names};
use crate::domain::{Data, Domain};
use crate::encode::{FieldSink, NO_ENUM, TaggedSerializer};
use crate::error::{DecodeError, EncodeError};
use crate::ids::{AggregateId, InvalidId};
use crate::json;
use crate::layout::Sequence;
use crate::row::RecordedEvent;
use crate::time::{InvalidTime, Timestamp};
use crate::trace::{TraceId, TraceParent};

const SPEC_VERSION: &str = "1.0";
const CONTENT_TYPE: &str = "application/json";
const SOURCE_PREFIX: &str = "urn:millrace";
const SCHEMA_PREFIX: &str = "urn:millrace:schema";
/// The version of a type's `data` that its serde name doesn't contain.
const FIRST_VERSION: &str = "1";
/// What separates the type from a later version in a serde name.
const VERSION_SEPARATOR: char = ':';

/// The memory that is reserved for an envelope. Most are smaller.
const USUAL_BYTES: usize = 640;

/// The member of `data` that contains the event's sequence, next to the one that [`Domain::ID`]
/// names. No field of public data may have its name.
pub const SEQUENCE: &str = "sequence";

/// The attribute of CloudEvents'
/// [distributed tracing extension](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md).
const TRACE_PARENT: &str = "traceparent";

/// A domain event as everyone outside sees it.
///
/// `T` is the type of the ids: `String`, or `Cow<str>` if they are borrowed from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<P, T = String> {
    /// The aggregate: `subject`, the member of `data` that [`Domain::ID`] names, and the partition
    /// key.
    pub subject: AggregateId<T>,
    /// The event's position among its aggregate's events, from 1: `data.sequence`.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Timestamp,
    /// `correlationid`.
    pub correlation_id: Option<T>,
    /// `causationid`.
    pub causation_id: Option<T>,
    /// `traceparent`. The event doesn't depend on it: a malformed one is left out.
    pub trace_parent: Option<TraceParent>,
    /// What happened: `type` and the rest of `data`.
    pub event: P,
}

/// The members that are strings.
#[derive(Deserialize)]
struct Members {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    subject: String,
    time: String,
    #[serde(rename = "datacontenttype")]
    _content_type: String,
    dataschema: String,
    correlationid: Option<String>,
    causationid: Option<String>,
}

impl<P: Data, T: AsRef<str> + Clone> Envelope<P, T> {
    /// The envelope of a stored event: [`Domain::publish`] in `context`, which it updates. `None` if
    /// `context` lacks what the event repeats.
    #[must_use]
    pub fn publish<D: Domain<PublicEvent = P>>(
        context: &mut D::Context,
        recorded: &RecordedEvent<D::Event, T>,
    ) -> Option<Self> {
        Some(Self {
            subject: recorded.id.clone(),
            sequence: recorded.version.sequence(),
            time: recorded.time,
            correlation_id: recorded.metadata.correlation_id.clone(),
            causation_id: recorded.metadata.causation_id.clone(),
            trace_parent: recorded.metadata.trace_parent,
            event: D::publish(context, &recorded.event)?,
        })
    }

    /// The envelope's bytes: one JSON object without a line break.
    ///
    /// # Errors
    /// [`EncodeError`] if the domain's public event is no enum with named fields, or a field has no
    /// form in JSON.
    pub fn to_bytes<D: Domain<PublicEvent = P>>(&self) -> Result<Vec<u8>, EncodeError> {
        let mut json = EnvelopeSink {
            envelope: self,
            id_member: D::ID,
            collection: D::COLLECTION,
            json: Vec::with_capacity(USUAL_BYTES),
        };
        json.json.push(b'{');
        self.event.serialize(TaggedSerializer::new(&mut json))?;
        json.json.extend_from_slice(b"}}");
        Ok(json.json)
    }
}

/// An event of a type or version that a consumer doesn't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownType {
    /// The event's `type`.
    pub name: String,
    /// The version of the type's `data`, from 1.
    pub version: u32,
    /// Whether the consumer knows another version of the type.
    pub is_known_in_other_version: bool,
}

/// An event as a consumer reads it that is not the domain's own program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<E> {
    /// An event of a type and version that the consumer knows.
    Known(Envelope<E>),
    /// An event of a type or version that it doesn't know. Of `data`, only the sequence is read.
    Unknown(Envelope<UnknownType>),
}

impl<E: DeserializeOwned> Received<E> {
    /// Reads an event of which only the types that `E` declares are known. `E` is an enum whose variants have
    /// named fields. A variant's serde name is the `type`, or `type:version` for a later version than 1; its
    /// fields are members of `data`. Unknown members are ignored.
    ///
    /// Unlike [`Envelope::parse`], this needs no [`Domain`], and doesn't check the rules that only the domain
    /// knows: which type an aggregate begins with, and which member of `data` repeats the aggregate's id.
    ///
    /// # Errors
    /// [`DecodeError`] that names the member which is missing or wrong (`data.amount`), or without a
    /// path for bytes that are no JSON object. `source` is the expected one.
    pub fn parse(bytes: &[u8], source: &str) -> Result<Self, DecodeError> {
        let Opened {
            members,
            data,
            trace_parent,
        } = Opened::read(bytes)?;
        expect("specversion", &members.specversion, SPEC_VERSION)?;
        expect("source", &members.source, source)?;
        let version = version(&members)
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| {
                DecodeError::new("dataschema", "is not the schema of a version of the type")
            })?;
        let name = if version == 1 {
            members.r#type.clone()
        } else {
            format!("{}{VERSION_SEPARATOR}{version}", members.r#type)
        };
        let subject = subject(members.subject)?;
        let sequence = sequence(&data).map_err(|error| error.in_field("data"))?;
        let time = time(&members.time)?;
        let envelope = Envelope {
            subject,
            sequence,
            time,
            correlation_id: members.correlationid,
            causation_id: members.causationid,
            trace_parent,
            event: (),
        };
        if members.id != envelope.id() {
            return Err(DecodeError::new("id", "is not <subject>:<sequence>"));
        }
        let known = variant_names::<E>();
        // A type that looks like a variant of another version, such as `ShelfOpened:2`, is an unknown one.
        let is_plain = !members.r#type.contains(VERSION_SEPARATOR);
        if is_plain && known.contains(&name.as_str()) {
            let event = decode_variant(&name, &data, |_| false)
                .map_err(|error: DecodeError| error.in_field("data"))?;
            return Ok(Self::Known(envelope.with_event(event)));
        }
        let is_known_in_other_version = known
            .iter()
            .any(|known| type_and_version(known).0 == members.r#type);
        Ok(Self::Unknown(envelope.with_event(UnknownType {
            name: members.r#type,
            version,
            is_known_in_other_version,
        })))
    }
}

impl<P, T: AsRef<str>> Envelope<P, T> {
    /// `<aggregate id>:<sequence>`: the same for every duplicate, unique to the event.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.subject, self.sequence)
    }

    fn with_event<E>(self, event: E) -> Envelope<E, T> {
        Envelope {
            subject: self.subject,
            sequence: self.sequence,
            time: self.time,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            trace_parent: self.trace_parent,
            event,
        }
    }
}

/// The members of an envelope before they are checked.
struct Opened<'a> {
    members: Members,
    data: Columns<'a>,
    trace_parent: Option<TraceParent>,
}

impl<'a> Opened<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut members = json::borrowed_object(bytes)?;
        let data = match members.remove("data") {
            Some(Attribute::Map(data)) => Columns::from(data),
            Some(other) => {
                return Err(DecodeError::wrong_type(other.type_name(), "M").in_field("data"));
            }
            None => return Err(DecodeError::missing("data")),
        };
        let trace_parent = take_trace_parent(&mut members);
        Ok(Self {
            members: decode_struct(&Columns::from(members), |_| false)?,
            data,
            trace_parent,
        })
    }
}

impl<P: Data> Envelope<P> {
    /// Reads an envelope. Members that neither core nor the domain knows are ignored, as CloudEvents
    /// asks for extension attributes.
    ///
    /// # Errors
    /// [`DecodeError`] that names the member which is missing or wrong (`data.amount`), or without a
    /// path for bytes that are no JSON object. A retry fails in the same way.
    pub fn parse<D: Domain<PublicEvent = P>>(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Opened {
            members,
            data,
            trace_parent,
        } = Opened::read(bytes)?;
        expect("specversion", &members.specversion, SPEC_VERSION)?;
        expect("source", &members.source, &source(D::COLLECTION))?;

        let event = read_event(&members, &data, |name| name == D::ID || name == SEQUENCE)?;
        let subject = subject(members.subject)?;
        let sequence = read_data::<D>(&data, &subject).map_err(|error| error.in_field("data"))?;
        if (sequence == Sequence::FIRST) != (members.r#type == D::BEGINS_PUBLIC) {
            let problem = format!("is 1 for {} and for nothing else", D::BEGINS_PUBLIC);
            return Err(DecodeError::new(SEQUENCE, problem).in_field("data"));
        }
        let time = time(&members.time)?;
        let envelope = Self {
            subject,
            sequence,
            time,
            correlation_id: members.correlationid,
            causation_id: members.causationid,
            trace_parent,
            event,
        };
        if members.id == envelope.id() {
            Ok(envelope)
        } else {
            Err(DecodeError::new("id", "is not <subject>:<sequence>"))
        }
    }
}

/// Reads the event in the version of its data that `dataschema` names.
fn read_event<P: Data>(
    members: &Members,
    data: &Columns<'_>,
    is_core: fn(&str) -> bool,
) -> Result<P, DecodeError> {
    let Members {
        r#type, dataschema, ..
    } = members;
    let version = version(members);
    let later = version
        .filter(|version| *version != FIRST_VERSION)
        .map(|version| format!("{}{VERSION_SEPARATOR}{version}", members.r#type));
    let event = decode_variant(later.as_ref().unwrap_or(r#type), data, is_core);
    let event = event.map_err(|error: DecodeError| match &later {
        None if error.is_unknown_tag() => DecodeError::new("type", "is no known event type"),
        Some(_) if error.is_unknown_tag() => {
            DecodeError::new("dataschema", "is no known version of a known event type")
        }
        None | Some(_) => error.in_field("data"),
    })?;
    if version.is_none() {
        expect("dataschema", dataschema, &schema(r#type, FIRST_VERSION))?;
    }
    Ok(event)
}

/// The version of the type that `dataschema` names; `None` if it names no version of the type.
fn version(members: &Members) -> Option<&str> {
    members
        .dataschema
        .strip_prefix(SCHEMA_PREFIX)
        .and_then(|rest| {
            rest.strip_prefix(':')?
                .strip_prefix(members.r#type.as_str())
        })
        .and_then(|rest| rest.strip_prefix(':'))
        .filter(|version| is_version(version))
}

/// Whether this can be the version of an event type: a whole number from 1 on.
fn is_version(text: &str) -> bool {
    !text.starts_with('0') && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The trace of an event, for the log. Also bytes that [`Envelope::parse`] refuses may name one.
#[must_use]
pub fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let mut members = json::borrowed_object(bytes).ok()?;
    take_trace_parent(&mut members).map(TraceParent::trace_id)
}

fn take_trace_parent(members: &mut Attributes<Cow<'_, str>>) -> Option<TraceParent> {
    match members.remove(TRACE_PARENT)? {
        Attribute::Text(text) => TraceParent::parse(&text).ok(),
        _ => None,
    }
}

/// Checks what `data` repeats of the envelope, and returns the sequence.
fn read_data<D: Domain>(
    data: &Columns<'_>,
    subject: &AggregateId,
) -> Result<Sequence, DecodeError> {
    if data.text(D::ID) != Some(subject.as_str()) {
        return Err(DecodeError::new(D::ID, "is not the subject"));
    }
    sequence(data)
}

fn subject(text: String) -> Result<AggregateId, DecodeError> {
    AggregateId::new(text)
        .map_err(|error: InvalidId| DecodeError::new("subject", error.to_string()))
}

fn time(text: &str) -> Result<Timestamp, DecodeError> {
    Timestamp::parse(text).map_err(|error: InvalidTime| DecodeError::new("time", error.to_string()))
}

fn sequence(data: &Columns<'_>) -> Result<Sequence, DecodeError> {
    data.get(SEQUENCE)
        .and_then(Attribute::as_integer)
        .and_then(|number| u64::try_from(number).ok())
        .and_then(Sequence::new)
        .filter(|sequence| *sequence != Sequence::NONE)
        .ok_or_else(|| DecodeError::new(SEQUENCE, "is not an integer from 1 to 2^53-1"))
}

fn expect(member: &str, found: &str, expected: &str) -> Result<(), DecodeError> {
    if found == expected {
        Ok(())
    } else {
        Err(DecodeError::new(member, format!("is not {expected}")))
    }
}

/// The `source` of all events of a collection.
#[must_use]
pub fn source(collection: &str) -> String {
    format!("{SOURCE_PREFIX}:{collection}")
}

/// The `dataschema` of a version of an event type, which is the `$id` of the schema.
#[must_use]
pub fn schema(event_type: &str, version: &str) -> String {
    format!("{SCHEMA_PREFIX}:{event_type}:{version}")
}

/// The `$id` of the schema of a collection's envelopes.
#[must_use]
pub fn schema_of_envelope(collection: &str) -> String {
    format!("{SOURCE_PREFIX}:envelope:{collection}")
}

/// The type and the version of a public event's serde name. `Shipped` is version 1 of the type `Shipped`, and
/// `Shipped:2` is its version 2.
#[must_use]
pub fn type_and_version(name: &str) -> (&str, &str) {
    name.split_once(VERSION_SEPARATOR)
        .unwrap_or((name, FIRST_VERSION))
}

/// Writes the envelope's own members when the event's type is known, and then the event's fields as
/// further members of `data`.
struct EnvelopeSink<'e, P, T> {
    envelope: &'e Envelope<P, T>,
    id_member: &'static str,
    collection: &'static str,
    json: Vec<u8>,
}

impl<P, T> EnvelopeSink<'_, P, T> {
    /// Writes a member; `None` and `()` are left out.
    fn member<V: Serialize + ?Sized>(&mut self, name: &str, value: &V) -> Result<(), EncodeError> {
        let start = self.json.len();
        self.name(name)?;
        let value_start = self.json.len();
        self.value(value).map_err(|error| error.in_field(name))?;
        if &self.json[value_start..] == b"null" {
            self.json.truncate(start);
        }
        Ok(())
    }

    /// Writes a member whose value is a string of these parts.
    fn string(&mut self, name: &str, parts: &[&str]) -> Result<(), EncodeError> {
        self.name(name)?;
        self.text(parts)
    }

    fn name(&mut self, name: &str) -> Result<(), EncodeError> {
        if self.json.last() != Some(&b'{') {
            self.json.push(b',');
        }
        self.text(&[name])?;
        self.json.push(b':');
        Ok(())
    }

    /// Writes a string of these parts. Nearly all strings contain nothing to escape, and are copied.
    fn text(&mut self, parts: &[&str]) -> Result<(), EncodeError> {
        if !parts.iter().all(|part| is_plain(part)) {
            return self.value(&parts.concat());
        }
        self.json.push(b'"');
        for part in parts {
            self.json.extend_from_slice(part.as_bytes());
        }
        self.json.push(b'"');
        Ok(())
    }

    fn value<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), EncodeError> {
        serde_json::to_writer(&mut self.json, value)
            .map_err(|_| EncodeError::new("has no form in JSON"))
    }
}

/// Whether JSON escapes nothing in a string. All bytes are compared, because a loop that may end early
/// compares one at a time.
fn is_plain(text: &str) -> bool {
    let is_escaped = |byte: u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    !text
        .bytes()
        .fold(false, |found, byte| found | is_escaped(byte))
}

impl<P: Data, T: AsRef<str> + Clone> FieldSink for EnvelopeSink<'_, P, T> {
    fn begin(&mut self, tag: Option<&'static str>) -> Result<(), EncodeError> {
        let (event_type, version) = type_and_version(tag.ok_or(NO_ENUM)?);
        let envelope = self.envelope;
        let subject = envelope.subject.as_str();
        let sequence = envelope.sequence.to_string();
        let schema = [SCHEMA_PREFIX, ":", event_type, ":", version];
        self.string("specversion", &[SPEC_VERSION])?;
        self.string("id", &[subject, ":", &sequence])?;
        self.string("source", &[SOURCE_PREFIX, ":", self.collection])?;
        self.string("type", &[event_type])?;
        self.string("subject", &[subject])?;
        self.member("time", &envelope.time)?;
        self.string("datacontenttype", &[CONTENT_TYPE])?;
        self.string("dataschema", &schema)?;
        if let Some(id) = &envelope.correlation_id {
            self.string("correlationid", &[id.as_ref()])?;
        }
        if let Some(id) = &envelope.causation_id {
            self.string("causationid", &[id.as_ref()])?;
        }
        if let Some(trace_parent) = &envelope.trace_parent {
            self.member(TRACE_PARENT, trace_parent)?;
        }
        self.json.extend_from_slice(b",\"data\":{");
        self.string(self.id_member, &[subject])?;
        self.member(SEQUENCE, &envelope.sequence)
    }

    fn field<V: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
    ) -> Result<(), EncodeError> {
        self.member(name, value)
    }
}
