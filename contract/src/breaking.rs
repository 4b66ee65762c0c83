//! Changes that would break a consumer or a client of the published contract.
//!
//! What is published is frozen: a copy of each schema, of the HTTP API and of the lake's columns. Only these changes
//! are safe: texts, new optional members, narrower ranges of what Millrace sends, wider ranges and more values of what
//! it receives, new event types and versions, new paths, and new columns. Every other change of an event needs a new
//! version of its type, whose schema has a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::schema::values;
use crate::{Documents, FOLDER};

/// The folder of the frozen copies, which only an explicit command extends.
pub const PUBLISHED: &str = "contracts/published";

/// A change that breaks a consumer or a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaking {
    /// The document's path.
    pub document: String,
    /// The place in the document, such as `amount` or `POST /shelves: body.articles`.
    pub place: String,
    /// What is wrong with the change.
    pub problem: String,
}

impl fmt::Display for Breaking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            document,
            place,
            problem,
        } = self;
        if place.is_empty() {
            write!(formatter, "{document}: {problem}")
        } else {
            write!(formatter, "{document}: {place} {problem}")
        }
    }
}

/// The path of a document's frozen copy; `None` for a document that isn't frozen.
#[must_use]
pub fn frozen_path(document: &str) -> Option<String> {
    let name = document.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let is_frozen = name.starts_with("schemas/") || matches!(name, "openapi.json" | "lake.json");
    is_frozen.then(|| format!("{PUBLISHED}/{name}"))
}

/// The frozen copies of a contract that is published now.
#[must_use]
pub fn published(documents: &Documents) -> Documents {
    let frozen = documents
        .iter()
        .filter_map(|(path, text)| Some((frozen_path(path)?, text.clone())));
    frozen.collect()
}

/// The changes from the frozen copies to the documents that would break someone. Both maps have the contents of
/// the files by their paths.
#[must_use]
pub fn breaking_changes(frozen: &Documents, documents: &Documents) -> Vec<Breaking> {
    let mut found = Vec::new();
    for (copy, before) in frozen {
        let Some(name) = copy.strip_prefix(PUBLISHED) else {
            continue;
        };
        let document = format!("{FOLDER}{name}");
        let mut comparison = Comparison {
            document: &document,
            found: &mut found,
        };
        let Some(after) = documents.get(&document) else {
            comparison.report("", "is published, and was removed");
            continue;
        };
        let (Ok(before), Ok(after)) = (serde_json::from_str(before), serde_json::from_str(after))
        else {
            comparison.report("", "is no JSON, or its frozen copy is none");
            continue;
        };
        match name {
            "/openapi.json" => comparison.api(&before, &after),
            "/lake.json" => comparison.lake(&before, &after),
            "/schemas/envelope.json" => {
                // New event types and versions are how the contract grows.
                comparison.schema(
                    "",
                    Rule::Published { is_open: true },
                    (&before, &before),
                    (&after, &after),
                );
            }
            _ => {
                let rule = Rule::Published { is_open: false };
                comparison.schema("", rule, (&before, &before), (&after, &after));
            }
        }
    }
    found
}

/// Whom a change of a schema may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Those who read events, also those that were published before the change. If it is open, a string may get
    /// new values.
    Published { is_open: bool },
    /// Those who read responses, which are all made after the change.
    Sent,
    /// Those who send what Millrace receives.
    Received,
}

/// Keywords of a schema that no program depends on. Other names are for people, too: those that begin with `x-`.
const TEXTS: [&str; 6] = [
    "$id",
    "$schema",
    "default",
    "description",
    "examples",
    "title",
];

/// Keywords that have a comparison of their own. Those of [`LIMITS`] have one too.
const COMPARED: [&str; 6] = ["const", "enum", "items", "oneOf", "properties", "required"];

/// Keywords that limit a value, and whether each is the least that is permitted.
const LIMITS: [(&str, bool); 6] = [
    ("minimum", true),
    ("minLength", true),
    ("minItems", true),
    ("maximum", false),
    ("maxLength", false),
    ("maxItems", false),
];

/// A schema within its document, which has what references name.
type Within<'a> = (&'a Value, &'a Value);

