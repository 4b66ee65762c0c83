//! Checks that facts which the Rust code and another file of the repository both state agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use millrace_core::{Domain, Project};
use millrace_domain::{Accounts, Command, DEFAULT_CURRENCY};
use millrace_simulation::sabotage::SABOTAGES;

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).expect(path)
}

#[test]
fn the_documentation_lists_the_deliberate_breaks_of_the_simulation() {
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

/// The serde names of the account's commands, from the error for an unknown variant.
fn commands() -> Vec<String> {
    let none: Result<Command, _> = serde_json::from_str("\"\"");
    let error = none.expect_err("no command has this name").to_string();
    let (_, names) = error.split_once("expected").expect("the names");
    names
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_cdk_app_describes_the_domain_of_accounts() {
    let text = file("infra/domain/accounts.ts");
    let (_, description) = text.split_once("  return {\n").expect("the description");
    let (description, _) = description.split_once("    environment:").expect("its end");
    let all = commands();
    let others: Vec<String> = all
        .iter()
        .filter(|name| *name != Accounts::OPENS)
        .map(|name| format!("'{name}'"))
        .collect();
    let expected = format!(
        "    collection: '{}',
    aggregate: 'account',
    id: '{}',
    opens: '{}',
    commands: [{}],
    history: '{}',
    viewAt: '{}',
    lake: LAKE,
    queries: QUERIES,
",
        Accounts::COLLECTION,
        Accounts::ID,
        Accounts::OPENS,
        others.join(", "),
        Accounts::HISTORY,
        Accounts::VIEW_AT.expect("the account has a balance at a time"),
    );
    assert_eq!(description, expected);
    assert_eq!(all.len(), others.len() + 1, "{all:?}");
    let environment = format!("environment: {{ {DEFAULT_CURRENCY}: defaultCurrency }}");
    assert!(text.contains(&environment), "{environment}");
}

/// The sources of the functions that answer HTTP requests, without their tests.
fn http_sources() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
            if path.is_dir() {
                read(&path, text);
            } else if !is_test {
                let code = fs::read_to_string(&path).expect("a source");
                text.push_str(
                    code.split("#[cfg(test)]\nmod tests")
                        .next()
                        .unwrap_or_default(),
                );
            }
        }
    }
    let mut text = String::new();
    for folder in ["writer", "reader", "runtime", "domain"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        read(&root.join(folder).join("src"), &mut text);
    }
    text
}

#[test]
fn the_api_documentation_lists_the_codes_of_all_problems() {
    /// No request leads to it: the writer generates the id of a new account.
    const UNREACHABLE: &str = "account-already-open";
    let is_code = |text: &str| {
        text.contains('-') && text.chars().all(|it| it.is_ascii_lowercase() || it == '-')
    };
    let page = file("docs/api.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.split(" | `").nth(1)?.split('`').next())
        .filter(|code| is_code(code) || ["conflict", "unavailable"].contains(code))
        .collect();
    assert!(documented.len() > 15, "{documented:?}");

    let sources = http_sources();
    let calls = [
        "Problem::new(",
        "Refusal::unknown(",
        "Refusal::rule(",
        "Refusal::conflict(",
    ];
    let calls = calls.iter().flat_map(|call| sources.split(call).skip(1));
    // The code is the first string of the call.
    let returned: BTreeSet<&str> = calls
        .filter_map(|arguments| arguments.split('"').nth(1))
        .filter(|text| is_code(text) && *text != UNREACHABLE)
        .collect();
    let missing: Vec<_> = returned.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/api.md lacks {missing:?}");
    for code in documented {
        let literal = format!("\"{code}\"");
        assert!(sources.contains(&literal), "nothing returns {code}");
    }
}
