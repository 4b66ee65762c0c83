//! The golden corpus: stored rows, and the exact bytes of their public events.
//!
//! A case is a folder below `tests/corpus`: `rows.json` contains an aggregate's rows, oldest first, in
//! DynamoDB's JSON; `events.jsonl` contains its public events, one per line. An event's published bytes
//! never change. Add cases, but don't change any.

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
/// If a case can't be read.
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
/// If the case can't be read.
pub fn named(name: &str) -> Result<Case> {
    case(&folder().join(name))
}

/// The items of one kind that previous versions have stored (`tests/stored/items.json`).
///
/// # Errors
/// If the file can't be read, or has no items of this kind.
pub fn stored(kind: &str) -> Result<Vec<Attributes>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("stored/items.json");
    let all: Value = serde_json::from_slice(&fs::read(path)?)?;
    let items = all[kind].as_array().with_context(|| format!("no {kind}"))?;
    items.iter().map(item).collect()
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
        .with_context(|| format!("{} contains no rows", folder.display()))?;
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
fn item(stored: &Value) -> Result<Attributes> {
    let attributes = stored.as_object().context("an item is an object")?;
    attributes
        .iter()
        .map(|(name, value)| {
            let attribute = match (&value["S"], &value["N"], &value["M"]) {
                (Value::String(text), Value::Null, Value::Null) => Attribute::Text(text.clone()),
                (Value::Null, Value::String(number), Value::Null) => {
                    Attribute::Number(number.clone())
                }
                (Value::Null, Value::Null, map @ Value::Object(_)) => Attribute::Map(item(map)?),
                _ => bail!("{name} is neither S nor N nor M"),
            };
            Ok((name.clone(), attribute))
        })
        .collect()
}