struct Comparison<'a> {
    document: &'a str,
    found: &'a mut Vec<Breaking>,
}

impl Comparison<'_> {
    fn report(&mut self, place: &str, problem: impl Into<String>) {
        self.found.push(Breaking {
            document: self.document.to_owned(),
            place: place.to_owned(),
            problem: problem.into(),
        });
    }

    fn schema(&mut self, place: &str, rule: Rule, before: Within<'_>, after: Within<'_>) {
        let (before, after) = (resolved(before), resolved(after));
        let (was, is) = (before.1, after.1);
        for name in keywords(was, is) {
            if was.get(name) != is.get(name) {
                self.report(place, format!("has another `{name}`"));
            }
        }
        if values(was).is_none() && was.get("oneOf") != is.get("oneOf") {
            self.report(place, "has another `oneOf`");
        }
        self.values(place, rule, was, is);
        self.limits(place, rule, was, is);
        self.members(place, rule, before, after);
        match (was.get("items"), is.get("items")) {
            (Some(was), Some(is)) => {
                let place = format!("{place}[]");
                self.schema(&place, rule, (before.0, was), (after.0, is));
            }
            (None, None) => {}
            (_, _) => self.report(place, "has other elements: `items` was added or removed"),
        }
    }

    /// Compares the values that a schema permits.
    fn values(&mut self, place: &str, rule: Rule, was: &Value, is: &Value) {
        let (was, is) = (values(was), values(is));
        let (Some(was), Some(is)) = (&was, &is) else {
            if was.is_some() != is.is_some() {
                self.report(
                    place,
                    "has other values: a list of values was added or removed",
                );
            }
            return;
        };
        for value in was.iter().filter(|value| !is.contains(value)) {
            self.report(place, format!("has no longer the value {value}"));
        }
        if matches!(rule, Rule::Sent | Rule::Published { is_open: false }) {
            for value in is.iter().filter(|value| !was.contains(value)) {
                self.report(place, format!("has the new value {value}"));
            }
        }
    }

    fn limits(&mut self, place: &str, rule: Rule, was: &Value, is: &Value) {
        for (name, is_least) in LIMITS {
            let limit = |schema: &Value| schema.get(name).and_then(Value::as_f64);
            let unlimited = if is_least { f64::MIN } else { f64::MAX };
            let (was, is) = (
                limit(was).unwrap_or(unlimited),
                limit(is).unwrap_or(unlimited),
            );
            let is_wider = if is_least { is < was } else { is > was };
            let is_narrower = if is_least { is > was } else { is < was };
            match rule {
                Rule::Sent | Rule::Published { .. } if is_wider => {
                    self.report(place, format!("has a wider `{name}`"));
                }
                Rule::Received if is_narrower => {
                    self.report(place, format!("has a narrower `{name}`"));
                }
                Rule::Sent | Rule::Published { .. } | Rule::Received => {}
            }
        }
    }

    fn members(&mut self, place: &str, rule: Rule, before: Within<'_>, after: Within<'_>) {
        let inner = |name: &str| match place {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        };
        let none = Map::new();
        let members = |schema: &Value| schema.get("properties").and_then(Value::as_object).cloned();
        let (was, is) = (members(before.1), members(after.1));
        let (was, is) = (was.as_ref().unwrap_or(&none), is.as_ref().unwrap_or(&none));
        for (name, schema) in was {
            match is.get(name) {
                None => self.report(&inner(name), "was removed"),
                Some(now) => {
                    self.schema(&inner(name), rule, (before.0, schema), (after.0, now));
                }
            }
        }
        let was_required = |name: &&String| required(before.1).contains(&name.as_str());
        let is_required = |name: &&String| required(after.1).contains(&name.as_str());
        for name in was.keys().filter(|name| is.contains_key(*name)) {
            match (was_required(&name), is_required(&name), rule) {
                (true, false, Rule::Sent | Rule::Published { .. }) => {
                    self.report(&inner(name), "is no longer always present");
                }
                (false, true, Rule::Published { .. }) => self.report(
                    &inner(name),
                    "is no longer optional, but published events may lack it",
                ),
                (false, true, Rule::Received) => self.report(&inner(name), "is no longer optional"),
                (_, _, _) => {}
            }
        }
        for name in is.keys().filter(|name| !was.contains_key(*name)) {
            match (is_required(&name), rule) {
                (true, Rule::Published { .. }) => {
                    self.report(
                        &inner(name),
                        "is new and always present, but published events lack it",
                    );
                }
                (true, Rule::Received) => self.report(&inner(name), "is new and required"),
                (true, Rule::Sent) | (false, _) => {}
            }
        }
        let is_closed =
            |schema: &Value| schema.get("additionalProperties") == Some(&Value::Bool(false));
        if is_closed(after.1) && !is_closed(before.1) {
            self.report(place, "no longer permits other members");
        }
    }

    /// Compares the HTTP API: parameters, and bodies of requests and of successful responses. Headers of responses
    /// and problems aren't compared.
    fn api(&mut self, before: &Value, after: &Value) {
        for (path, item) in objects(before, "/paths") {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let pointer = format!(
                    "/paths/{}/{method}",
                    path.replace('~', "~0").replace('/', "~1")
                );
                if method == "parameters" {
                    continue;
                }
                let place = format!("{} {path}:", method.to_uppercase());
                let Some(now) = after.pointer(&pointer) else {
                    self.report(&place, "was removed");
                    continue;
                };
                self.operation(&place, (before, operation), (after, now));
            }
        }
    }

    fn operation(&mut self, place: &str, before: Within<'_>, after: Within<'_>) {
        const BODY: &str = "/requestBody/content/application~1json/schema";
        let ((_, was), (_, is)) = (before, after);
        self.parameters(place, before, after);
        match (was.pointer(BODY), is.pointer(BODY)) {
            (Some(was), Some(is)) => {
                let place = format!("{place} body");
                self.schema(&place, Rule::Received, (before.0, was), (after.0, is));
            }
            (None, None) => {}
            (_, _) => self.report(place, "has a body, or had one"),
        }
        let is_required = |operation: &Value| {
            operation.pointer("/requestBody/required") == Some(&Value::Bool(true))
        };
        if is_required(is) && !is_required(was) {
            self.report(place, "now requires a body");
        }
        for (status, response) in objects(was, "/responses") {
            if !status.starts_with('2') {
                continue;
            }
            let content = "/content/application~1json/schema";
            let now = is.pointer(&format!("/responses/{status}{content}"));
            match (response.pointer(content), now) {
                (Some(was), Some(is)) => {
                    let place = format!("{place} {status}");
                    self.schema(&place, Rule::Sent, (before.0, was), (after.0, is));
                }
                (_, _) => self.report(place, format!("no longer has the response {status}")),
            }
        }
    }

    /// Compares the parameters of an operation.
    fn parameters(&mut self, place: &str, before: Within<'_>, after: Within<'_>) {
        let (was, is) = (parameters(before), parameters(after));
        let is_required = |parameter: &Value| parameter["required"] == true;
        for (name, was) in &was {
            let place = format!("{place} parameter {name}");
            let Some(is) = is.get(name) else {
                self.report(&place, "was removed");
                continue;
            };
            let schemas = ((before.0, &was["schema"]), (after.0, &is["schema"]));
            self.schema(&place, Rule::Received, schemas.0, schemas.1);
            if is_required(is) && !is_required(was) {
                self.report(&place, "is no longer optional");
            }
        }
        for (name, is) in is.iter().filter(|(name, _)| !was.contains_key(*name)) {
            if is_required(is) {
                self.report(&format!("{place} parameter {name}"), "is new and required");
            }
        }
    }

    /// Compares the lists of columns. The fields of a column are compared by themselves, because a new one is no
    /// change for queries: Athena reads fields by their names.
    fn lake(&mut self, before: &Value, after: &Value) {
        for list in ["columns", "data", "partitions"] {
            self.columns(&format!("{list}: "), &before[list], &after[list]);
        }
    }

    fn columns(&mut self, place: &str, before: &Value, after: &Value) {
        for column in before.as_array().into_iter().flatten() {
            let name = column["name"].as_str().unwrap_or_default();
            let place = format!("{place}{name}");
            let now = after.as_array().into_iter().flatten();
            let Some(now) = now.into_iter().find(|now| now["name"] == column["name"]) else {
                self.report(&place, "was removed");
                continue;
            };
            if kind(&column["type"]) != kind(&now["type"]) {
                self.report(&place, "has another type");
            }
            self.columns(&format!("{place}."), &column["fields"], &now["fields"]);
        }
    }
}

