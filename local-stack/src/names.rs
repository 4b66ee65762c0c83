//! The names that the CDK constructs and the Rust code share: `infra/lib/names.json`, to which the file of
//! the same name in this folder is a link.

use std::collections::BTreeMap;

use serde::Deserialize;

const NAMES: &str = include_str!("names.json");

/// The file's content: each name with its description.
#[derive(Deserialize)]
struct Names {
    #[cfg(test)]
    outputs: BTreeMap<String, String>,
    functions: BTreeMap<String, String>,
}

fn read() -> Names {
    serde_json::from_str(NAMES).expect("names.json contains names and descriptions")
}

/// The names of the functions, which are also the names of their binaries.
#[must_use]
pub fn functions() -> Vec<String> {
    read().functions.into_keys().collect()
}

/// The names of the stack's outputs, without the outputs that the domain adds.
#[cfg(test)]
pub(crate) fn outputs() -> Vec<String> {
    read().outputs.into_keys().collect()
}
