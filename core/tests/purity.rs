//! Core stays pure and knows no domain.

use std::fs;
use std::path::Path;

/// What core may depend on: data and its formats.
const DEPENDENCIES: [&str; 5] = [
    "percent-encoding",
    "serde",
    "serde_json",
    "thiserror",
    "time",
];

/// What reaches beyond arguments.
const IMPURE: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "now_utc",
    "RandomState",
];

/// Words of the domain that Millrace ships with.
const WORDS: [&str; 5] = ["account", "balance", "currenc", "withdraw", "credit"];

/// The text of each source file, by its name.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else {
            let text = fs::read_to_string(&path).expect("a text");
            sources.push((path.display().to_string(), text));
        }
    }
    sources
}

fn all_sources() -> Vec<(String, String)> {
    let all = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(all.len() > 20, "the sources are found");
    all
}

#[test]
fn core_depends_on_data_formats_alone() {
    let manifest = include_str!("../Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]\n").expect("a section");
    let names: Vec<&str> = dependencies
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split(['.', ' ']).next())
        .collect();
    assert_eq!(names, DEPENDENCIES);
}

#[test]
fn core_has_no_clock_no_randomness_and_no_environment() {
    for (name, text) in all_sources() {
        for impure in IMPURE {
            assert!(!text.contains(impure), "{name}: {impure}");
        }
    }
}

#[test]
fn core_knows_no_domain() {
    for (name, text) in all_sources() {
        let text = text.to_lowercase();
        for word in WORDS {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
}
