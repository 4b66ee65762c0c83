//! The public events: the schema of each version's data, and of the envelope.

use std::collections::BTreeMap;

use millrace_core::envelope;
use millrace_core::ids::MAX_ID_CHARS;
use millrace_core::layout::MAX_POSITION;
use millrace_core::{AggregateId, Envelope, Sequence, Timestamp, TraceParent};
use serde_json::{Map, Value, json};

use crate::schema::{self, Object, Use};
use crate::{Contract, ContractError};

/// The dialect of the schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A time as published: RFC 3339 in UTC with three decimals.
const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";

/// The aggregate, the sequence and the time of the examples.
const EXAMPLE: (&str, u64, &str) = (
    "0e5bab83-270a-48ba-8eb6-bca6046a03cb",
    7,
    "2026-11-20T21:03:05.123Z",
);

/// The span of the examples, which is that of
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers).
const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One version of an event type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventVersion {
    /// The envelope's `type`.
    pub(crate) event_type: String,
    /// The version of its data.
    pub(crate) version: String,
    /// The members of its data.
    pub(crate) data: Object,
    /// The schema of its data, without references.
    pub(crate) data_schema: Value,
    /// An example of its envelope.
    pub(crate) example: Map<String, Value>,
}

impl EventVersion {
    /// The name of its file, and of its schema in documents.
    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.event_type, self.version)
    }

    /// The envelope's `dataschema`, which is the `$id` of the data's schema.
    pub(crate) fn id(&self) -> String {
        envelope::schema(&self.event_type, &self.version)
    }
}

/// The versions of all event types, in the order of the domain's variants.
pub(crate) fn of<D: Contract>() -> Result<Vec<EventVersion>, ContractError> {
    let mut examples = BTreeMap::new();
    for event in D::examples() {
        let example = example::<D>(event)?;
        let member = |name: &str| example.get(name).and_then(Value::as_str).map(str::to_owned);
        examples.insert(member("dataschema").unwrap_or_default(), example);
    }
    let mut generator = schema::generator(Use::Sent, false);
    schema::variants::<D::PublicEvent>(&mut generator)?
        .into_iter()
        .map(|variant| {
            let (event_type, version) = envelope::type_and_version(&variant.name);
            let id = envelope::schema(event_type, version);
            let example = examples
                .get(&id)
                .ok_or_else(|| ContractError::NoExample(id.clone()))?;
            let data = data::<D>(variant.clone());
            let mut data_schema = data.schema();
            data_schema["$id"] = json!(id);
            data_schema["$schema"] = json!(DIALECT);
            data_schema["title"] = json!(event_type);
            Ok(EventVersion {
                event_type: event_type.to_owned(),
                version: version.to_owned(),
                data,
                data_schema,
                example: example.clone(),
            })
        })
        .collect()
}

/// The members of an event's data: core's, and the domain's.
pub(crate) fn data<D: Contract>(variant: Object) -> Object {
    let mut data = variant.without_null();
    // Members that a consumer doesn't know are ignored, so that later ones don't break it.
    data.is_closed = false;
    let id = json!({
        "type": "string",
        "description": "The aggregate's id, the same as the envelope's `subject`. It is opaque: don't parse it.",
        "minLength": 1,
        "maxLength": MAX_ID_CHARS,
    });
    data.with(D::ID, id).with(envelope::SEQUENCE, sequence())
}

/// The schema of an event's sequence.
pub(crate) fn sequence() -> Value {
    json!({
        "type": "integer",
        "description": "The number of the event in its aggregate's history: 1, 2, 3, … without a gap.",
        "minimum": 1,
        "maximum": MAX_POSITION,
    })
}

/// The schema of a time.
pub(crate) fn time(description: &str) -> Value {
    json!({
        "type": "string",
        "format": "date-time",
        "pattern": TIME,
        "description": description,
    })
}

