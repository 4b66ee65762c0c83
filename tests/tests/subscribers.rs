//! Tests the example subscribers as repositories of their own: copies them out of this one, runs their tests with only
//! the packed packages, deploys them with the packed constructs to a local stack, and delivers a hostile feed to the
//! deployed functions.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use futures_util::future::{Either, join_all, select};
use millrace_cli::clients::Clients;
use millrace_consumer::testing::{HostileFeed, Report};
use millrace_local_stack::Workspace;
use millrace_local_stack::files::remove_if_there;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::node;
use millrace_local_stack::setup::python::{self, Environment};
use millrace_local_stack::stack::{CREDENTIAL, Local, LocalStack, Options};
use millrace_tests::outside::{
    Outside, copy_files, locked, pack, root, run, target, use_packed, write,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

const SOURCE: &str = "urn:millrace:accounts";
/// The threshold of the example, in minor units.
const THRESHOLD: i64 = 10_000;
/// This machine's architecture, as Lambda names it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};
/// How many feeds each function gets at least.
const FEEDS: u64 = 2;
/// How many feeds each function gets at most, if no invocation was killed in those before.
const MOST_FEEDS: u64 = 10;
/// In each feed, every third invocation is killed, unless it ends before.
const KILLED: u32 = 3;
/// The number of different moments at which invocations are killed.
const MOMENTS: u32 = 8;
/// The time between two of these moments.
const APART: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(90);

/// The tools and folders of the test.
struct Outsiders {
    folder: PathBuf,
    packed: PathBuf,
    target: PathBuf,
    /// The interpreter of the local stack, which has boto3, as Lambda has.
    python: PathBuf,
}

/// A deployed subscriber.
#[derive(Debug)]
struct Deployed {
    function: String,
    positions: String,
    notifications: String,
    undecodable: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_act_once_per_event() -> Result<()> {
    let root = root()?;
    let target = target(&root);
    let workspace = Workspace::at(&root);
    node::set_up(&workspace, &Progress::Silent).await?;
    let programs = python::set_up(&workspace, Environment::Stack, &Progress::Silent).await?;
    let outside = Outside::take(&root, "subscribers")?;
    let outsiders = Outsiders {
        folder: outside.folder.clone(),
        packed: pack(&root, &target)?,
        target,
        python: programs.join("python"),
    };
    for example in ["python", "node", "rust", "infra"] {
        let name = format!("examples/subscriber-{example}");
        copy_files(&root.join(&name), &outsiders.folder.join(&name))?;
    }
    // The examples' tests generate their types again from the publisher's schemas.
    let schemas = outsiders.folder.join("contracts/schemas");
    copy_files(&outsiders.packed.join("schemas"), &schemas)?;
    let codes = [
        ("python", outsiders.python()?),
        ("node", outsiders.node()?),
        ("rust", outsiders.rust()?),
    ];
    outsiders.install_infra()?;

    let state = workspace.local_folder().join("subscribers");
    let stack = LocalStack::start(Options::new(workspace, state)).await?;
    let clients = Clients::of(stack.local());
    let describing = clients.kinesis.describe_stream_summary();
    let stream = describing
        .stream_name(&stack.local().stream_name)
        .send()
        .await?;
    let stream = stream
        .stream_description_summary
        .context("a description")?
        .stream_arn;
    let mut deployed = BTreeMap::new();
    for (language, code) in codes {
        let subscriber = outsiders.deploy(stack.local(), &stream, language, &code)?;
        deployed.insert(language, subscriber);
    }
    let results = join_all(deployed.iter().map(async |(language, subscriber)| {
        notifies_once_under_the_hostile_feed(&clients, language, subscriber)
            .await
            .with_context(|| format!("the subscriber in {language}"))
    }));
    for result in results.await {
        result?;
    }
    notify_of_live_events(&clients, stack.local(), &deployed).await?;
    stack.stop()
}

impl Outsiders {
    fn folder(&self, example: &str) -> PathBuf {
        self.folder.join(format!("examples/subscriber-{example}"))
    }

    /// Tests the subscriber in Python, and returns the folder of the function.
    fn python(&self) -> Result<PathBuf> {
        let folder = self.folder("python");
        let build = folder.join("build");
        remove_if_there(&build)?;
        let wheel = packed(&self.packed, "millrace_consumer-", ".whl")?;
        run(Command::new(&self.python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--no-index",
                "--target",
            ])
            .args([&build, &wheel]))?;
        for file in ["app.py", "events.py"] {
            fs::copy(folder.join(file), build.join(file))?;
        }
        let shown = run(Command::new(&self.python)
            .args(["-m", "unittest", "discover", "--start-directory", "tests"])
            .env("PYTHONPATH", &build)
            .current_dir(&folder))?;
        ensure!(shown.contains("\nOK"), "{shown}");
        Ok(build)
    }

    /// Tests the subscriber for Node.js, and returns the folder of the function.
    fn node(&self) -> Result<PathBuf> {
        let folder = self.folder("node");
        self.install(&folder)?;
        run(Command::new("npm").arg("test").current_dir(&folder))?;
        run(Command::new("npm")
            .args(["run", "build"])
            .current_dir(&folder))?;
        Ok(folder.join("dist"))
    }

    /// Tests the subscriber in Rust, and returns the folder of the function.
    fn rust(&self) -> Result<PathBuf> {
        let folder = self.folder("rust");
        let patch = fs::read_to_string(self.packed.join("config.toml"))?;
        // Cargo would write the crates that the subscriber doesn't use into the lock file.
        let used = ["[patch", "millrace-consumer ", "millrace-core "];
        let lines = patch
            .lines()
            .filter(|line| used.iter().any(|used| line.starts_with(used)));
        let patch = lines.collect::<Vec<_>>().join("\n");
        write(&folder.join(".cargo/config.toml"), patch.as_bytes())?;
        let cargo = |command: &str| {
            run(Command::new(env!("CARGO"))
                .args([command, "--offline", "--locked"])
                .env("CARGO_TARGET_DIR", &self.target)
                .current_dir(&folder))
        };
        let shown = cargo("test")?;
        ensure!(
            shown.contains("notifies_once_under_the_hostile_feed ... ok"),
            "{shown}"
        );
        cargo("build")?;
        let code = folder.join("build");
        fs::create_dir_all(&code)?;
        fs::copy(self.target.join("debug/bootstrap"), code.join("bootstrap"))?;
        Ok(code)
    }

    fn install_infra(&self) -> Result<()> {
        let folder = self.folder("infra");
        self.install(&folder)?;
        run(Command::new("npm")
            .args(["run", "check"])
            .current_dir(&folder))?;
        Ok(())
    }

    fn install(&self, folder: &Path) -> Result<()> {
        use_packed(&folder.join("package.json"), &self.packed)?;
        // The archive of a package may have changed under the same name.
        remove_if_there(&folder.join("node_modules"))?;
        remove_if_there(&folder.join("package-lock.json"))?;
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund"])
            .current_dir(folder))?;
        Ok(())
    }

    /// Deploys a subscriber to the local stack.
    fn deploy(&self, local: &Local, stream: &str, language: &str, code: &Path) -> Result<Deployed> {
        let folder = self.folder("infra");
        let outputs = folder.join(format!("outputs-{language}.json"));
        let nowhere = self.folder.join("no-aws-config");
        let assembly = folder.join("cdk.out").join(language);
        // An interrupted synthesis leaves incomplete assets, which the next one takes for complete.
        remove_if_there(&assembly)?;
        let mut cdk = Command::new("npx");
        cdk.args([
            "cdk",
            "deploy",
            "--require-approval",
            "never",
            "--method",
            "direct",
        ])
        .args(["--no-notices", "--no-color", "--outputs-file"])
        .arg(&outputs)
        .args(["--context", &format!("subscriber={language}")])
        .args(["--context", &format!("code={}", code.display())])
        .args(["--context", &format!("streamArn={stream}")])
        .args(["--context", "removalPolicy=destroy", "--context"])
        .arg(format!("architecture={ARCHITECTURE}"))
        .arg("--output")
        .arg(&assembly)
        .current_dir(&folder)
        .env("AWS_ENDPOINT_URL", &local.endpoint_url)
        .env("AWS_REGION", &local.region)
        .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
        .env("AWS_CONFIG_FILE", &nowhere)
        .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("CDK_DISABLE_CLI_TELEMETRY", "true")
        .env("NO_PROXY", "127.0.0.1,localhost");
        run(&mut cdk)?;
        let outputs: Value = serde_json::from_slice(&fs::read(&outputs)?)?;
        let stack = outputs
            .as_object()
            .and_then(|stacks| stacks.values().next());
        let stack = stack.context("no stack has outputs")?;
        let output = |name: &str| {
            let value = stack[name].as_str();
            let value = value.with_context(|| format!("no output {name} in {stack}"));
            value.map(str::to_owned)
        };
        Ok(Deployed {
            function: output("FunctionName")?,
            positions: output("PositionsTable")?,
            notifications: output("NotificationsTable")?,
            undecodable: output("UndecodableTable")?,
        })
    }
}