/// A type in Hive without its fields: `array<struct` of `array<struct<sku:string>>`.
fn kind(hive: &Value) -> &str {
    let hive = hive.as_str().unwrap_or_default();
    let is_of_list = hive.starts_with("array<");
    let end = hive.match_indices('<').nth(usize::from(is_of_list));
    end.map_or(hive, |(end, _)| &hive[..end])
}

/// The keywords of both schemas that must not change: those that aren't texts, and that no other comparison covers.
fn keywords<'a>(was: &'a Value, is: &'a Value) -> BTreeSet<&'a str> {
    let names = |schema: &'a Value| schema.as_object().into_iter().flat_map(Map::keys);
    let mut names: BTreeSet<&str> = names(was).chain(names(is)).map(String::as_str).collect();
    names.retain(|name| {
        !TEXTS.contains(name)
            && !COMPARED.contains(name)
            && !LIMITS.iter().any(|(limit, _)| limit == name)
            && !name.starts_with("x-")
    });
    names
}

/// The members of the object at this pointer.
fn objects<'a>(
    document: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let object = document.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flatten()
}

/// The parameters of an operation by their names.
fn parameters((document, operation): Within<'_>) -> BTreeMap<&str, &Value> {
    let listed = operation["parameters"].as_array();
    let listed = listed.into_iter().flatten();
    listed
        .filter_map(|parameter| {
            let (_, parameter) = resolved((document, parameter));
            Some((parameter["name"].as_str()?, parameter))
        })
        .collect()
}

