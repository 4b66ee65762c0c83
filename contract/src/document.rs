//! The form of the documents.

use serde_json::{Map, Value};

/// The document's text. Members are in alphabetical order, whatever order `serde_json`'s maps keep, so that equal
/// contracts have equal bytes.
pub(crate) fn text(document: &Value) -> String {
    let mut text = format!("{:#}", sorted(document));
    text.push('\n');
    text
}

/// The value with the members of each object in alphabetical order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let members = names
                .into_iter()
                .map(|name| (name.clone(), sorted(&members[name])));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(elements) => elements.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
