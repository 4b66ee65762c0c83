//! `millrace replay` to consumers that start from nothing, while commands run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_cli::follower::{Follower, PAUSE};
use serde_json::{Value, json};

use super::{DEADLINE, Operator, legacy_row, number};

/// The accounts whose history is replayed, and the events of each: 5,000 events.
const ACCOUNTS: usize = 50;
const EVENTS: usize = 100;
/// The consumer's own stream.
const STREAM: &str = "loyalty";

/// A consumer that checks sequences.
#[derive(Default)]
struct Consumer {
    applied: BTreeMap<String, u64>,
    /// The number of events that it has applied.
    events: usize,
    /// The ids of the events that it received.
    received: BTreeSet<String>,
}

impl Consumer {
    /// Applies an event if it is the next one of its account. A gap is an error.
    fn receive(&mut self, data: &[u8]) -> Result<()> {
        let event: Value = serde_json::from_slice(data)?;
        let subject = event["subject"].as_str().context("a subject")?;
        let sequence = event["data"]["sequence"].as_u64().context("a sequence")?;
        let applied = self.applied.entry(subject.to_owned()).or_default();
        ensure!(sequence <= *applied + 1, "{event} came after {applied}");
        if sequence == *applied + 1 {
            *applied = sequence;
            self.events += 1;
        }
        self.received.insert(format!("{subject}:{sequence}"));
        Ok(())
    }
}