/// The schema or the parameter that a reference names.
fn resolved((document, schema): Within<'_>) -> Within<'_> {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    let named = pointer.and_then(|pointer| document.pointer(pointer));
    (document, named.unwrap_or(schema))
}

fn required(schema: &Value) -> Vec<&str> {
    let names = schema.get("required").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The changes of a lake whose column `data` has this list.
    fn changes(lines: &Value) -> Vec<String> {
        let lake =
            |lines: &Value| json!({ "columns": [], "data": [lines], "partitions": [] }).to_string();
        let before = json!({
            "name": "lines", "type": "array<struct<sku:string,quantity:bigint>>",
            "fields": [{ "name": "sku", "type": "string" }, { "name": "quantity", "type": "bigint" }],
        });
        let frozen = Documents::from([(format!("{PUBLISHED}/lake.json"), lake(&before))]);
        let documents = Documents::from([(format!("{FOLDER}/lake.json"), lake(lines))]);
        let found = breaking_changes(&frozen, &documents);
        found
            .iter()
            .map(|Breaking { place, problem, .. }| format!("{place} {problem}"))
            .collect()
    }

    #[test]
    fn the_fields_of_a_list_are_compared_one_by_one() {
        let sku = json!({ "name": "sku", "type": "string" });
        let added = json!({
            "name": "lines", "type": "array<struct<note:string,sku:string,quantity:bigint>>",
            "fields": [
                { "name": "note", "type": "string" }, sku, { "name": "quantity", "type": "bigint" },
            ],
        });
        assert_eq!(changes(&added), [""; 0]);
        let removed =
            json!({ "name": "lines", "type": "array<struct<sku:string>>", "fields": [sku] });
        assert_eq!(changes(&removed), ["data: lines.quantity was removed"]);
        let other = json!({
            "name": "lines", "type": "array<struct<sku:string,quantity:string>>",
            "fields": [sku, { "name": "quantity", "type": "string" }],
        });
        assert_eq!(changes(&other), ["data: lines.quantity has another type"]);
        let object = json!({
            "name": "lines", "type": "struct<sku:string,quantity:bigint>",
            "fields": [sku, { "name": "quantity", "type": "bigint" }],
        });
        assert_eq!(changes(&object), ["data: lines has another type"]);
    }
}
