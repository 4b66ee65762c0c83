//! The named queries are SQL that Athena executes, as far as a parser of its dialect (`sqlglot`) knows. That they
//! return the right rows is tested on the local stack (`app/tests/operating/queries.rs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::python::{self, Environment};

/// The problems of the queries in these files, a line each.
async fn problems(files: &[PathBuf]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let workspace = Workspace::at(&root);
    let programs = python::set_up(&workspace, Environment::Stack, &Progress::Silent).await?;
    let output = Command::new(programs.join("python"))
        .arg(root.join("tests/python/athena_dialect.py"))
        .args(files)
        .output()?;
    let problems = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = i32::from(!problems.is_empty());
    ensure!(output.status.code() == Some(code), "{problems}{errors}");
    Ok(problems)
}

#[tokio::test]
async fn athena_executes_every_named_query() -> Result<()> {
    let mut files = Vec::new();
    for folder in ["../domain/athena", "../examples/orders/domain/athena"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in folder.read_dir().context("a folder of queries")? {
            let file = entry?.path();
            if file.extension().is_some_and(|it| it == "sql") {
                files.push(file);
            }
        }
    }
    ensure!(files.len() > 10, "the queries are found");
    let problems = problems(&files).await?;
    ensure!(problems.is_empty(), "{problems}");
    Ok(())
}

#[tokio::test]
async fn what_athena_does_not_execute_is_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cases = [
        ("SELECT a FROM events", "ORDER BY"),
        ("SELECT a FROM events ORDER BY a LIMIT 3", "LIMIT 3"),
        ("SELECT a::int AS b FROM events ORDER BY b", "'::'"),
        ("SELECT a / 2 AS b FROM events ORDER BY b", "a / 2"),
        (
            "SELECT epoch(time) AS b FROM events ORDER BY b",
            "function epoch",
        ),
        (
            "SELECT typeof(a) AS b FROM events ORDER BY b",
            "function typeof",
        ),
        ("SELECT ? AS a FROM events ORDER BY a", "outside of WHERE"),
        ("SELECT a FROM other ORDER BY a", "table other"),
        ("SELECT sum(a) FROM events ORDER BY 1", "without AS"),
        (
            "SELECT date_diff('day', a, b) AS c FROM events ORDER BY c",
            "date_diff",
        ),
        ("SELECT a FROM events WHERE ORDER BY a", "Required keyword"),
        ("SELECT 'a FROM events ORDER BY a", "Missing '"),
        ("SELECT a FROM events ORDER BY a; DROP TABLE events", "';'"),
    ];
    let mut files = Vec::new();
    for (number, (sql, _)) in cases.iter().enumerate() {
        let file = folder.path().join(format!("{number}.sql"));
        std::fs::write(&file, sql)?;
        files.push(file);
    }
    let problems = problems(&files).await?;
    for (number, (sql, part)) in cases.iter().enumerate() {
        let of_file = format!("{number}.sql: ");
        let is_found = problems
            .lines()
            .any(|line| line.contains(&of_file) && line.contains(part));
        ensure!(is_found, "{sql}: {problems}");
    }
    Ok(())
}