/// All records of a stream that the follower hasn't read yet. It waits until there have been none for a second.
async fn rest(follower: &mut Follower) -> Result<Vec<Vec<u8>>> {
    let (mut records, mut empty) = (Vec::new(), 0);
    while empty < 3 {
        let read = follower.read().await?;
        empty = if read.is_empty() { empty + 1 } else { 0 };
        records.extend(read);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(records)
}

pub(crate) async fn a_consumer_starts_from_nothing(operator: &Operator) -> Result<()> {
    write_history(operator).await?;
    operator
        .settled()
        .await
        .context("the history isn't published")?;
    a_consumers_stream_gets_everything(operator).await?;
    a_function_gets_what_its_view_lacks(operator).await?;
    lines_are_written_to_a_file_and_to_stdout(operator).await?;
    wrong_targets_are_named(operator).await
}

/// Writes the rows of a history as a legacy writer does.
async fn write_history(operator: &Operator) -> Result<()> {
    let mut rows = Vec::new();
    for account in 0..ACCOUNTS {
        let id = format!("replayed-{account:02}");
        rows.push(legacy_row(&id, 1, "CREATED", None));
        let (mut version, mut events) = (1, 1);
        while events < EVENTS {
            version += 1;
            rows.push(if version % 10 == 2 {
                legacy_row(
                    &id,
                    version,
                    "SNAPSHOT",
                    Some(("Balance", number(events - 1))),
                )
            } else {
                events += 1;
                legacy_row(&id, version, "CREDIT", Some(("Amount", number(1))))
            });
        }
    }
    for chunk in rows.chunks(25) {
        let writes = chunk.iter().map(|row| {
            let put = PutRequest::builder().set_item(Some(row.clone())).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let table = operator.local.events_table.clone();
        let writes: Vec<WriteRequest> = writes.collect::<Result<_>>()?;
        let write = operator.clients.dynamodb.batch_write_item();
        write.request_items(table, writes).send().await?;
    }
    Ok(())
}

/// Replays everything to the stream of a consumer, while commands run. The process is killed in the middle. Then the
/// consumer reads its own stream, and after it the domain stream.
async fn a_consumers_stream_gets_everything(operator: &Operator) -> Result<()> {
    let kinesis = &operator.clients.kinesis;
    let create = kinesis.create_stream().stream_name(STREAM).shard_count(2);
    create.send().await?;
    let mut own = Follower::new(kinesis.clone(), STREAM);
    let mut domain = Follower::new(kinesis.clone(), &operator.local.stream_name);
    let before = rest(&mut domain).await?;

    let over = AtomicBool::new(false);
    let commands = async {
        let mut accepted = BTreeSet::new();
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            let id = format!("replayed-{:02}", number % 7);
            let path = format!("/accounts/{id}/credit");
            let (status, answer) = operator.post(&path, &json!({ "amount": 1 })).await?;
            ensure!(status == 200, "the command returned {status}: {answer}");
            accepted.insert(format!("{id}:{}", answer["sequence"]));
            number += 1;
        }
        Ok(accepted)
    };
    let replay = async {
        let replayed = replay_with_a_kill(operator, &mut own).await;
        over.store(true, Ordering::Relaxed);
        replayed
    };
    let (accepted, (mut on_own, lines)) = tokio::try_join!(commands, replay)?;
    let before_the_kill = on_own.len();
    operator.settled().await?;

    // The domain stream got the events of the commands, and nothing else.
    let after = rest(&mut domain).await?;
    let mut live = Consumer::default();
    for record in &after {
        let event: Value = serde_json::from_slice(record)?;
        let id = event["id"].as_str().context("an id")?;
        live.received.insert(id.to_owned());
    }
    ensure!(
        live.received == accepted && !accepted.is_empty(),
        "{} events are new on the domain stream, and {} commands were accepted",
        live.received.len(),
        accepted.len()
    );

    // First the consumer's own stream, and then the domain stream from its beginning, as on a local stack.
    on_own.extend(rest(&mut own).await?);
    let mut consumer = Consumer::default();
    for record in &on_own {
        consumer.receive(record)?;
    }
    let replayed = consumer.events;
    for record in before.iter().chain(&after) {
        consumer.receive(record)?;
    }
    let verified = operator.expect(&["verify"], 0).await?;
    let verified = verified.last().context("a summary")?;
    let summary = lines.last().context("a summary")?;
    ensure!(
        verified["events"] == consumer.events && replayed >= ACCOUNTS * EVENTS,
        "{} events were applied, {replayed} of them from the replay: {verified}",
        consumer.events
    );
    ensure!(
        summary["startingPosition"] == "AT_TIMESTAMP" && summary["isTooLate"] == false,
        "{summary}"
    );
    let events = summary["events"].as_u64().context("a number")?;
    ensure!(
        before_the_kill < replayed && usize::try_from(events)? < on_own.len(),
        "{events} events were sent after the kill, {before_the_kill} before it"
    );
    let received: BTreeSet<Vec<u8>> = on_own.iter().cloned().collect();
    let published: BTreeSet<Vec<u8>> = before.into_iter().chain(after).collect();
    ensure!(received.is_subset(&published), "the bytes differ");
    eprintln!(
        "{replayed} events replayed in {} records, {before_the_kill} before the kill, next to {} commands",
        on_own.len(),
        accepted.len()
    );
    Ok(())
}

/// Replays everything to the consumer's stream in two runs: the first one is killed, and the second one continues it.
/// Returns the records that arrived before the kill, and what the second run printed.
async fn replay_with_a_kill(
    operator: &Operator,
    own: &mut Follower,
) -> Result<(Vec<Vec<u8>>, Vec<Value>)> {
    let target = format!("stream:{STREAM}");
    let all = ["replay", "--all", "--to", &target];
    let limited = [&all[..], &["--rate", "1500"]].concat();
    let mut on_own = Vec::new();
    let mut killed = operator
        .command(&limited)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let started = Instant::now();
    while on_own.len() < 1_000 {
        on_own.extend(own.read().await?);
        ensure!(started.elapsed() < DEADLINE, "nothing is replayed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    killed.kill()?;
    killed.wait()?;

    let refused = operator.run(&all).await?;
    ensure!(
        refused.code == 1 && refused.errors.contains("--resume"),
        "{} {}",
        refused.code,
        refused.errors
    );
    let other = [&all[..], &["--since", "2026-01-01T00:00:00Z", "--resume"]].concat();
    let refused = operator.run(&other).await?;
    ensure!(
        refused.code == 1 && refused.errors.contains("another scope"),
        "{} {}",
        refused.code,
        refused.errors
    );
    let resumed = [&all[..], &["--resume"]].concat();
    let lines = operator.expect(&resumed, 0).await?;
    Ok((on_own, lines))
}

/// The projector is a consumer whose view was lost.
async fn a_function_gets_what_its_view_lacks(operator: &Operator) -> Result<()> {
    let lost = ["replayed-01", "replayed-02", "replayed-03"];
    for id in lost {
        let delete = operator.clients.dynamodb.delete_item();
        let delete = delete.table_name(&operator.local.view_table);
        let key = AttributeValue::S(id.to_owned());
        delete.key("Id", key).send().await?;
    }
    let functions = operator.clients.lambda.list_functions().send().await?;
    let functions = functions.functions.unwrap_or_default();
    let projector = functions
        .iter()
        .filter_map(|function| function.function_name())
        .find(|name| name.to_lowercase().contains("projector"));
    let target = format!("function:{}", projector.context("the projector")?);
    let mut command = vec!["replay", "--to", &target];
    for id in lost {
        command.extend(["--account", id]);
    }
    let planned = operator
        .expect(&[&command[..], &["--dry-run"]].concat(), 0)
        .await?;
    ensure!(planned.len() == 3, "{planned:?}");
    let lines = operator.expect(&command, 0).await?;
    let summary = lines.last().context("a summary")?;
    ensure!(summary["sent"] == 3, "{lines:?}");
    operator.expect(&["verify"], 0).await?;
    Ok(())
}

async fn lines_are_written_to_a_file_and_to_stdout(operator: &Operator) -> Result<()> {
    let path = operator.folder.path().join("events.jsonl");
    let file = format!("file:{}", path.display());
    let id = "replayed-04";
    let to_file = ["replay", "--account", id, "--from", "3", "--to", &file];
    let lines = operator.expect(&to_file, 0).await?;
    ensure!(lines[0]["account"] == id, "{lines:?}");
    let again = operator.run(&to_file).await?;
    ensure!(
        again.code == 1 && again.errors.contains("events.jsonl"),
        "{} {}",
        again.code,
        again.errors
    );
    let content = std::fs::read_to_string(&path)?;
    let to_stdout = ["replay", "--account", id, "--to", "-"];
    // Stdout contains records only.
    let printed = operator.expect(&to_stdout, 0).await?;
    let in_file: Vec<Value> = content
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let data = |record: &Value| -> Result<(u64, Vec<u8>)> {
        let data = record["kinesis"]["data"].as_str().context("data")?;
        let data = STANDARD.decode(data)?;
        let event: Value = serde_json::from_slice(&data)?;
        Ok((
            event["data"]["sequence"].as_u64().context("a sequence")?,
            data,
        ))
    };
    let in_file: Vec<_> = in_file.iter().map(data).collect::<Result<_>>()?;
    let printed: Vec<_> = printed.iter().map(data).collect::<Result<_>>()?;
    ensure!(in_file == printed[2..] && printed.len() >= EVENTS);
    let sequences = printed.iter().map(|(sequence, _)| *sequence);
    ensure!(sequences.eq((1..).take(printed.len())));

    // Everything is more than a pipe takes, so the command finds that its reader has gone.
    let mut command = operator.command_for_people(&["replay", "--all", "--to", "-"]);
    let (errors, code) = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        lines.next().context("a record")??;
        drop(lines);
        let output = child.wait_with_output()?;
        anyhow::Ok((String::from_utf8(output.stderr)?, output.status.code()))
    })
    .await??;
    ensure!(
        code == Some(1) && errors.contains("Broken pipe") && errors.contains("--restart"),
        "{code:?} {errors}"
    );
    let everything = ["replay", "--all", "--to", "-", "--restart"];
    let everything = operator.expect(&everything, 0).await?;
    ensure!(
        everything.len() >= ACCOUNTS * EVENTS,
        "{}",
        everything.len()
    );
    Ok(())
}

async fn wrong_targets_are_named(operator: &Operator) -> Result<()> {
    let domain = format!("stream:{}", operator.local.stream_name);
    for (target, code, message) in [
        (&*domain, 1, "republish"),
        ("stream:nowhere", 1, "nowhere"),
        ("function:nobody", 1, "nobody"),
        ("file:/nowhere/events.jsonl", 1, "/nowhere/events.jsonl"),
        ("nowhere", 2, "function:NAME"),
    ] {
        let id = "replayed-00";
        let finished = operator
            .run(&["replay", "--account", id, "--to", target])
            .await?;
        ensure!(
            finished.code == code && finished.errors.contains(message),
            "{target}: {} {}",
            finished.code,
            finished.errors
        );
    }
    let unknown = ["replay", "--account", "unknown", "--to", "-"];
    let finished = operator.run(&unknown).await?;
    ensure!(
        finished.code == 1 && finished.errors.contains("no account unknown"),
        "{}",
        finished.errors
    );
    Ok(())
}
