//! Runs the operator's commands as processes, on a local stack of their own.
//!
//! All scenarios are one test, because each verifies the whole deployment, and would find the accounts of the
//! others.

mod known_history;
mod queries;
mod replay;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_cli::clients::Clients;
use millrace_cli::follower::{Follower, PAUSE, Start};
use millrace_local_stack::Workspace;
use millrace_local_stack::stack::{Local, LocalStack, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// The number of commands that are sent while functions are killed.
const COMMANDS: usize = 2_000;
/// The number of accounts that these commands are sent to.
const ACCOUNTS: usize = 40;
/// The most of these commands that are sent concurrently.
const AT_ONCE: usize = 16;
/// The number of answered commands after which all functions are killed. Each kill fails at most the
/// [`AT_ONCE`] commands that are being processed, no matter how slow the machine is.
const PER_KILL: usize = 50;
/// The number of accounts in the legacy layout, whose read models are rebuilt.
const LEGACY: usize = 400;
const DEADLINE: Duration = Duration::from_mins(3);

struct Operator {
    local: Local,
    clients: Clients,
    http: reqwest::Client,
    state: PathBuf,
    /// The folder in which the commands run. It is outside the checkout, so that no run finds the recorded
    /// progress of an earlier one.
    folder: tempfile::TempDir,
}

struct Finished {
    code: i32,
    lines: Vec<Value>,
    errors: String,
}

impl Operator {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_for_people(arguments);
        command.arg("--json");
        command
    }

    fn command_for_people(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command
            .args(arguments)
            .env("MILLRACE_DEPLOYMENT", self.state.join("local.json"))
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command and waits for its end.
    async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(arguments);
        let output: Output = tokio::task::spawn_blocking(move || command.output()).await??;
        let lines = String::from_utf8(output.stdout)?;
        Ok(Finished {
            code: output.status.code().context("it was killed")?,
            lines: lines
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?,
            errors: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs a command that must exit with this code, and returns the lines that it printed.
    async fn expect(&self, arguments: &[&str], code: i32) -> Result<Vec<Value>> {
        let finished = self.run(arguments).await?;
        ensure!(
            finished.code == code,
            "{arguments:?} ended with {} instead of {code}: {:?} {}",
            finished.code,
            finished.lines,
            finished.errors
        );
        Ok(finished.lines)
    }

    /// Waits until `verify` finds nothing.
    async fn settled(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let finished = self.run(&["verify"]).await?;
            if finished.code == 0 {
                return Ok(());
            }
            ensure!(
                finished.code == 3 && started.elapsed() < DEADLINE,
                "verify ended with {}: {:?} {}",
                finished.code,
                finished.lines,
                finished.errors
            );
        }
    }

    /// Returns the first events that `tail` prints from the beginning of the stream, as many as `events`.
    async fn follow(&self, arguments: &[&str], events: usize) -> Result<Vec<Value>> {
        let mut tail =
            tokio::process::Command::from(self.command(&["tail", "--from", "beginning"]))
                .args(arguments)
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
        let mut lines = BufReader::new(tail.stdout.take().context("piped")?).lines();
        let mut printed = Vec::new();
        while printed.len() < events {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
            printed.push(serde_json::from_str(&line.context("tail has ended")?)?);
        }
        let id = tail.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(id.context("tail has ended")?, Signal::INT)?;
        let status = tail.wait().await?;
        ensure!(status.success(), "tail ended with {status}");
        Ok(printed)
    }

    /// Runs `tail | head -1`, with events that are published after the output was closed.
    async fn follow_and_close(&self) -> Result<()> {
        let mut tail =
            tokio::process::Command::from(self.command(&["tail", "--from", "beginning"]))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
        let mut lines = BufReader::new(tail.stdout.take().context("piped")?).lines();
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
        line.context("tail has ended")?;
        drop(lines);
        let started = Instant::now();
        while tail.try_wait()?.is_none() {
            ensure!(started.elapsed() < DEADLINE, "tail doesn't end");
            self.open().await?;
        }
        let ended = tail.wait_with_output().await?;
        let errors = String::from_utf8(ended.stderr)?;
        ensure!(
            ended.status.success() && errors.is_empty(),
            "{} {errors}",
            ended.status
        );
        Ok(())
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.local.api_url);
        let answer = self.http.post(url).json(body).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or_default()))
    }

    async fn open(&self) -> Result<String> {
        loop {
            let (status, body) = self.post("/accounts", &json!({})).await?;
            if status == 201 {
                let id = body["accountId"].as_str().context("an id")?;
                return Ok(id.to_owned());
            }
        }
    }

    async fn put_row(&self, id: &str, version: usize, amount: AttributeValue) -> Result<()> {
        self.clients
            .dynamodb
            .put_item()
            .table_name(&self.local.events_table)
            .set_item(Some(legacy_row(
                id,
                version,
                "CREDIT",
                Some(("Amount", amount)),
            )))
            .send()
            .await?;
        Ok(())
    }

    /// Takes the reconciler's lease, so that the reconciler doesn't repair the damage before the command
    /// under test.
    async fn hold_the_lease(&self) -> Result<()> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let started = Instant::now();
        loop {
            let held = self
                .clients
                .dynamodb
                .put_item()
                .table_name(self.reconciler_table()?)
                .item("Kind", text("lease"))
                .item("Name", text("last"))
                .item("Owner", text("this test"))
                .item("Until", AttributeValue::N(i64::MAX.to_string()))
                .condition_expression("attribute_not_exists(#kind)")
                .expression_attribute_names("#kind", "Kind")
                .send()
                .await;
            if held.is_ok() {
                return Ok(());
            }
            ensure!(started.elapsed() < DEADLINE, "a run doesn't end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn release_the_lease(&self) -> Result<()> {
        self.clients
            .dynamodb
            .delete_item()
            .table_name(self.reconciler_table()?)
            .key("Kind", AttributeValue::S("lease".to_owned()))
            .key("Name", AttributeValue::S("last".to_owned()))
            .send()
            .await?;
        Ok(())
    }

    fn reconciler_table(&self) -> Result<&str> {
        let table = self.local.reconciler_table.as_deref();
        table.context("the stack has a reconciler")
    }

    /// The id of the translator's mapping, and the ARN of its function.
    async fn translators_mapping(&self) -> Result<(String, String)> {
        let mappings = self.clients.lambda.list_event_source_mappings().send();
        let mappings = mappings.await?.event_source_mappings.unwrap_or_default();
        let reads_table = |arn: Option<&str>| arn.is_some_and(|arn| arn.contains(":dynamodb:"));
        let mapping = mappings.into_iter();
        let mapping = mapping
            .filter(|mapping| reads_table(mapping.event_source_arn()))
            .find_map(|mapping| Some((mapping.uuid?, mapping.function_arn?)));
        mapping.context("the translator has a mapping")
    }

    async fn set_enabled(&self, mapping: &str, enabled: bool) -> Result<()> {
        let update = self.clients.lambda.update_event_source_mapping();
        update.uuid(mapping).enabled(enabled).send().await?;
        Ok(())
    }

    /// Writes a discarded batch with rows of an account, in Lambda's format.
    async fn discard(&self, object: &str, function: &str, id: &str, versions: usize) -> Result<()> {
        let records: Vec<Value> = (1..=versions)
            .map(|version| {
                let keys = json!({"Id": {"S": id}, "Version": {"N": version.to_string()}});
                json!({
                    "eventID": version.to_string(), "eventName": "INSERT", "eventVersion": "1.1",
                    "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
                    "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/events/stream/1",
                    "dynamodb": {
                        "ApproximateCreationDateTime": 1_800_000_000, "Keys": keys, "NewImage": keys,
                        "SequenceNumber": version.to_string(), "SizeBytes": 100,
                        "StreamViewType": "NEW_IMAGE",
                    },
                })
            })
            .collect();
        let content = json!({
            "requestContext": {"functionArn": function, "condition": "RetryAttemptsExhausted"},
            "version": "1.0",
            "payload": json!({ "Records": records }).to_string(),
        });
        self.clients
            .s3
            .put_object()
            .bucket(&self.local.failure_bucket)
            .key(object)
            .body(content.to_string().into_bytes().into())
            .send()
            .await?;
        Ok(())
    }

    /// The process ids of the running functions.
    fn functions(&self) -> Result<Vec<i32>> {
        let prefix = self.state.join("tmp").to_string_lossy().into_owned();
        let mut functions = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.starts_with(&prefix) && line.contains("bootstrap") {
                let pid = path.file_name().and_then(|name| name.to_str());
                functions.extend(pid.and_then(|pid| pid.parse::<i32>().ok()));
            }
        }
        Ok(functions)
    }
}

