//! `millrace restore`: the read models from the lake alone.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::primitives::ByteStream;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::pipeline::{Pipeline, wait};
use crate::verify;

/// The exit status of a command with findings.
const FINDINGS: i32 = 3;
const EVENTS: usize = 25;

/// The results of a command, one JSON object per line, and its exit status.
type Printed = (Option<i32>, Vec<Value>);

/// Each run is a query of the whole lake, and slows the emulator for other scenarios. So there are few of them, and all
/// are on one account.
pub(crate) async fn read_models_are_restored_from_the_lake(pipeline: &Pipeline) -> Result<()> {
    let command = built().await?;
    let id = account(pipeline).await?;
    let before = answers(pipeline, &id).await?;
    let restore = async |flags: &[&str]| {
        let all = [&["restore", "--from", "lake", "--account", &id], flags].concat();
        run(pipeline, &command, &all).await
    };
    lose_read_models(pipeline, &id).await?;
    let (code, lines) = restore(&["--dry-run"]).await?;
    ensure!(is_parity(code, &lines, 1), "{code:?} {lines:?}");
    ensure!(pipeline.get(&format!("/accounts/{id}")).await?.status == StatusCode::NOT_FOUND);
    let (code, lines) = restore(&[]).await?;
    ensure!(is_parity(code, &lines, 1), "{code:?} {lines:?}");
    ensure!(lines[0]["changed"] == EVENTS + 1, "{lines:?}");
    let after = answers(pipeline, &id).await?;
    ensure!(after == before, "{after:?} instead of {before:?}");
    let (code, lines) = restore(&[]).await?;
    ensure!(is_parity(code, &lines, 0), "{code:?} {lines:?}");

    is_restored_without_the_events_table(pipeline, &command, &id, &before).await?;
    a_deleted_record_is_named(pipeline, &command, &id).await
}

/// The deployment file names no events table that exists, as after its loss.
async fn is_restored_without_the_events_table(
    pipeline: &Pipeline,
    command: &PathBuf,
    id: &str,
    before: &[Value],
) -> Result<()> {
    let mut deployment = serde_json::to_value(&pipeline.local)?;
    deployment["eventsTable"] = "lost".into();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("without-events.json");
    std::fs::write(&file, deployment.to_string())?;
    let file = file.to_string_lossy();
    lose_read_models(pipeline, id).await?;
    let restore = [
        "restore",
        "--from",
        "lake",
        "--account",
        id,
        "--deployment",
        &file,
    ];
    let (code, lines) = run(pipeline, command, &restore).await?;
    let last = lines.last().context("a summary")?;
    ensure!(
        code == Some(FINDINGS) && last["right"] == 1 && last["notCompared"] == 1,
        "{code:?} {lines:?}"
    );
    ensure!(
        lines[0]["notCompared"] == "the events table" && lines[0]["reason"].is_string(),
        "{lines:?}"
    );
    let after = answers(pipeline, id).await?;
    ensure!(after == before, "{after:?} instead of {before:?}");
    Ok(())
}

async fn a_deleted_record_is_named(pipeline: &Pipeline, command: &PathBuf, id: &str) -> Result<()> {
    const DELETED: usize = 4;
    let event = format!("{id}:{DELETED}");
    delete_records(pipeline, &event).await?;
    lose_read_models(pipeline, id).await?;
    let lines = wait("the finding", async || {
        let restore = ["restore", "--from", "lake", "--account", id];
        let (code, lines) = run(pipeline, command, &restore).await?;
        // At first, the event is so recent that its record may still arrive.
        Ok((code == Some(FINDINGS)).then_some(lines))
    })
    .await?;
    let finding = &lines[0];
    ensure!(
        finding["finding"] == "missing"
            && finding["sequence"] == DELETED
            && finding["event"] == *event,
        "{lines:?}"
    );
    let last = lines.last().context("a summary")?;
    ensure!(
        last["parity"] == false && last["findings"] == json!({ "missing": 1 }),
        "{lines:?}"
    );
    let view = verify::shows(pipeline, id, DELETED - 1).await?;
    ensure!(view["sequence"] == DELETED - 1, "{view}");

    // The events table has the event, so that the account is repaired.
    for model in ["accounts", "transactions"] {
        let rebuild = ["rebuild", model, "--account", id];
        let (code, lines) = run(pipeline, command, &rebuild).await?;
        ensure!(code == Some(0), "{lines:?}");
    }
    Ok(())
}

