//! What the Rust code and another file of the repository both state is the same in both.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use millrace_simulation::event_filter::EventFilter;
use millrace_simulation::sabotage::SABOTAGES;
use millrace_simulation::scenario::Scenario as _;
use millrace_tests::scenario::AccountScenario;
use serde_json::{Value, json};

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).expect(path)
}

#[test]
fn the_documented_breaks_are_those_of_the_simulation() {
    let text = file("docs/testing.md");
    let (_, section) = text.split_once("### Deliberate breaks").expect("a section");
    let section = section.split("\n#").next().unwrap_or_default();
    let documented: BTreeMap<String, String> = section
        .lines()
        .filter_map(|line| line.strip_suffix(" |")?.rsplit_once("`) | "))
        .filter_map(|(cell, properties)| Some((cell.rsplit_once('`')?.1, properties)))
        .map(|(name, properties)| (name.to_owned(), properties.to_owned()))
        .collect();
    let made: BTreeMap<String, String> = SABOTAGES
        .iter()
        .map(|(sabotage, properties)| (format!("{sabotage:?}"), properties.join(", ")))
        .collect();
    assert_eq!(documented, made);
}

fn inserted(image: &Value) -> Value {
    json!({ "eventName": "INSERT", "dynamodb": { "NewImage": image } })
}

#[test]
fn the_deployed_patterns_pass_every_insert_that_may_be_an_event() {
    let deployed: EventFilter = AccountScenario.event_filter();
    for (image, expected) in [
        (json!({ "Type": { "S": "AccountCreated" } }), true),
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
        let mut record = inserted(&json!({ "Type": { "S": "AccountCreated" } }));
        record["eventName"] = json!(name);
        assert!(!deployed.passes(&record), "{name}");
    }
}
