//! The filter of the translator's event source mapping: the patterns that the CDK constructs deploy, evaluated
//! as [Lambda documents them](https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html).
//!
//! A record passes if any pattern matches. A pattern matches if all of its members match; a member's array
//! matches if any of its conditions matches.

use serde_json::{Map, Value};

/// The filter of an event source mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventFilter {
    patterns: Vec<Value>,
}

impl EventFilter {
    /// The filter that is deployed.
    pub(crate) fn deployed() -> Self {
        Self::new(include_str!("translator-filter.json"))
    }

    fn new(patterns: &str) -> Self {
        Self {
            patterns: serde_json::from_str(patterns).expect("a list of patterns"),
        }
    }

    /// Whether the filter passes a stream record, given as the function receives it.
    ///
    /// # Panics
    /// If the filter has an operator that the simulation doesn't evaluate.
    #[must_use]
    pub(crate) fn passes(&self, record: &Value) -> bool {
        self.patterns
            .iter()
            .any(|pattern| matches(pattern, Some(record)))
    }
}

fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    match pattern {
        Value::Object(members) => {
            members
                .iter()
                .all(|(name, member)| match (name.as_str(), member) {
                    ("$or", Value::Array(patterns)) => {
                        patterns.iter().any(|pattern| matches(pattern, value))
                    }
                    _ => matches(member, value.and_then(|value| value.get(name))),
                })
        }
        Value::Array(conditions) => conditions.iter().any(|condition| holds(condition, value)),
        _ => panic!("{pattern} is not a pattern: values must be in arrays"),
    }
}

/// Whether a condition matches a leaf. An array in the record matches if any of its elements does.
fn holds(condition: &Value, value: Option<&Value>) -> bool {
    if let Some(Value::Array(elements)) = value
        && !elements.is_empty()
    {
        return elements
            .iter()
            .any(|element| holds(condition, Some(element)));
    }
    // Conditions consider leaves only: an object counts as missing.
    let leaf = value.filter(|value| !value.is_object() && !value.is_array());
    match condition {
        Value::Object(operators) => operator_holds(operators, leaf),
        exact => leaf == Some(exact),
    }
}

fn operator_holds(operators: &Map<String, Value>, leaf: Option<&Value>) -> bool {
    let mut operators = operators.iter();
    let (Some((name, operand)), None) = (operators.next(), operators.next()) else {
        panic!("a condition has one operator");
    };
    let text = leaf.and_then(Value::as_str);
    match (name.as_str(), operand) {
        ("exists", Value::Bool(exists)) => leaf.is_some() == *exists,
        ("prefix", Value::String(prefix)) => text.is_some_and(|text| text.starts_with(prefix)),
        // `anything-but` needs a value to compare: a missing one doesn't match.
        ("anything-but", Value::Array(unwanted)) => leaf.is_some_and(|it| !unwanted.contains(it)),
        ("anything-but", unwanted @ Value::String(_)) => leaf.is_some_and(|it| it != unwanted),
        _ => panic!("the simulation doesn't evaluate {name} with {operand}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_operator_matches_as_lambda_documents() {
        let record = json!({ "a": "one", "b": { "c": 2 }, "d": ["x", "y"], "e": null });
        for (pattern, expected) in [
            (json!({ "a": ["two", "one"] }), true),
            (json!({ "a": ["two"] }), false),
            (json!({ "b": { "c": [2] } }), true),
            (json!({ "b": { "c": ["2"] } }), false),
            (json!({ "a": ["one"], "b": { "c": [3] } }), false),
            (json!({ "e": [null] }), true),
            (json!({ "a": [{ "prefix": "on" }] }), true),
            (json!({ "a": [{ "prefix": "ne" }] }), false),
            (json!({ "z": [{ "prefix": "" }] }), false),
            (json!({ "a": [{ "anything-but": ["two"] }] }), true),
            (json!({ "a": [{ "anything-but": ["two", "one"] }] }), false),
            (json!({ "a": [{ "anything-but": "one" }] }), false),
            (json!({ "z": [{ "anything-but": ["one"] }] }), false),
            (json!({ "a": [{ "exists": true }] }), true),
            (json!({ "a": [{ "exists": false }] }), false),
            (json!({ "z": [{ "exists": false }] }), true),
            // `exists` considers leaves only: an object counts as missing.
            (json!({ "b": [{ "exists": true }] }), false),
            (json!({ "b": [{ "exists": false }] }), true),
            // An array matches by any of its elements.
            (json!({ "d": ["y"] }), true),
            (json!({ "d": ["z"] }), false),
            (
                json!({ "$or": [{ "a": ["two"] }, { "b": { "c": [2] } }] }),
                true,
            ),
            (
                json!({ "$or": [{ "a": ["two"] }, { "z": ["one"] }] }),
                false,
            ),
        ] {
            assert_eq!(matches(&pattern, Some(&record)), expected, "{pattern}");
        }
    }

    #[test]
    #[should_panic(expected = "the simulation doesn't evaluate numeric")]
    fn an_unknown_operator_panics() {
        matches(
            &json!({ "a": [{ "numeric": [">", 1] }] }),
            Some(&json!({ "a": 2 })),
        );
    }

    fn inserted(image: &Value) -> Value {
        json!({ "eventName": "INSERT", "dynamodb": { "NewImage": image } })
    }

    #[test]
    fn the_deployed_patterns_pass_every_insert_that_may_be_an_event() {
        let deployed = EventFilter::deployed();
        for (image, expected) in [
            (json!({ "Type": { "S": "Stocked" } }), true),
            (json!({ "Type": { "S": "" } }), true),
            (json!({ "Type": { "N": "3" } }), true),
            (json!({ "Type": { "S": "SNAPSHOTS" } }), true),
            (json!({ "Id": { "S": "a" } }), true),
            (json!({ "Type": { "S": "SNAPSHOT" } }), false),
            (json!({ "Type": { "S": "SETTINGS" } }), false),
        ] {
            assert_eq!(deployed.passes(&inserted(&image)), expected, "{image}");
        }
        for name in ["MODIFY", "REMOVE"] {
            let mut record = inserted(&json!({ "Type": { "S": "Stocked" } }));
            record["eventName"] = json!(name);
            assert!(!deployed.passes(&record), "{name}");
        }
    }
}