/// The one packed file with this name.
fn packed(folder: &Path, begin: &str, end: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(begin) && name.ends_with(end) {
            return Ok(entry.path());
        }
    }
    bail!("no {begin}…{end} in {}", folder.display())
}

fn event(account: &str, sequence: u64, event_type: &str, version: u32, mut data: Value) -> Vec<u8> {
    data["accountId"] = account.into();
    data["sequence"] = sequence.into();
    data["currency"] = "EUR".into();
    let event = json!({
        "specversion": "1.0", "id": format!("{account}:{sequence}"), "source": SOURCE, "type": event_type,
        "subject": account, "time": "2026-11-20T21:03:05.123Z", "datacontenttype": "application/json",
        "dataschema": format!("urn:millrace:schema:{event_type}:{version}"), "data": data,
    });
    event.to_string().into_bytes()
}

/// The events of an account that is opened, and whose balance then changes by these amounts.
fn history(account: &str, changes: &[i64]) -> Vec<Vec<u8>> {
    let created = event(account, 1, "AccountCreated", 1, json!({}));
    let changes = (2..).zip(changes).map(|(sequence, change)| {
        let amount = change.abs();
        match (*change > 0, sequence % 2) {
            (true, _) => event(
                account,
                sequence,
                "BalanceCredited",
                1,
                json!({"amount": amount}),
            ),
            (false, 0) => event(
                account,
                sequence,
                "BalanceWithdrawn",
                1,
                json!({"amount": amount}),
            ),
            (false, _) => {
                let data = json!({"amount": amount, "channel": "atm"});
                event(account, sequence, "BalanceWithdrawn", 2, data)
            }
        }
    });
    [created].into_iter().chain(changes).collect()
}