/// The schema of the envelope.
pub(crate) fn envelope<D: Contract>(events: &[EventVersion]) -> Value {
    let mut schema = envelope_members::<D>(events).schema();
    schema["$schema"] = json!(DIALECT);
    schema["$id"] = json!(envelope::schema_of_envelope(D::COLLECTION));
    schema["title"] = json!("Domain event");
    schema
}

/// The members of the envelope.
pub(crate) fn envelope_members<D: Contract>(events: &[EventVersion]) -> Object {
    let mut types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
    types.sort_unstable();
    types.dedup();
    let ids: Vec<String> = events.iter().map(EventVersion::id).collect();
    let text = |description: &str| json!({ "type": "string", "description": description });
    let constant = |value: &str, description: &str| json!({ "type": "string", "const": value, "description": description });
    let one_of = |values: Value, description: &str| json!({ "type": "string", "enum": values, "description": description });
    let object = Object::new(
        "Envelope",
        Some(
            "A domain event: one CloudEvents 1.0 object in structured mode. Ignore members that you don't know.",
        ),
    );
    object
        .with("specversion", constant("1.0", "The version of CloudEvents."))
        .with(
            "id",
            text("`<subject>:<data.sequence>`: unique to the event, and the same in every duplicate."),
        )
        .with(
            "source",
            constant(
                &envelope::source(D::COLLECTION),
                "The same for all events of the domain.",
            ),
        )
        .with("type", one_of(json!(types), "What happened."))
        .with(
            "subject",
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_ID_CHARS,
                "description": "The aggregate's id, which is also the partition key. It is opaque: don't parse it.",
            }),
        )
        .with("time", time("When it happened: RFC 3339 in UTC, with milliseconds."))
        .with(
            "datacontenttype",
            constant("application/json", "The format of `data`."),
        )
        .with(
            "dataschema",
            one_of(
                json!(ids),
                "The `$id` of the schema of `data`. It ends with the version of the type.",
            ),
        )
        .with_optional(
            "correlationid",
            text(
                "The id that all events of one business transaction share. Absent in events of rows that an \
                 older writer stored without it.",
            ),
        )
        .with_optional(
            "causationid",
            text(
                "The id of the command or event that caused the event. Absent in events of rows that an older \
                 writer stored without it.",
            ),
        )
        .with_optional(
            "traceparent",
            json!({
                "type": "string",
                "description": "The writer's span for the command, as in W3C Trace Context: CloudEvents' \
                                distributed tracing extension. Absent in events of rows that were stored without \
                                it.",
                "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$",
            }),
        )
        .with(
            "data",
            json!({
                "type": "object",
                "description": "The event's data, which `dataschema` describes.",
            }),
        )
}

/// An example of an event's envelope.
fn example<D: Contract>(event: D::PublicEvent) -> Result<Map<String, Value>, ContractError> {
    let failed = |error: &dyn std::fmt::Display| ContractError::Example(error.to_string());
    let (id, sequence, time) = EXAMPLE;
    let mut envelope = Envelope {
        subject: AggregateId::new(id).map_err(|error| failed(&error))?,
        sequence: Sequence::new(sequence).unwrap_or(Sequence::FIRST),
        time: Timestamp::parse(time).map_err(|error| failed(&error))?,
        correlation_id: Some("3a1f9c52-6f0e-4d0f-8f0e-6f4b7d9a2c11".to_owned()),
        causation_id: Some("c2b7a7de-53a8-4f0a-9b1d-1de0a4f3b7e5".to_owned()),
        trace_parent: TraceParent::parse(TRACE_PARENT).ok(),
        event,
    };
    let mut members = encoded::<D>(&envelope)?;
    if members.get("type").and_then(Value::as_str) == Some(D::BEGINS_PUBLIC) {
        envelope.sequence = Sequence::FIRST;
        members = encoded::<D>(&envelope)?;
    }
    Ok(members)
}

fn encoded<D: Contract>(
    envelope: &Envelope<D::PublicEvent>,
) -> Result<Map<String, Value>, ContractError> {
    let bytes = envelope.to_bytes::<D>();
    let bytes = bytes.map_err(|error| ContractError::Example(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| ContractError::Example(error.to_string()))
}