fn number(number: usize) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A row in the legacy layout.
fn legacy_row(
    id: &str,
    version: usize,
    of: &str,
    value: Option<(&str, AttributeValue)>,
) -> HashMap<String, AttributeValue> {
    let mut row: HashMap<String, AttributeValue> = [
        ("Id", AttributeValue::S(id.to_owned())),
        ("Version", number(version)),
        ("Type", AttributeValue::S(of.to_owned())),
        (
            "Timestamp",
            AttributeValue::S("2019-03-13T08:15:30.000Z".to_owned()),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    row.extend(value.map(|(name, value)| (name.to_owned(), value)));
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_inspect_and_repair_a_deployment() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = Workspace::at(root.context("the crate is in the workspace")?);
    let state = workspace.local_folder().join("operating");
    let stack = LocalStack::start(Options::new(workspace, state.clone())).await?;
    let local = stack.local().clone();
    let operator = Operator {
        clients: Clients::of(&local),
        http: reqwest::Client::builder().no_proxy().build()?,
        local,
        state,
        folder: tempfile::tempdir()?,
    };
    the_reconciler_repairs_damage_without_new_events(&operator)
        .await
        .context("damage without new events")?;
    operator.hold_the_lease().await?;
    a_poison_row_is_reported_and_redriven(&operator)
        .await
        .context("a poison row")?;
    operator.release_the_lease().await?;
    operator.hold_the_lease().await?;
    undelivered_events_are_published_and_projected(&operator)
        .await
        .context("undelivered events")?;
    operator.release_the_lease().await?;
    operator.hold_the_lease().await?;
    each_faulty_cursor_is_repaired_independently(&operator)
        .await
        .context("faulty cursors")?;
    operator.release_the_lease().await?;
    // The following scenario may kill the reconciler, which then keeps its lease for minutes.
    killed_functions_cause_no_findings(&operator)
        .await
        .context("killed functions")?;
    tail_prints_the_events_of_one_account_and_type(&operator)
        .await
        .context("tail")?;
    read_models_are_rebuilt_while_queries_continue(&operator)
        .await
        .context("rebuild")?;
    a_new_consumer_receives_all_events(&operator)
        .await
        .context("a new consumer")?;
    replay::a_consumer_starts_from_nothing(&operator)
        .await
        .context("replay")?;
    a_deployment_without_reconciler_is_not_checked_for_it(&operator)
        .await
        .context("a deployment without reconciler")?;
    a_table_of_another_role_is_refused(&operator)
        .await
        .context("a table of another role")?;
    queries::named_queries_equal_the_fold(&operator)
        .await
        .context("named queries")?;
    errors_name_their_cause(&operator).await.context("errors")?;
    stack.stop()
}

async fn killed_functions_cause_no_findings(operator: &Operator) -> Result<()> {
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        accounts.push(operator.open().await?);
    }
    let answered = AtomicUsize::new(0);
    let kill = async {
        let mut killed = 0;
        for round in 1..COMMANDS / PER_KILL {
            while answered.load(Ordering::Relaxed) < round * PER_KILL {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for function in operator.functions()? {
                let pid = Pid::from_raw(function).context("a process id")?;
                killed += usize::from(kill_process(pid, Signal::KILL).is_ok());
            }
        }
        Ok::<_, anyhow::Error>(killed)
    };
    let send = async {
        let statuses: Vec<u16> = stream::iter(0..COMMANDS)
            .map(async |command| {
                let path = format!("/accounts/{}/credit", accounts[command % ACCOUNTS]);
                let (status, _) = operator.post(&path, &json!({ "amount": 1 })).await?;
                answered.fetch_add(1, Ordering::Relaxed);
                Ok::<_, anyhow::Error>(status)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(statuses)
    };
    let (killed, statuses) = tokio::try_join!(kill, send)?;
    let accepted = statuses.iter().filter(|status| **status == 200).count();
    ensure!(killed > 10, "only {killed} processes were killed");
    ensure!(accepted > COMMANDS / 2, "only {accepted} were accepted");
    eprintln!("{killed} processes killed, {accepted} of {COMMANDS} commands accepted");

    operator.settled().await
}

/// Covers a disabled mapping, a row that is repaired in place, and discarded batches.
async fn the_reconciler_repairs_damage_without_new_events(operator: &Operator) -> Result<()> {
    let id = operator.open().await?;
    operator.settled().await?;
    let (mapping, translator) = operator.translators_mapping().await?;
    operator.set_enabled(&mapping, false).await?;
    for _ in 0..50 {
        let credit = format!("/accounts/{id}/credit");
        let (status, _) = operator.post(&credit, &json!({ "amount": 1 })).await?;
        ensure!(status == 200, "the command returned {status}");
    }
    let report = operator.expect(&["reconcile"], 3).await?;
    let is_named = |finding: &Value| finding["kind"] == "mapping" && finding["uuid"] == *mapping;
    let findings = report[0]["findings"].as_array().context("findings")?;
    ensure!(
        findings.iter().any(is_named) && report[0]["gauges"]["mappingsUnhealthy"] == 1,
        "{report:?}"
    );
    let found = operator.expect(&["verify"], 3).await?;
    let is_found = |line: &Value| line["finding"] == "mapping-disabled";
    ensure!(found.iter().any(is_found), "{found:?}");
    operator.set_enabled(&mapping, true).await?;

    // A row that is repaired in place is read again only by the reconciler or an operator's command.
    let poisoned = operator.open().await?;
    let poison = AttributeValue::S("ten".to_owned());
    operator.put_row(&poisoned, 3, poison).await?;
    let blocked = operator
        .expect(&["verify", "--account", &poisoned], 3)
        .await?;
    ensure!(
        blocked.iter().any(|line| line["finding"] == "blocked"),
        "{blocked:?}"
    );
    operator.put_row(&poisoned, 3, number(10)).await?;
    operator.run(&["reconcile"]).await?;
    operator.settled().await?;
    let report = operator.expect(&["reconcile"], 0).await?;
    let gauges = report[0]["gauges"].as_object().context("gauges")?;
    ensure!(gauges.values().all(|gauge| *gauge == 0), "{gauges:?}");

    discarded_batches_are_open_until_they_are_resolved(operator, &id, &translator).await
}

async fn discarded_batches_are_open_until_they_are_resolved(
    operator: &Operator,
    id: &str,
    translator: &str,
) -> Result<()> {
    // The account's cursor is lost, and its events are too recent for the slow pass over all accounts.
    operator
        .clients
        .dynamodb
        .delete_item()
        .table_name(&operator.local.cursor_table)
        .key("Id", AttributeValue::S(id.to_owned()))
        .send()
        .await?;
    let (resolved, unknown) = ("aws/lambda/test/resolved", "aws/lambda/test/unknown");
    // The batch contains the rows of the account's 51 events and their snapshots.
    operator.discard(resolved, translator, id, 57).await?;
    let another = "arn:aws:lambda:us-east-1:000000000000:function:another";
    operator.discard(unknown, another, id, 1).await?;
    let report = operator.expect(&["reconcile"], 3).await?;
    let findings = report[0]["findings"].as_array().context("findings")?;
    ensure!(
        findings.len() == 1 && findings[0]["object"] == unknown,
        "{report:?}"
    );
    let found = operator.expect(&["verify"], 3).await?;
    ensure!(
        found.iter().any(|line| line["finding"] == "batch"),
        "{found:?}"
    );
    operator
        .expect(&["reconcile", "--dismiss", unknown], 0)
        .await?;
    operator.settled().await
}

async fn a_poison_row_is_reported_and_redriven(operator: &Operator) -> Result<()> {
    let (id, other) = (operator.open().await?, operator.open().await?);
    let poison = AttributeValue::S("ten".to_owned());
    operator.put_row(&id, 3, poison).await?;
    operator.put_row(&id, 4, number(7)).await?;
    let path = format!("/accounts/{other}/credit");
    let (status, _) = operator.post(&path, &json!({ "amount": 5 })).await?;
    ensure!(status == 200, "the other account returned {status}");

    let found = operator.expect(&["verify"], 3).await?;
    let named = found
        .iter()
        .any(|line| line["account"] == *id && line["finding"] == "blocked");
    ensure!(
        named && found.iter().all(|line| line["account"] != *other),
        "{found:?}"
    );
    let still = operator.expect(&["redrive", "--account", &id], 3).await?;
    ensure!(still[0]["blockedAt"] == 2, "{still:?}");

    operator.put_row(&id, 3, number(10)).await?;
    let planned = operator
        .expect(&["redrive", "--blocked", "--dry-run"], 0)
        .await?;
    ensure!(planned == [json!({ "account": id })], "{planned:?}");
    let through = operator.expect(&["redrive", "--blocked"], 0).await?;
    ensure!(through[0]["publishedThrough"] == 3, "{through:?}");
    operator.expect(&["verify"], 0).await?;
    let rows = operator.expect(&["inspect", "--account", &id], 0).await?;
    let view = rows.iter().find(|line| line.get("view").is_some());
    let view = view.context("a view")?;
    ensure!(view["view"]["balance"] == 17, "{view}");
    let before = ["inspect", "--account", &id, "--at", "2019-01-01T00:00:00Z"];
    let before = operator.expect(&before, 0).await?;
    ensure!(
        before.iter().all(|line| line.get("row").is_none()),
        "{before:?}"
    );
    inspect_at_a_time_shows_the_events_up_to_it(operator, &other).await
}

/// Inspects an account that was opened and later credited, at the time of its opening.
async fn inspect_at_a_time_shows_the_events_up_to_it(operator: &Operator, id: &str) -> Result<()> {
    let now = operator.expect(&["inspect", "--account", id], 0).await?;
    let line = |lines: &[Value], name: &str| {
        let line = lines.iter().find(|line| line.get(name).is_some());
        line.cloned().with_context(|| format!("no {name}"))
    };
    let opened = line(&now, "event")?["event"]["time"].clone();
    let opened = opened.as_str().context("a time")?;
    let command = ["inspect", "--account", id, "--at", opened];
    let then = operator.expect(&command, 0).await?;
    let count = |lines: &[Value], name: &str| {
        let named = lines.iter().filter(|line| line.get(name).is_some());
        named.count()
    };
    ensure!(
        count(&now, "event") == 2 && count(&then, "event") == 1,
        "{then:?}"
    );
    ensure!(
        count(&now, "row") == 3 && count(&then, "row") == 2,
        "{then:?}"
    );
    let (fold, cursor, view) = (
        line(&then, "fold")?,
        line(&then, "cursor")?,
        line(&then, "view")?,
    );
    ensure!(
        fold["as"] == format!("at {opened}") && fold["fold"]["sequence"] == 1,
        "{fold}"
    );
    ensure!(
        cursor["as"] == "now" && cursor["cursor"]["publishedThrough"] == 2,
        "{cursor}"
    );
    ensure!(
        view["as"] == "now" && view["view"]["sequence"] == 2,
        "{view}"
    );
    Ok(())
}

/// Removes a cursor and a view, as if the functions had not read the records before the stream's retention
/// period ended.
async fn undelivered_events_are_published_and_projected(operator: &Operator) -> Result<()> {
    let dynamodb = &operator.clients.dynamodb;
    let key = |id: &str| AttributeValue::S(id.to_owned());
    let (unpublished, gap) = (operator.open().await?, operator.open().await?);
    operator.settled().await?;

    // Without a cursor, the account's event counts as not published.
    dynamodb
        .delete_item()
        .table_name(&operator.local.cursor_table)
        .key("Id", key(&unpublished))
        .send()
        .await?;
    let found = operator.expect(&["verify"], 3).await?;
    ensure!(
        found[0]["account"] == *unpublished && found[0]["finding"] == "unpublished",
        "{found:?}"
    );
    let lagging = [json!({ "account": unpublished })];
    let planned = ["redrive", "--lagging", "--dry-run"];
    ensure!(operator.expect(&planned, 0).await? == lagging);
    let through = operator.expect(&["redrive", "--lagging"], 0).await?;
    ensure!(through[0]["publishedThrough"] == 1, "{through:?}");
    operator.expect(&["verify"], 0).await?;

    // Without a view, the projector has a gap before the account's second event.
    dynamodb
        .delete_item()
        .table_name(&operator.local.view_table)
        .key("Id", key(&gap))
        .send()
        .await?;
    let path = format!("/accounts/{gap}/credit");
    let (status, answer) = operator.post(&path, &json!({ "amount": 5 })).await?;
    ensure!(status == 200, "{status}: {answer}");
    let started = Instant::now();
    loop {
        let found = operator.expect(&["verify", "--account", &gap], 3).await?;
        let is_stale = |line: &Value| {
            let detail = line["detail"].as_str().unwrap_or_default();
            line["finding"] == "view-behind" && detail.contains("stale")
        };
        if found.iter().any(is_stale) {
            break;
        }
        ensure!(
            started.elapsed() < DEADLINE,
            "the gap isn't reported: {found:?}"
        );
    }
    let lines = operator
        .expect(&["republish", "--account", &gap], 0)
        .await?;
    ensure!(lines[0]["account"] == *gap, "{lines:?}");
    operator.settled().await
}

/// One `redrive` publishes the account whose cursor is lost, and reports those whose cursor is unreadable or
/// ahead of the events table. With `--reset-cursor`, it resets them.
async fn each_faulty_cursor_is_repaired_independently(operator: &Operator) -> Result<()> {
    let ids = [
        operator.open().await?,
        operator.open().await?,
        operator.open().await?,
    ];
    let [missing, damaged, ahead] = &ids;
    operator.settled().await?;
    let dynamodb = &operator.clients.dynamodb;
    let table = &operator.local.cursor_table;
    let key = |id: &str| AttributeValue::S(id.to_owned());
    let delete = dynamodb.delete_item().table_name(table);
    delete.key("Id", key(missing)).send().await?;
    let text = AttributeValue::S("nine".to_owned());
    for (id, value) in [(damaged, text), (ahead, number(999))] {
        dynamodb
            .update_item()
            .table_name(table)
            .key("Id", key(id))
            .update_expression("SET PublishedThrough = :value")
            .expression_attribute_values(":value", value)
            .send()
            .await?;
    }

    let find = |lines: &[Value], id: &str| -> Result<Value> {
        let line = lines.iter().find(|line| line["account"] == *id);
        line.cloned().with_context(|| format!("{lines:?}"))
    };
    let lines = operator.expect(&["redrive"], 3).await?;
    ensure!(lines.len() == 4, "{lines:?}");
    ensure!(find(&lines, missing)?["publishedThrough"] == 1, "{lines:?}");
    ensure!(
        find(&lines, damaged)?["cursorUnreadable"]
            .as_str()
            .is_some_and(|reason| reason.contains("PublishedThrough")),
        "{lines:?}"
    );
    let wrong = find(&lines, ahead)?;
    ensure!(
        wrong["cursorAhead"] == 999 && wrong["events"] == 1,
        "{lines:?}"
    );

    // The translator blocks the account instead of skipping the next event as a duplicate.
    let path = format!("/accounts/{ahead}/credit");
    let (status, answer) = operator.post(&path, &json!({ "amount": 5 })).await?;
    ensure!(status == 200, "{status}: {answer}");
    let started = Instant::now();
    loop {
        let planned = ["redrive", "--blocked", "--reset-cursor", "--dry-run"];
        let planned = operator.expect(&planned, 0).await?;
        if planned.iter().any(|line| line["account"] == **ahead) {
            break;
        }
        ensure!(
            started.elapsed() < DEADLINE,
            "the account is not blocked: {planned:?}"
        );
    }
    let lines = operator.expect(&["redrive", "--reset-cursor"], 0).await?;
    let last = lines.last().context("a summary")?;
    ensure!(last["published"] == 2, "{lines:?}");
    ensure!(
        lines
            .iter()
            .filter(|line| line.get("reset").is_some())
            .count()
            == 2,
        "{lines:?}"
    );
    operator.settled().await?;

    let beyond = ["republish", "--account", ahead, "--from", "12"];
    let lines = operator.expect(&beyond, 3).await?;
    ensure!(lines[0]["events"] == 2, "{lines:?}");
    Ok(())
}

/// Prints from the beginning of the stream, for one account and for one type.
async fn tail_prints_the_events_of_one_account_and_type(operator: &Operator) -> Result<()> {
    let id = operator.open().await?;
    let path = format!("/accounts/{id}");
    for (command, amount) in [("credit", 9), ("withdraw", 4), ("credit", 2)] {
        let (status, _) = operator
            .post(&format!("{path}/{command}"), &json!({ "amount": amount }))
            .await?;
        ensure!(status == 200, "{command} returned {status}");
    }
    let all = operator.follow(&["--account", &id], 4).await?;
    let sequences: Vec<Value> = all
        .iter()
        .map(|event| event["data"]["sequence"].clone())
        .collect();
    ensure!(sequences == [1, 2, 3, 4], "{all:?}");
    let credits = operator
        .follow(&["--account", &id, "--type", "BalanceCredited"], 2)
        .await?;
    ensure!(credits == [all[1].clone(), all[3].clone()], "{credits:?}");
    operator.follow_and_close().await
}

async fn read_models_are_rebuilt_while_queries_continue(operator: &Operator) -> Result<()> {
    let rows: Vec<WriteRequest> = (0..LEGACY)
        .flat_map(|account| {
            let id = format!("legacy-{account:05}");
            [
                legacy_row(&id, 1, "CREATED", None),
                legacy_row(&id, 2, "SNAPSHOT", Some(("Balance", number(0)))),
                legacy_row(&id, 3, "CREDIT", Some(("Amount", number(account + 1)))),
            ]
        })
        .map(|row| {
            let put = PutRequest::builder().set_item(Some(row)).build();
            Ok(WriteRequest::builder().put_request(put?).build())
        })
        .collect::<Result<_>>()?;
    for chunk in rows.chunks(25) {
        let table = operator.local.events_table.clone();
        operator
            .clients
            .dynamodb
            .batch_write_item()
            .request_items(table, chunk.to_vec())
            .send()
            .await?;
    }
    operator
        .settled()
        .await
        .context("the legacy accounts lag")?;

    // Damage for the rebuild: a view that differs, a missing view, and a view without events.
    let views = &operator.local.view_table;
    let key = |id: &str| AttributeValue::S(id.to_owned());
    let dynamodb = &operator.clients.dynamodb;
    dynamodb
        .update_item()
        .table_name(views)
        .key("Id", key("legacy-00001"))
        .update_expression("SET Balance = :wrong")
        .expression_attribute_values(":wrong", number(999))
        .send()
        .await?;
    dynamodb
        .delete_item()
        .table_name(views)
        .key("Id", key("legacy-00002"))
        .send()
        .await?;
    dynamodb
        .put_item()
        .table_name(views)
        .item("Id", key("without-events"))
        .item("Sequence", number(1))
        .send()
        .await?;
    let found = operator.expect(&["verify"], 3).await?;
    let last = found.last().context("a summary")?;
    ensure!(
        last["findings"]
            == json!({ "view-behind": 1, "view-differs": 1, "view-without-events": 1 }),
        "{last}"
    );

    // One rebuild is killed. Then both read models are rebuilt while queries continue.
    let mut killed = operator
        .command(&["rebuild", "accounts"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    killed.kill()?;
    killed.wait()?;
    let over = AtomicBool::new(false);
    let read = async {
        let mut answers = 0;
        while !over.load(Ordering::Relaxed) {
            let url = format!("{}/accounts/legacy-00007", operator.local.api_url);
            let answer = operator.http.get(url).send().await?;
            ensure!(answer.status() == 200, "the reader returned {answer:?}");
            let view: Value = answer.json().await?;
            ensure!(view["balance"] == 8, "the reader returned {view}");
            answers += 1;
        }
        Ok::<usize, anyhow::Error>(answers)
    };
    let rebuild = async {
        for model in ["accounts", "transactions"] {
            let lines = operator.expect(&["rebuild", model], 0).await?;
            let last = lines.last().context("a summary")?;
            ensure!(last["parity"] == true, "{last}");
        }
        over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (answers, ()) = tokio::try_join!(read, rebuild)?;
    ensure!(answers > 0);
    operator.expect(&["verify"], 0).await?;
    Ok(())
}

async fn a_new_consumer_receives_all_events(operator: &Operator) -> Result<()> {
    let stream = &operator.local.stream_name;
    let kinesis = operator.clients.kinesis.clone();
    let mut consumer = Follower::starting(kinesis, stream, Start::Latest);
    ensure!(
        consumer.read().await?.is_empty(),
        "the consumer starts after the last event"
    );
    let lines = operator.expect(&["republish", "--all"], 0).await?;
    let accounts = lines.last().context("a summary")?["accounts"].clone();

    // The sequence gate of a consumer.
    let mut applied: HashMap<String, u64> = HashMap::new();
    let mut events = 0;
    loop {
        let records = consumer.read().await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let event: Value = serde_json::from_slice(&record)?;
            let subject = event["subject"].as_str().context("a subject")?;
            let sequence = event["data"]["sequence"].as_u64().context("a sequence")?;
            let through = applied.entry(subject.to_owned()).or_default();
            ensure!(sequence <= *through + 1, "a gap before {event}");
            events += u64::from(sequence > *through);
            *through = sequence.max(*through);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let verified = operator.expect(&["verify"], 0).await?;
    let last = verified.last().context("a summary")?;
    ensure!(
        last["events"] == events && last["accounts"] == accounts && accounts == applied.len(),
        "{events} events of {} accounts were received, but {last}",
        applied.len()
    );
    let sampled = operator.expect(&["verify", "--sample", "5"], 0).await?;
    ensure!(sampled.last().context("a summary")?["accounts"] == 5);
    Ok(())
}

/// The deployment file names, for each table that a command writes, a table of another role.
async fn a_table_of_another_role_is_refused(operator: &Operator) -> Result<()> {
    let local: Value = serde_json::to_value(&operator.local)?;
    for (command, name, wrong, role) in [
        (&["redrive"][..], "cursorTable", "viewTable", "cursors"),
        (
            &["republish", "--all"],
            "cursorTable",
            "eventsTable",
            "cursors",
        ),
        (
            &["rebuild", "accounts"],
            "viewTable",
            "cursorTable",
            "views",
        ),
        (
            &["rebuild", "accounts"],
            "historyTable",
            "eventsTable",
            "history",
        ),
        (
            &["rebuild", "transactions"],
            "historyTable",
            "eventsTable",
            "history",
        ),
    ] {
        let table = local[wrong].as_str().context("a name")?;
        let mut changed = local.clone();
        changed[name] = table.into();
        let path = operator.state.join("other-role.json");
        std::fs::write(&path, changed.to_string())?;
        let path = path.to_string_lossy();
        let mut arguments = command.to_vec();
        arguments.extend(["--deployment", &path]);
        let finished = operator.run(&arguments).await?;
        let is_named = ["nothing was written", table, &format!("`{role}`")]
            .iter()
            .all(|part| finished.errors.contains(part));
        ensure!(
            finished.code == 1 && is_named,
            "{arguments:?}: {} {}",
            finished.code,
            finished.errors
        );
    }
    Ok(())
}

/// The deployment file of a version without a reconciler.
async fn a_deployment_without_reconciler_is_not_checked_for_it(operator: &Operator) -> Result<()> {
    let mut previous = serde_json::to_value(&operator.local)?;
    let names = previous.as_object_mut().context("an object")?;
    names.retain(|name, _| !name.starts_with("reconciler"));
    let path = operator.state.join("previous.json");
    std::fs::write(&path, previous.to_string())?;
    let path = path.to_string_lossy();
    let finished = operator
        .expect(&["verify", "--deployment", &path], 3)
        .await?;
    let not_checked: Vec<_> = finished
        .iter()
        .filter(|it| it["notChecked"].is_string())
        .collect();
    ensure!(
        not_checked.len() == 1
            && not_checked[0]["reason"]
                .to_string()
                .contains("no reconciler"),
        "{finished:?}"
    );
    let finished = operator.run(&["reconcile", "--deployment", &path]).await?;
    ensure!(
        finished.code == 1 && finished.errors.contains("no reconciler"),
        "{} {}",
        finished.code,
        finished.errors
    );
    Ok(())
}

async fn errors_name_their_cause(operator: &Operator) -> Result<()> {
    let local: Value = serde_json::to_value(&operator.local)?;
    let changed = |name: &str, value: &str| -> Result<PathBuf> {
        let mut local = local.clone();
        local[name] = value.into();
        let path = operator.state.join(format!("wrong-{name}.json"));
        std::fs::write(&path, local.to_string())?;
        Ok(path)
    };
    let no_table = changed("eventsTable", "no-such-table")?;
    let nowhere = changed("endpointUrl", "http://127.0.0.1:1")?;
    let outputs = operator.state.join("wrong-outputs.json");
    std::fs::write(&outputs, json!({ "Millrace": {} }).to_string())?;
    let deployment = |path: &PathBuf| path.to_string_lossy().into_owned();
    for command in [
        &["verify"][..],
        &["redrive"],
        &["republish", "--all"],
        &["rebuild", "accounts"],
        &["inspect", "--account", "a"],
    ] {
        for (wrong, message) in [
            (&no_table, "no-such-table"),
            (&nowhere, "Connection refused"),
        ] {
            let path = deployment(wrong);
            let mut arguments = command.to_vec();
            arguments.extend(["--deployment", &path]);
            let finished = operator.run(&arguments).await?;
            ensure!(
                finished.code == 1 && finished.errors.contains(message),
                "{arguments:?}: {} {}",
                finished.code,
                finished.errors
            );
        }
    }
    for (arguments, code, message) in [
        (
            &["inspect", "--account", "unknown"][..],
            1,
            "no account unknown",
        ),
        (&["verify", "--account", "unknown"], 1, "no account unknown"),
        (&["redrive", "--account", ""], 2, "not an id"),
        (&["tail", "--from", "noon"], 2, "RFC 3339"),
    ] {
        let finished = operator.run(arguments).await?;
        ensure!(
            finished.code == code && finished.errors.contains(message),
            "{arguments:?}: {} {}",
            finished.code,
            finished.errors
        );
    }
    let mut command = operator.command(&["verify", "--deployment", &deployment(&outputs)]);
    command
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env("AWS_REGION", "eu-north-1")
        .env("AWS_CONFIG_FILE", operator.state.join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", operator.state.join("none"))
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let errors = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1) && errors.contains("no AWS credentials"),
        "{errors}"
    );
    Ok(())
}
