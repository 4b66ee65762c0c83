//! The description of orders in the CDK app agrees with the Rust domain.

use std::fs;
use std::path::Path;

use millrace_contract::documents;
use millrace_core::{Domain, Project};
use orders_domain::{Command, Orders};

/// The serde names of the commands, from the error for an unknown variant.
fn commands() -> Vec<String> {
    let none: Result<Command, _> = serde_json::from_str("\"\"");
    let error = none.expect_err("no command has this name").to_string();
    let (_, names) = error.split_once("expected").expect("the names");
    let names = names.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn the_cdk_app_describes_the_domain_of_orders() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/domain/orders.ts");
    let text = fs::read_to_string(path).expect("orders.ts");
    let (_, description) = text.split_once("Domain = {\n").expect("the description");
    let others: Vec<String> = commands()
        .into_iter()
        .filter(|name| name != Orders::OPENS)
        .map(|name| format!("'{name}'"))
        .collect();
    assert_eq!(others.len() + 1, commands().len());
    let expected = format!(
        "  collection: '{}',
  aggregate: 'order',
  id: '{}',
  opens: '{}',
  commands: [{}],
  history: '{}',
  lake: LAKE,
  queries: QUERIES,
  environment: {{}},
  outputs: {{}},
}};
",
        Orders::COLLECTION,
        Orders::ID,
        Orders::OPENS,
        others.join(", "),
        Orders::HISTORY,
    );
    assert_eq!(description, expected);
    assert_eq!(Orders::VIEW_AT, None);
    assert_eq!(Orders.settings(), []);
}

#[test]
fn the_documents_of_the_contract_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (path, text) in documents::<Orders>().expect("the contract") {
        let checked_in = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(
            checked_in == text,
            "{path} differs from the code: run `cargo run -- contract`"
        );
    }
}