/// An account with events of all types and with every column of the lake, which are all in the lake.
async fn account(pipeline: &Pipeline) -> Result<String> {
    let headers = [
        ("x-correlation-id", "a conversation"),
        ("x-causation-id", "a cause"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let opened = pipeline.post("/accounts", &headers, &json!({})).await?;
    opened.expect(StatusCode::CREATED)?;
    let id = opened.body["accountId"]
        .as_str()
        .context("an id")?
        .to_owned();
    for event in 2..=EVENTS {
        let (command, amount) = if event % 3 == 0 {
            ("withdraw", 5)
        } else {
            ("credit", 100 + event)
        };
        let path = format!("/accounts/{id}/{command}");
        let body = json!({ "amount": amount });
        let answer = pipeline.post(&path, &headers, &body);
        answer.await?.expect(StatusCode::OK)?;
    }
    verify::has_exactly(pipeline, &id, EVENTS).await?;
    Ok(id)
}

/// What queries return for an account.
async fn answers(pipeline: &Pipeline, id: &str) -> Result<Vec<Value>> {
    verify::shows(pipeline, id, EVENTS).await?;
    let mut answers = Vec::new();
    for path in ["", "/transactions?limit=100"] {
        let answer = pipeline.get(&format!("/accounts/{id}{path}")).await?;
        answer.expect(StatusCode::OK)?;
        answers.push(answer.body);
    }
    Ok(answers)
}

/// Deletes the view and the history of an account.
async fn lose_read_models(pipeline: &Pipeline, id: &str) -> Result<()> {
    let (client, local) = (&pipeline.clients.dynamodb, &pipeline.local);
    let id = AttributeValue::S(id.to_owned());
    let view = client.delete_item().table_name(&local.view_table);
    view.key("Id", id.clone()).send().await?;
    for sequence in 1..=EVENTS {
        client
            .delete_item()
            .table_name(&local.history_table)
            .key("Id", id.clone())
            .key("Sequence", AttributeValue::N(sequence.to_string()))
            .send()
            .await?;
    }
    Ok(())
}

/// Removes each line of an event from the lake's objects. Other lines of the objects are of other accounts too, so
/// they stay.
async fn delete_records(pipeline: &Pipeline, event: &str) -> Result<()> {
    let (client, bucket) = (&pipeline.clients.s3, &pipeline.local.lake_bucket);
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix("events/dt=")
        .into_paginator()
        .send();
    let is_it = |line: &&[u8]| {
        serde_json::from_slice::<Value>(line).is_ok_and(|record| record["id"] == event)
    };
    let mut deleted = 0;
    while let Some(page) = pages.try_next().await? {
        let keys = page.contents.unwrap_or_default().into_iter();
        for key in keys.filter_map(|object| object.key) {
            let object = client.get_object().bucket(bucket).key(&key).send().await?;
            let content = object.body.collect().await?.into_bytes();
            let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
            let kept: Vec<&[u8]> = lines.iter().copied().filter(|line| !is_it(line)).collect();
            deleted += lines.len() - kept.len();
            if kept.is_empty() {
                client
                    .delete_object()
                    .bucket(bucket)
                    .key(&key)
                    .send()
                    .await?;
            } else if kept.len() < lines.len() {
                let put = client.put_object().bucket(bucket).key(&key);
                put.body(ByteStream::from(kept.concat())).send().await?;
            }
        }
    }
    ensure!(deleted > 0, "no object contains {event}");
    Ok(())
}

/// Whether a run succeeded, and changed this number of accounts.
fn is_parity(code: Option<i32>, lines: &[Value], changed: usize) -> bool {
    let last = lines.last();
    code == Some(0) && last.is_some_and(|last| last["parity"] == true && last["changed"] == changed)
}

/// Builds the command with the packages with which the functions are built, so that nothing is compiled twice.
async fn built() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--workspace", "--bin", "millrace"])
        .args(["--message-format", "json"])
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output = build.output().await?;
    ensure!(output.status.success(), "the command was not built");
    let messages = String::from_utf8(output.stdout)?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let executable = message["executable"].as_str()?;
        (message["target"]["name"] == "millrace").then(|| executable.into())
    });
    executable.context("cargo named no executable")
}

/// Runs a command on the stack.
async fn run(pipeline: &Pipeline, command: &PathBuf, arguments: &[&str]) -> Result<Printed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("local.json");
    std::fs::write(&file, serde_json::to_vec(&pipeline.local)?)?;
    let output = Command::new(command)
        .arg("--json")
        .args(arguments)
        .env("MILLRACE_DEPLOYMENT", &file)
        .output()
        .await?;
    let printed = String::from_utf8(output.stdout)?;
    let lines: Vec<Value> = printed
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(
        !lines.is_empty(),
        "{arguments:?} printed nothing: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((output.status.code(), lines))
}
