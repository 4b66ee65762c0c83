//! The golden corpus: stored rows, and the exact bytes that they are published as.
//!
//! A case is a folder below `tests/corpus`: `rows.json` holds an aggregate's rows, oldest first, as
//! DynamoDB writes them in JSON; `events.jsonl` holds its domain events, one per line. What was
//! published once is published so for ever: cases are added, and none is ever changed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use millrace_core::{Attribute, Attributes};
use serde_json::Value;

/// One aggregate's rows and events.
#[derive(Debug, Clone)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// Its rows, oldest first.
    pub rows: Vec<Attributes>,
    /// Its events' bytes, oldest first.
    pub events: Vec<String>,
}

/// All cases.
///
/// # Errors
/// When one can't be read.
pub fn read() -> Result<Vec<Case>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.sort();
    folders.iter().map(|folder| case(folder)).collect()
}

/// One case, by its name.
///
/// # Errors
/// When it can't be read.
pub fn named(name: &str) -> Result<Case> {
    case(&folder().join(name))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn case(folder: &Path) -> Result<Case> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let rows: Vec<Value> = serde_json::from_str(&read("rows.json")?)
        .with_context(|| format!("{} holds no rows", folder.display()))?;
    Ok(Case {
        name: folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        rows: rows.iter().map(item).collect::<Result<_>>()?,
        events: read("events.jsonl")?.lines().map(str::to_owned).collect(),
    })
}

/// Reads an item in DynamoDB's JSON.
fn item(item: &Value) -> Result<Attributes> {
    let attributes = item.as_object().context("an item is an object")?;
    attributes
        .iter()
        .map(|(name, value)| {
            let attribute = match (value["S"].as_str(), value["N"].as_str()) {
                (Some(text), None) => Attribute::Text(text.to_owned()),
                (None, Some(number)) => Attribute::Number(number.to_owned()),
                _ => bail!("{name} is neither S nor N"),
            };
            Ok((name.clone(), attribute))
        })
        .collect()
}
