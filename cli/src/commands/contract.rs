//! `millrace contract`: writes and checks the documents of the public contract.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use millrace_contract::{Documents, PUBLISHED, breaking_changes, frozen_path, published};
use millrace_local_stack::Workspace;
use serde_json::json;

use crate::application::Application;
use crate::args::Contract;
use crate::operate::verify::NOT_WELL;
use crate::output::Output;

pub(super) fn run<A: Application>(flags: &Contract, output: Output) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    execute::<A>(workspace.root(), flags, output)
}

fn execute<A: Application>(root: &Path, flags: &Contract, output: Output) -> Result<ExitCode> {
    let documents = A::contract()?;
    let documents =
        documents.context("this application describes no contract (Application::contract)")?;
    let mut findings = 0;
    for (path, text) in &documents {
        if read(root, path)?.as_ref() == Some(text) {
            continue;
        }
        if flags.check {
            findings += 1;
            let advice = output.command("contract");
            output.line(
                format_args!("! {path} differs from the code. Write it again: {advice}"),
                &json!({ "document": path, "problem": "stale" }),
            )?;
        } else {
            write(root, path, text)?;
            output.line(
                format_args!("{path} was written"),
                &json!({ "document": path, "written": true }),
            )?;
        }
    }
    let frozen = frozen(root, &documents)?;
    let breaking = breaking_changes(&frozen, &documents);
    for change in &breaking {
        output.line(
            format_args!("! {change}"),
            &json!({ "document": change.document, "place": change.place, "problem": change.problem }),
        )?;
    }
    findings += breaking.len();
    if findings > 0 {
        if !breaking.is_empty() {
            output.next(
                "keep the published version as it is, and add a new version; see docs/evolution.md of Millrace",
            )?;
        }
        return Ok(ExitCode::from(NOT_WELL));
    }
    if flags.publish {
        let copies = published(&documents);
        for (path, text) in &copies {
            write(root, path, text)?;
        }
        output.result(
            format_args!("The contract is frozen: {} documents", copies.len()),
            &json!({ "frozen": copies.len() }),
        )?;
    } else {
        output.result(
            format_args!(
                "{} documents match the code, and no change breaks one of the {} that are published",
                documents.len(),
                frozen.len()
            ),
            &json!({ "documents": documents.len(), "published": frozen.len() }),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The frozen copies that exist, also of documents that the contract no longer has.
fn frozen(root: &Path, documents: &Documents) -> Result<Documents> {
    let mut frozen = Documents::new();
    let current = documents.keys().filter_map(|path| frozen_path(path));
    for path in current.chain(files(root, &format!("{PUBLISHED}/schemas"))?) {
        if let Some(text) = read(root, &path)? {
            frozen.insert(path, text);
        }
    }
    Ok(frozen)
}

/// The paths of a folder's files; none if there is no folder.
fn files(root: &Path, folder: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("could not read {folder}")),
    };
    entries
        .map(|entry| {
            let entry = entry.with_context(|| format!("could not read {folder}"))?;
            Ok(format!("{folder}/{}", entry.file_name().display()))
        })
        .collect()
}

/// A file's text; `None` if there is no file.
fn read(root: &Path, path: &str) -> Result<Option<String>> {
    match fs::read_to_string(root.join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {path}")),
    }
}

fn write(root: &Path, path: &str, text: &str) -> Result<()> {
    let file = root.join(path);
    let writing = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, text)
    };
    writing().with_context(|| format!("could not write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::TestApp;
    use crate::output::Format;

    const WRITE: Contract = Contract {
        check: false,
        publish: false,
    };
    const CHECK: Contract = Contract {
        check: true,
        publish: false,
    };
    const PUBLISH: Contract = Contract {
        check: false,
        publish: true,
    };

    fn execute(root: &Path, flags: &Contract) -> ExitCode {
        super::execute::<TestApp>(root, flags, Output::of(Format::Json)).expect("executed")
    }

    fn change(root: &Path, path: &str, from: &str, to: &str) {
        let text = read(root, path).expect("readable").expect("a file");
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{path} contains {from}");
        write(root, path, &changed).expect("written");
    }

    #[test]
    fn a_document_that_differs_from_the_code_is_found_and_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(execute(root, &CHECK), ExitCode::from(NOT_WELL));
        assert_eq!(execute(root, &WRITE), ExitCode::SUCCESS);
        assert_eq!(execute(root, &CHECK), ExitCode::SUCCESS);
        change(root, "contracts/openapi.json", "minSequence", "sequence");
        assert_eq!(execute(root, &CHECK), ExitCode::from(NOT_WELL));
        assert_eq!(execute(root, &WRITE), ExitCode::SUCCESS);
        assert_eq!(execute(root, &CHECK), ExitCode::SUCCESS);
    }

    #[test]
    fn a_change_that_breaks_a_frozen_copy_is_found_and_not_frozen() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(execute(root, &PUBLISH), ExitCode::SUCCESS);
        assert_eq!(execute(root, &PUBLISH), ExitCode::SUCCESS);
        // As if the type had been an integer when it was published.
        let copy = "contracts/published/schemas/BalanceCredited.1.json";
        change(root, copy, r#""type": "string""#, r#""type": "integer""#);
        let before = read(root, copy).expect("readable");
        for flags in [&WRITE, &CHECK, &PUBLISH] {
            assert_eq!(execute(root, flags), ExitCode::from(NOT_WELL));
        }
        assert_eq!(read(root, copy).expect("readable"), before);
    }

    #[test]
    fn a_published_event_version_that_the_code_no_longer_has_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        assert_eq!(execute(root, &PUBLISH), ExitCode::SUCCESS);
        write(root, "contracts/published/schemas/Gone.1.json", "{}").expect("written");
        assert_eq!(execute(root, &CHECK), ExitCode::from(NOT_WELL));
    }
}
