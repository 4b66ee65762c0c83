//! What the Rust code and another file of the repository both state is the same in both.

use millrace_simulation::event_filter::EventFilter;
use millrace_simulation::scenario::Scenario as _;
use millrace_tests::scenario::AccountScenario;
use serde_json::{Value, json};

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
