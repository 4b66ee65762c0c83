//! The page that describes the events, for people.

use std::fmt::Write as _;

use millrace_core::envelope::SEQUENCE;
use serde_json::{Map, Value};

use crate::Contract;
use crate::document::sorted;
use crate::events::{self, EventVersion};
use crate::schema::{self, Object};

/// The page, in Markdown.
pub(crate) fn page<D: Contract>(events: &[EventVersion]) -> String {
    let mut page = String::new();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    line("# Domain events".to_owned());
    line(String::new());
    line(INTRODUCTION.to_owned());
    line("## The envelope".to_owned());
    line(String::new());
    let first = events.first().map(|event| &event.example);
    line(table(
        &events::envelope_members::<D>(events),
        first,
        &ENVELOPE_ORDER,
    ));
    for event in events {
        let EventVersion {
            event_type,
            version,
            data,
            example,
            ..
        } = event;
        line(format!("## {event_type}, version {version}"));
        line(String::new());
        if let Some(description) = &data.description {
            line(format!("{description}\n"));
        }
        line(format!("Schema of `data`: `{}`\n", event.id()));
        let of_data = example.get("data").and_then(Value::as_object);
        line(table(data, of_data, &[D::ID, SEQUENCE]));
        line("```json".to_owned());
        line(shown::<D>(example));
        line("```".to_owned());
        line(String::new());
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

const INTRODUCTION: &str = "\
Each event is one [CloudEvents 1.0](https://cloudevents.io) object in JSON, in structured mode, and one record of the
domain stream. The subcommand `contract` generates this page from the code, together with the schemas in
`contracts/schemas/`.

- Ignore members that you don't know. Later versions of this software may add some.
- Ids are opaque strings. Compare them, and don't parse them.
- A member that is *optional* may be absent. It is never `null`.
- Events of one aggregate have the sequences 1, 2, 3, … An event with a sequence that you have processed is a duplicate.
";

/// The order of the envelope's members on the stream.
const ENVELOPE_ORDER: [&str; 12] = [
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
    "traceparent",
    "data",
];

/// An example in the order of the stream, a member on each line.
fn shown<D: Contract>(example: &Map<String, Value>) -> String {
    let lines: Vec<String> = ordered(example, &ENVELOPE_ORDER)
        .into_iter()
        .map(|(name, value)| match value {
            Value::Object(data) => {
                let data: Vec<String> = ordered(data, &[D::ID, SEQUENCE])
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\": {}", sorted(value)))
                    .collect();
                format!("  \"{name}\": {{ {} }}", data.join(", "))
            }
            value => format!("  \"{name}\": {value}"),
        })
        .collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// The members in this order, and then those that it doesn't name.
fn ordered<'a>(members: &'a Map<String, Value>, order: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let place = |name: &str| order.iter().position(|it| *it == name);
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| (place(name).unwrap_or(order.len()), *name));
    members
}

/// The members of an object, those of `order` first.
fn table(object: &Object, example: Option<&Map<String, Value>>, order: &[&str]) -> String {
    let mut table =
        "| member | type | unit | presence | example | meaning |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (name, schema) in ordered(&object.properties, order) {
        let presence = if object.required.contains(name) {
            "always"
        } else {
            "optional"
        };
        let shown = match example.and_then(|example| example.get(name)) {
            Some(Value::Object(_)) | None => String::new(),
            Some(value) => format!("`{}`", sorted(value)),
        };
        let text = |member: &str| {
            schema
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (unit, meaning) = (text("x-unit"), text("description").replace('\n', " "));
        writeln!(
            table,
            "| `{name}` | {} | {unit} | {presence} | {shown} | {meaning} |",
            type_of(schema)
        )
        .expect("a String accepts every write");
    }
    table
}

/// The type with its limits, such as `integer, 1 to 100`.
fn type_of(schema: &Value) -> String {
    let name = schema.get("type").and_then(Value::as_str);
    let name = name.unwrap_or("string");
    let number = |member: &str| schema.get(member).map(Value::to_string);
    let limits = match (number("minimum"), number("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    let length = match (number("minLength"), number("maxLength")) {
        (Some(least), Some(most)) => format!(", {least} to {most} characters"),
        (_, _) => String::new(),
    };
    let values = schema::values(schema).map_or_else(String::new, |values| {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        format!(": {}", values.join(", "))
    });
    let elements = schema.get("items").map(elements);
    let elements = elements.unwrap_or_default();
    format!("{name}{elements}{limits}{length}{values}")
}

/// The elements of an array: their type, and the members of objects.
fn elements(schema: &Value) -> String {
    let members = schema.get("properties").and_then(Value::as_object);
    let mut members: Vec<String> = members
        .into_iter()
        .flatten()
        .map(|(name, schema)| format!("`{name}`: {}", type_of(schema)))
        .collect();
    members.sort_unstable();
    if members.is_empty() {
        format!(" of {}", type_of(schema))
    } else {
        format!(" of objects ({})", members.join("; "))
    }
}