/// The sequences of the withdrawals that cross the threshold, with the balance after each.
fn crossings(changes: &[i64]) -> BTreeMap<u64, i64> {
    let mut balance = 0;
    let mut crossings = BTreeMap::new();
    for (sequence, change) in (2..).zip(changes) {
        let before = balance;
        balance += change;
        if before >= THRESHOLD && balance < THRESHOLD {
            crossings.insert(sequence, balance);
        }
    }
    crossings
}

async fn notifies_once_under_the_hostile_feed(
    clients: &Clients,
    language: &str,
    subscriber: &Deployed,
) -> Result<()> {
    const CHANGES: [&[i64]; 3] = [
        &[15_000, -6_000, 2_000, -2_000, 1_000, 1_000, -20_000],
        &[50_000],
        &[10_000, -1, 1, -1, 1, -1],
    ];
    let (mut expected, mut undecodable) = (BTreeMap::new(), 0);
    let killed = Cell::new(0);
    for seed in 0..MOST_FEEDS {
        if seed >= FEEDS && killed.get() > 0 {
            break;
        }
        let mut feed = HostileFeed::new(seed, SOURCE).with_gaps();
        for (number, changes) in CHANGES.iter().enumerate() {
            let account = format!("{language}-{seed}-{number}");
            feed = feed.history(&account, history(&account, changes));
            expected.insert(account, (changes.len() + 1, crossings(changes)));
        }
        let invocations = Cell::new(0_u32);
        let report = feed.run(|body| {
            invocations.set(invocations.get() + 1);
            let number = invocations.get();
            let killed = &killed;
            async move {
                let invoking = invoke(clients, &subscriber.function, body);
                if !number.is_multiple_of(KILLED) {
                    return invoking.await;
                }
                let moment = APART * (number / KILLED % MOMENTS);
                let invoking = pin!(invoking);
                let killing = pin!(kill(&subscriber.function, moment));
                let result = match select(invoking, killing).await {
                    Either::Left((result, _)) => return result,
                    Either::Right(((), invoking)) => invoking.await,
                };
                killed.set(killed.get() + u32::from(result.is_err()));
                result
            }
        });
        let report: Report = report.await?;
        ensure!(report.at_once > 0 && report.duplicates > 0, "{report:?}");
        undecodable += report.undecodable;
    }
    ensure!(killed.get() > 0, "no invocation was killed");
    let notified = scan(clients, &subscriber.notifications).await?;
    let positions = scan(clients, &subscriber.positions).await?;
    let mut count = 0;
    for (account, (events, crossings)) in expected {
        let position = positions
            .iter()
            .find(|item| text(item, "Subject") == Some(&account));
        let position = position.with_context(|| format!("{account} has no position"))?;
        ensure!(
            number(position, "Sequence") == i64::try_from(events).ok(),
            "{position:?}"
        );
        ensure!(!position.contains_key("Missing"), "{position:?}");
        let found: BTreeMap<_, _> = notified
            .iter()
            .filter(|item| text(item, "Account") == Some(&account))
            .filter_map(|item| {
                Some((
                    number(item, "Sequence")?.unsigned_abs(),
                    number(item, "Balance")?,
                ))
            })
            .collect();
        ensure!(
            found == crossings,
            "{account}: {found:?} instead of {crossings:?}"
        );
        count += crossings.len();
    }
    ensure!(notified.len() == count, "{notified:?}");
    let stored = scan(clients, &subscriber.undecodable).await?.len();
    // The feeds' undecodable records have the same positions, and so the same ids, in part.
    let is_plausible = stored > 0 && stored <= usize::try_from(undecodable)?;
    ensure!(
        is_plausible,
        "{stored} of {undecodable} undecodable records are stored"
    );
    Ok(())
}

