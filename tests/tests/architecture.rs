//! Checks the rules of docs/ARCHITECTURE.md that the compiler doesn't check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FUNCTIONS: [&str; 6] = [
    "writer",
    "translator",
    "projector",
    "archiver",
    "reader",
    "reconciler",
];

/// Crates that are generic over the domain. Their tests may use accounts.
const NEUTRAL: [&str; 13] = [
    "core",
    "contract",
    "consumer",
    "runtime",
    "writer",
    "translator",
    "projector",
    "archiver",
    "reader",
    "reconciler",
    "cli",
    "local-stack",
    "simulation",
];

/// For each library, the crates that it depends on, as docs/ARCHITECTURE.md states them.
const ARROWS: [(&str, &[&str]); 14] = [
    ("core", &[]),
    ("contract", &["core"]),
    ("domain", &["contract", "core"]),
    ("consumer", &["core"]),
    ("runtime", &["core"]),
    ("writer", &["core", "runtime"]),
    ("translator", &["core", "runtime"]),
    ("projector", &["consumer", "core", "runtime"]),
    ("archiver", &["consumer", "core", "runtime"]),
    ("reader", &["core", "runtime"]),
    // The reconciler publishes with the translator's code and reads the projector's stale attributes.
    (
        "reconciler",
        &["core", "projector", "runtime", "translator"],
    ),
    ("local-stack", &[]),
    (
        "cli",
        &[
            "archiver",
            "contract",
            "core",
            "local-stack",
            "projector",
            "reconciler",
            "runtime",
            "translator",
        ],
    ),
    (
        "simulation",
        &[
            "archiver",
            "cli",
            "consumer",
            "core",
            "projector",
            "reader",
            "reconciler",
            "runtime",
            "translator",
            "writer",
        ],
    ),
];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace").to_owned()
}

/// Every source file below `folder`: its path relative to `folder`, and its text without its unit tests.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let name = path.strip_prefix(folder).expect("a path below the folder");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                found.push((name.to_string_lossy().into_owned(), code.to_owned()));
            }
        }
    }
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

/// The code without the examples in its doc comments. Examples need a domain.
fn without_examples(code: &str) -> String {
    let mut is_example = false;
    let lines = code.lines().filter(|line| {
        let line = line.trim_start();
        let doc = line.strip_prefix("//!").or(line.strip_prefix("///"));
        if doc.is_some_and(|doc| doc.trim_start().starts_with("```")) {
            is_example = !is_example;
        }
        !(is_example && doc.is_some())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_function_has_the_same_files() {
    for function in FUNCTIONS {
        let source = root().join(function).join("src");
        for file in [
            "lib.rs",
            "config.rs",
            "handler.rs",
            "service.rs",
            "ports.rs",
            "testing.rs",
            "adapters/lambda.rs",
        ] {
            assert!(source.join(file).is_file(), "{function}/src/{file}");
        }
        assert!(!source.join("main.rs").exists(), "{function}");
    }
}

#[test]
fn aws_types_are_in_adapters_and_lambda_types_in_handlers() {
    for function in FUNCTIONS {
        for (file, code) in sources(&root().join(function).join("src")) {
            let is_adapter = file.starts_with("adapters/");
            let is_handler = file == "handler.rs" || file == "adapters/lambda.rs";
            for (package, is_allowed) in [
                ("aws_sdk_", is_adapter),
                ("aws_config", is_adapter),
                ("lambda_runtime", is_handler),
                ("aws_lambda_events", is_handler),
            ] {
                let is_used = code.lines().any(|line| {
                    let line = line.trim_start();
                    !line.starts_with("//") && line.contains(package)
                });
                assert!(is_allowed || !is_used, "{function}/src/{file}: {package}");
            }
        }
    }
}

#[test]
fn only_the_domain_and_its_application_mention_accounts() {
    let words = [
        "accounts",
        "balance",
        "withdraw",
        "millrace_domain",
        "orders_domain",
    ];
    // The previous names of the read models' tables. Deployment files with these names are still read.
    let aliases = [
        "accountsTable",
        "transactionsTable",
        "AccountsTable",
        "TransactionsTable",
    ];
    for folder in NEUTRAL {
        for (file, code) in sources(&root().join(folder).join("src")) {
            // `memory.rs` contains test doubles that a module declares for its own tests.
            if file.ends_with("memory.rs") {
                continue;
            }
            let code = without_examples(&code);
            let code = aliases
                .iter()
                .fold(code, |code, alias| code.replace(alias, ""))
                .to_lowercase();
            for word in words {
                assert!(!code.contains(word), "{folder}/src/{file}: {word}");
            }
        }
    }
}

/// For each crate of the workspace, by its folder, the crates of the workspace that it depends on, according to
/// `cargo metadata`. Dev-dependencies aren't included.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(cargo.status.success(), "{cargo:?}");
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("JSON");
    let folder = |name: &Value| {
        let name = name.as_str().expect("a name");
        name.strip_prefix("millrace-").map(str::to_owned)
    };
    let packages = metadata["packages"].as_array().expect("packages");
    let packages = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let used = dependencies
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| folder(&dependency["name"]))
            .collect();
        (folder(&package["name"]).expect("a crate of Millrace"), used)
    });
    packages.collect()
}

#[test]
fn crates_depend_on_those_that_the_architecture_names() {
    let arrows = arrows();
    for (folder, allowed) in ARROWS {
        let used: Vec<&str> = arrows[folder].iter().map(String::as_str).collect();
        assert_eq!(used, allowed, "{folder}");
    }
    let known: BTreeSet<&str> = ARROWS.iter().map(|(folder, _)| *folder).collect();
    let applications = ["app", "benches", "tests"];
    for folder in arrows.keys() {
        let is_known = known.contains(&**folder) || applications.contains(&&**folder);
        assert!(is_known, "{folder} isn't in the architecture's list");
    }
}

#[test]
fn panics_unwind_in_every_profile() {
    for file in ["Cargo.toml", ".cargo/config.toml"] {
        let text = fs::read_to_string(root().join(file)).expect(file);
        let settings = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let strategies: Vec<&str> = settings.filter(|line| line.contains("panic")).collect();
        assert!(
            strategies
                .iter()
                .all(|line| line.trim_start().starts_with("missing_panics_doc")),
            "{file}: {strategies:?}: only a panic that unwinds is isolated to its aggregate"
        );
    }
}
