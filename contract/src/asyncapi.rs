//! The AsyncAPI document of the domain stream.

use serde_json::{Map, Value, json};

use crate::events::{self, EventVersion};
use crate::schema::{self, Use};
use crate::{Contract, ContractError};

const CHANNEL: &str = "domainEvents";

/// The name of the envelope's schema.
const ENVELOPE: &str = "Envelope";

/// The document.
pub(crate) fn document<D: Contract>(events: &[EventVersion]) -> Result<Value, ContractError> {
    let mut generator = schema::generator(Use::Sent, true);
    let variants = schema::variants::<D::PublicEvent>(&mut generator)?;
    let mut schemas = Map::new();
    schema::add_definitions(&mut schemas, &mut generator)?;
    schema::add(
        &mut schemas,
        ENVELOPE.to_owned(),
        events::envelope_members::<D>(events).schema(),
    )?;
    let mut messages = Map::new();
    let mut names = Map::new();
    for (event, variant) in events.iter().zip(variants) {
        let name = event.file();
        let data = events::data::<D>(variant);
        schema::add(&mut schemas, name.clone(), data.schema())?;
        names.insert(
            name.clone(),
            json!({ "$ref": format!("#/components/messages/{name}") }),
        );
        messages.insert(name, message(event));
    }
    let references: Vec<Value> = events
        .iter()
        .map(EventVersion::file)
        .map(|name| json!({ "$ref": format!("#/channels/{CHANNEL}/messages/{name}") }))
        .collect();
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": format!("{}: domain events", D::TITLE),
            "version": D::VERSION,
            "description": "Every change of an aggregate is one event on a Kinesis stream. Events of one aggregate \
                            arrive in the order of `data.sequence`. An event may arrive more than once; its \
                            duplicates have the same bytes.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            CHANNEL: {
                "address": "{stream}",
                "description": "A Kinesis data stream. The partition key of a record is the event's `subject`.",
                "parameters": {
                    "stream": { "description": "The stream's name: the output `StreamName` of the deployment." },
                },
                "messages": names,
            },
        },
        "operations": {
            "publishDomainEvents": {
                "action": "send",
                "channel": { "$ref": format!("#/channels/{CHANNEL}") },
                "summary": "Millrace publishes the events; subscribers receive them.",
                "messages": references,
            },
        },
        "components": { "messages": messages, "schemas": schemas },
    }))
}

fn message(event: &EventVersion) -> Value {
    let name = event.file();
    let mut message = json!({
        "name": event.event_type,
        "title": format!("{}, version {}", event.event_type, event.version),
        "contentType": "application/cloudevents+json",
        "correlationId": { "location": "$message.payload#/correlationid" },
        "payload": {
            "allOf": [
                schema::reference(ENVELOPE),
                {
                    "type": "object",
                    "properties": {
                        "type": { "const": event.event_type },
                        "dataschema": { "const": event.id() },
                        "data": schema::reference(&name),
                    },
                },
            ],
        },
        "examples": [{ "name": "example", "payload": event.example }],
    });
    if let Some(summary) = &event.data.description {
        message["summary"] = json!(summary);
    }
    message
}