/// Invokes a function as Lambda does, and returns its response.
async fn invoke(clients: &Clients, function: &str, body: Vec<u8>) -> Result<Value> {
    let output = clients
        .lambda
        .invoke()
        .function_name(function)
        .payload(Blob::new(body))
        .send()
        .await
        .context("the invocation failed")?;
    let payload = output.payload.map(Blob::into_inner).unwrap_or_default();
    if let Some(error) = output.function_error {
        bail!("{error}: {}", String::from_utf8_lossy(&payload));
    }
    serde_json::from_slice(&payload).context("the response is no JSON")
}

/// Kills the processes that run a function, some time after there is one.
async fn kill(function: &str, after: Duration) {
    while processes(function).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(after).await;
    for process in processes(function) {
        // This fails if the process has just ended.
        kill_process(process, Signal::KILL).ok();
    }
}

/// The processes that run a function.
fn processes(function: &str) -> Vec<Pid> {
    let variable = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_function = |process: &Path| {
        // A process that has ended has no environment.
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|it| it == variable.as_bytes())
    };
    let processes = processes
        .flatten()
        .filter(|process| is_function(&process.path()));
    processes
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
        .collect()
}

type Item = std::collections::HashMap<String, AttributeValue>;

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

async fn scan(clients: &Clients, table: &str) -> Result<Vec<Item>> {
    let pages = clients
        .dynamodb
        .scan()
        .table_name(table)
        .consistent_read(true);
    let items = pages.into_paginator().items().send();
    Ok(items.collect::<Result<_, _>>().await?)
}

/// An account's withdrawal through the API is notified once by each subscriber, through its mapping.
async fn notify_of_live_events(
    clients: &Clients,
    local: &Local,
    deployed: &BTreeMap<&str, Deployed>,
) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let post = async |path: &str, body: Value| -> Result<Value> {
        let request = http.post(format!("{}{path}", local.api_url)).json(&body);
        let response = request.send().await?.error_for_status()?;
        Ok(response.json().await?)
    };
    let created = post("/accounts", json!({"currency": "EUR"})).await?;
    let account = created["accountId"].as_str().context("an id")?.to_owned();
    post(
        &format!("/accounts/{account}/credit"),
        json!({"amount": THRESHOLD}),
    )
    .await?;
    post(
        &format!("/accounts/{account}/withdraw"),
        json!({"amount": 1}),
    )
    .await?;
    post(&format!("/accounts/{account}/credit"), json!({"amount": 5})).await?;
    for (language, subscriber) in deployed {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let positions = scan(clients, &subscriber.positions).await?;
            let position = positions
                .iter()
                .find(|item| text(item, "Subject") == Some(&account));
            if position.and_then(|item| number(item, "Sequence")) == Some(4) {
                break;
            }
            ensure!(Instant::now() < deadline, "{language}: {position:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let notified = scan(clients, &subscriber.notifications).await?;
        let of_account = notified
            .iter()
            .filter(|item| text(item, "Account") == Some(&account));
        let sequences: Vec<_> = of_account
            .filter_map(|item| number(item, "Sequence"))
            .collect();
        ensure!(sequences == [3], "{language}: {sequences:?}");
    }
    Ok(())
}

/// With other packages, the example would be built with versions that this repository's tests don't use.
#[test]
fn the_subscriber_in_rust_locks_the_same_packages() -> Result<()> {
    let root = root()?;
    let ours = locked(&root.join("Cargo.lock"))?;
    let example = locked(&root.join("examples/subscriber-rust/Cargo.lock"))?;
    let own = |package: &&String| package.contains("\"low-balance-notifier\"");
    let others: Vec<_> = example.difference(&ours).filter(|it| !own(it)).collect();
    ensure!(others.is_empty(), "only in the example: {others:?}");
    ensure!(example.len() > 100, "{example:?}");
    Ok(())
}
