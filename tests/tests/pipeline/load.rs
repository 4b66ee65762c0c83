//! Many concurrent commands.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::pipeline::{Answer, Pipeline};
use crate::verify;

/// The number of concurrent commands to the hot account.
const HOT: usize = 50;
/// The number of quiet accounts.
const ACCOUNTS: usize = 50;
/// The number of commands to each quiet account, one after another.
const COMMANDS: usize = 20;
/// The most concurrent commands to all quiet accounts together.
const AT_ONCE: usize = 16;

pub(crate) async fn every_accepted_command_has_one_event_at_every_stage(
    pipeline: &Pipeline,
) -> Result<()> {
    let hot = pipeline.open().await?;
    let (hot_events, quiet) = tokio::try_join!(
        async { move_money(pipeline, &hot, HOT, HOT).await },
        quiet_accounts(pipeline)
    )?;
    verify::has_exactly(pipeline, &hot, hot_events).await?;
    for (id, events) in quiet {
        verify::has_exactly(pipeline, &id, events).await?;
    }
    Ok(())
}

/// Opens the quiet accounts and sends commands to them. Returns each account's id and number of events.
async fn quiet_accounts(pipeline: &Pipeline) -> Result<Vec<(String, usize)>> {
    let accounts: Vec<String> = stream::iter(0..ACCOUNTS)
        .map(async |_| pipeline.open().await)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    stream::iter(accounts)
        .map(async |id| {
            let events = move_money(pipeline, &id, COMMANDS, 1).await?;
            Ok((id, events))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Sends commands, some of which are refused, at most `at_once` concurrently. Returns the number of events
/// that the account must have.
async fn move_money(
    pipeline: &Pipeline,
    id: &str,
    commands: usize,
    at_once: usize,
) -> Result<usize> {
    let answers: Vec<Answer> = stream::iter(0..commands)
        .map(async |number| {
            let (command, body) = command(number);
            let path = format!("/accounts/{id}/{command}");
            pipeline.post(&path, &[], &body).await
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await?;
    let mut sequences = BTreeSet::new();
    for answer in &answers {
        match answer.status {
            StatusCode::OK => {
                let sequence = answer.body["sequence"].as_u64().unwrap_or_default();
                ensure!(
                    sequences.insert(sequence),
                    "sequence {sequence} was given twice"
                );
            }
            // A version conflict in every attempt, a refusal by a rule of the domain, a malformed request.
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {}
            _ => anyhow::bail!("unexpected: {answer:?}"),
        }
    }
    let events = sequences.len() + 1;
    let expected: BTreeSet<u64> = (2..).take(sequences.len()).collect();
    ensure!(sequences == expected, "accepted commands are {sequences:?}");
    ensure!(events > 1, "no command was accepted");
    Ok(events)
}

fn command(number: usize) -> (&'static str, Value) {
    match number % 5 {
        0 | 1 => ("credit", json!({ "amount": 100 + number })),
        2 => ("withdraw", json!({ "amount": 90 })),
        3 => ("withdraw", json!({ "amount": 1_000_000_000 })),
        _ => ("credit", json!({ "amount": -1 })),
    }
}
