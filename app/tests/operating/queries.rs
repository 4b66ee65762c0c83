//! Each named query, run by `millrace query` on a known history in the local lake, and compared with the fold of the
//! events in Rust.
//!
//! The history has a database of its own: its table and its view are those that the CDK app has deployed, with another
//! folder of the lake's bucket.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_cli::Application as _;
use millrace_core::Project as _;
use millrace_domain::money::MAX_MINOR_UNITS;
use millrace_domain::{Accounts, PublicEvent};
use serde_json::{Value, json};

use crate::Operator;
use crate::known_history::{self, ACCOUNTS, Envelope, History, MISSING};

const DATABASE: &str = "known_history";
const FOLDER: &str = "known-history/";
/// The days of all events.
const DAYS: [&str; 4] = ["--set", "from=2026-09-01", "--set", "to=2026-12-31"];

/// A row as text.
type Row = Vec<String>;

pub(crate) async fn named_queries_equal_the_fold(operator: &Operator) -> Result<()> {
    let history = History::new();
    let lake = Lake::put(operator, &history).await?;
    let events = history.events();
    ensure!(events.len() > 500, "{} events", events.len());
    let mut checked = Vec::new();
    let mut check = async |name: &str, flags: &[&str], expected: Vec<Row>| -> Result<()> {
        let rows = lake.query(operator, name, flags).await?;
        ensure!(!expected.is_empty(), "{name}: nothing is expected");
        ensure!(
            rows == expected,
            "{name}:\n{rows:#?}\ninstead of\n{expected:#?}"
        );
        checked.push(name.to_owned());
        Ok(())
    };
    for account in [0, 1, 20, ACCOUNTS - 1] {
        let id = known_history::id(account);
        let set = format!("account={id}");
        let flags = [&["--set", &set][..], &DAYS].concat();
        check("account-statement", &flags, statement(&events, &id)).await?;
    }
    for at in ["2026-10-05T00:00:00Z", "2026-12-31T00:00:00Z"] {
        let set = format!("at={at}");
        check("balances", &["--set", &set], balances(&events, at)).await?;
    }
    let part = ["--set", "from=2026-10-03", "--set", "to=2026-10-05"];
    for (days, from, to) in [
        (DAYS, "2026-09-01", "2026-12-31"),
        (part, "2026-10-03", "2026-10-05"),
    ] {
        let events = of_days(&events, from, to);
        check("daily-report", &days, daily_report(&events)).await?;
        let flags = [&days[..], &["--set", "number=7"]].concat();
        check("largest-movements", &flags, largest(&events, 7)).await?;
        check("busiest-accounts", &flags, busiest(&events, 7)).await?;
    }
    let missing = [
        known_history::id(ACCOUNTS - 1),
        MISSING[0].to_string(),
        MISSING[1].to_string(),
        "2".to_owned(),
    ];
    check("missing-sequences", &[], vec![missing.to_vec()]).await?;
    let since = ["--set", "from=2026-09-01"];
    check("duplicates", &since, duplicates(&history, &events)).await?;
    check("late-events", &since, late(&history)).await?;
    check("lake-delay", &DAYS, delays(&history)).await?;
    checked.dedup();
    let all = millrace_app::AccountsApp::queries().iter();
    for (name, _) in all {
        ensure!(checked.iter().any(|it| it == name), "{name} isn't checked");
    }
    the_output_is_readable(operator, &lake).await
}

/// The table, the CSV and the chart.
async fn the_output_is_readable(operator: &Operator, lake: &Lake) -> Result<()> {
    let chart = operator.folder.path().join("chart.svg");
    let chart = chart.to_str().context("a path")?;
    let arguments = [&["query", "largest-movements"][..], &DAYS].concat();
    let text = lake.text(operator, &arguments).await?;
    ensure!(text.contains("90071992547409.91"), "{text}");
    let arguments = [&["query", "daily-report", "--svg", chart][..], &DAYS].concat();
    let text = lake.text(operator, &arguments).await?;
    ensure!(text.contains("████"), "{text}");
    let svg = std::fs::read_to_string(chart)?;
    ensure!(svg.contains("2026-10-01") && svg.contains("JPY"), "{svg}");
    let arguments = [&["--json", "query", "largest-movements"][..], &DAYS].concat();
    let text = lake.text(operator, &arguments).await?;
    let first: Value = serde_json::from_str(text.lines().next().context("a row")?)?;
    ensure!(first["amount"] == MAX_MINOR_UNITS, "{first}");
    Ok(())
}

/// The known history in the lake's bucket, and the deployment whose database contains it.
struct Lake {
    deployment: std::path::PathBuf,
}

impl Lake {
    async fn put(operator: &Operator, history: &History) -> Result<Self> {
        let local = &operator.local;
        for (key, lines) in history.objects() {
            let object = operator.clients.s3.put_object().bucket(&local.lake_bucket);
            let object = object.key(format!("{FOLDER}{key}")).body(lines.into());
            object.send().await?;
        }
        glue(
            operator,
            "CreateDatabase",
            &json!({ "DatabaseInput": { "Name": DATABASE } }),
        )
        .await?;
        for table in [&*local.glue_table, "domain_events"] {
            let named = json!({ "DatabaseName": local.glue_database, "Name": table });
            let deployed = glue(operator, "GetTable", &named).await?;
            let mut table = deployed["Table"].clone();
            let storage = &mut table["StorageDescriptor"]["Location"];
            if !storage.as_str().unwrap_or_default().is_empty() {
                *storage = json!(format!("s3://{}/{FOLDER}", local.lake_bucket));
            }
            if let Some(text) = table["ViewOriginalText"].as_str() {
                table["ViewOriginalText"] = in_database(text, &local.glue_database)?.into();
            }
            let create = json!({ "DatabaseName": DATABASE, "TableInput": table });
            glue(operator, "CreateTable", &create).await?;
        }
        let deployment = operator.folder.path().join("known-history.json");
        let mut names: Value =
            serde_json::from_slice(&std::fs::read(operator.state.join("local.json"))?)?;
        names["glueDatabase"] = json!(DATABASE);
        std::fs::write(&deployment, names.to_string())?;
        Ok(Self { deployment })
    }

    /// Runs a named query, and returns its rows.
    async fn query(&self, operator: &Operator, name: &str, flags: &[&str]) -> Result<Vec<Row>> {
        let arguments = [&["query", name, "--csv"], flags].concat();
        let text = self.text(operator, &arguments).await?;
        let rows = text.lines().skip(1);
        let rows = rows.map(|line| line.split(',').map(str::to_owned).collect());
        Ok(rows.collect())
    }

    /// Runs a command that must succeed, and returns what it printed for people.
    async fn text(&self, operator: &Operator, arguments: &[&str]) -> Result<String> {
        let mut command = operator.command_for_people(arguments);
        command.env("MILLRACE_DEPLOYMENT", &self.deployment);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The text of a view, which names another database.
fn in_database(text: &str, database: &str) -> Result<String> {
    const MARKS: (&str, &str) = ("/* Presto View: ", " */");
    let encoded = text
        .strip_prefix(MARKS.0)
        .and_then(|text| text.strip_suffix(MARKS.1));
    let definition = String::from_utf8(STANDARD.decode(encoded.context("a view")?)?)?;
    ensure!(definition.contains(database), "{definition}");
    let definition = STANDARD.encode(definition.replace(database, DATABASE));
    Ok(format!("{}{definition}{}", MARKS.0, MARKS.1))
}

/// Calls the emulator's Glue, for which the command has no client.
async fn glue(operator: &Operator, action: &str, body: &Value) -> Result<Value> {
    let request = operator
        .http
        .post(&operator.local.endpoint_url)
        .header("x-amz-target", format!("AWSGlue.{action}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string());
    let answer = request.send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{action}: {status} {text}");
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

type Events<'a> = BTreeMap<(&'a str, u64), &'a Envelope>;

/// An event's type, the amount by which it changes the balance, and its channel.
fn movement(event: &PublicEvent) -> (&'static str, i128, &'static str) {
    match event {
        PublicEvent::AccountCreated { .. } => ("AccountCreated", 0, ""),
        PublicEvent::BalanceCredited { amount, .. } => {
            ("BalanceCredited", amount.minor_units().into(), "")
        }
        PublicEvent::BalanceWithdrawn { amount, .. } => {
            ("BalanceWithdrawn", -i128::from(amount.minor_units()), "")
        }
        PublicEvent::BalanceWithdrawn2 {
            amount, channel, ..
        } => {
            let channel = match channel {
                millrace_domain::Channel::Branch => "branch",
                millrace_domain::Channel::Atm => "atm",
                millrace_domain::Channel::Online => "online",
            };
            (
                "BalanceWithdrawn",
                -i128::from(amount.minor_units()),
                channel,
            )
        }
    }
}

fn currency(event: &PublicEvent) -> String {
    let (account, _) = Accounts::project(None, event);
    account.currency.to_string()
}

fn day(envelope: &Envelope) -> String {
    envelope.time.to_string()[..10].to_owned()
}

fn of_days<'a>(events: &Events<'a>, from: &str, to: &str) -> Events<'a> {
    let mut events = events.clone();
    events.retain(|_, event| (from..=to).contains(&&*day(event)));
    events
}

/// The balances are those of the domain's own fold.
fn statement(events: &Events<'_>, id: &str) -> Vec<Row> {
    let mut account = None;
    let own = events.iter().filter(|((account, _), _)| *account == id);
    own.map(|((_, sequence), it)| {
        let (after, _) = Accounts::project(account.as_ref(), &it.event);
        account = Some(after);
        let (name, amount, channel) = movement(&it.event);
        vec![
            sequence.to_string(),
            it.time.to_string(),
            name.to_owned(),
            channel.to_owned(),
            amount.to_string(),
            after.balance.minor_units().to_string(),
            after.currency.to_string(),
        ]
    })
    .collect()
}

fn balances(events: &Events<'_>, at: &str) -> Vec<Row> {
    let mut last: BTreeMap<&str, (millrace_domain::Account, &Envelope)> = BTreeMap::new();
    for ((id, _), it) in events
        .iter()
        .filter(|(_, it)| it.time.to_string().as_str() <= at)
    {
        let before = last.get(id).map(|(account, _)| account);
        let (after, _) = Accounts::project(before, &it.event);
        last.insert(id, (after, it));
    }
    let rows = last.into_iter().map(|(id, (account, it))| {
        vec![
            id.to_owned(),
            account.balance.minor_units().to_string(),
            account.currency.to_string(),
            it.sequence.to_string(),
            it.time.to_string(),
        ]
    });
    rows.collect()
}

/// The accounts created, and the number and the sum of the credits and of the withdrawals.
type Totals = (u64, u64, i128, u64, i128);

fn daily_report(events: &Events<'_>) -> Vec<Row> {
    let mut days: BTreeMap<(String, String), Totals> = BTreeMap::new();
    for it in events.values() {
        let totals = days.entry((day(it), currency(&it.event))).or_default();
        match movement(&it.event) {
            ("AccountCreated", _, _) => totals.0 += 1,
            ("BalanceCredited", amount, _) => {
                totals.1 += 1;
                totals.2 += amount;
            }
            (_, amount, _) => {
                totals.3 += 1;
                totals.4 -= amount;
            }
        }
    }
    let rows = days.into_iter().map(|((day, currency), totals)| {
        let (created, credits, credited, withdrawals, withdrawn) = totals;
        vec![
            day,
            currency,
            created.to_string(),
            credits.to_string(),
            credited.to_string(),
            withdrawals.to_string(),
            withdrawn.to_string(),
            (credited - withdrawn).to_string(),
        ]
    });
    rows.collect()
}

fn largest(events: &Events<'_>, number: usize) -> Vec<Row> {
    let mut of_currency: BTreeMap<String, Vec<(&Envelope, i128)>> = BTreeMap::new();
    for it in events.values() {
        let (name, amount, _) = movement(&it.event);
        if name != "AccountCreated" {
            of_currency
                .entry(currency(&it.event))
                .or_default()
                .push((it, amount.abs()));
        }
    }
    let rows = of_currency
        .into_iter()
        .flat_map(|(currency, mut movements)| {
            movements.sort_by_key(|(it, amount)| (-amount, it.time, id(it)));
            movements.truncate(number);
            let places = movements.into_iter().enumerate();
            places
                .map(|(place, (it, amount))| {
                    let (name, _, channel) = movement(&it.event);
                    vec![
                        currency.clone(),
                        (place + 1).to_string(),
                        amount.to_string(),
                        name.to_owned(),
                        channel.to_owned(),
                        it.time.to_string(),
                        it.subject.to_string(),
                        id(it),
                    ]
                })
                .collect::<Vec<_>>()
        });
    rows.collect()
}

fn busiest(events: &Events<'_>, number: usize) -> Vec<Row> {
    let mut counts: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for ((id, _), it) in events {
        let counts = counts.entry(id).or_default();
        counts.0 += 1;
        match movement(&it.event).0 {
            "BalanceCredited" => counts.1 += 1,
            "BalanceWithdrawn" => counts.2 += 1,
            _ => {}
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(id, (events, _, _))| (std::cmp::Reverse(*events), *id));
    counts.truncate(number);
    let rows = counts.into_iter().enumerate();
    rows.map(|(place, (id, (events, credits, withdrawals)))| {
        vec![
            (place + 1).to_string(),
            id.to_owned(),
            events.to_string(),
            credits.to_string(),
            withdrawals.to_string(),
        ]
    })
    .collect()
}

fn id(it: &Envelope) -> String {
    format!("{}:{}", it.subject, it.sequence)
}

fn duplicates(history: &History, events: &Events<'_>) -> Vec<Row> {
    let rows = history
        .duplicates()
        .into_iter()
        .map(|(id, (copies, first, last))| {
            let (account, sequence) = id.rsplit_once(':').expect("an id");
            let it = events[&(account, sequence.parse().expect("a number"))];
            let name = movement(&it.event).0.to_owned();
            vec![
                id.clone(),
                account.to_owned(),
                name,
                copies.to_string(),
                first,
                last,
            ]
        });
    rows.collect()
}

/// The only late event arrived three days late.
fn late(history: &History) -> Vec<Row> {
    let late = history.delivered.iter().filter(|it| it.is_late);
    late.map(|it| {
        let envelope = &it.envelope;
        vec![
            id(envelope),
            envelope.subject.to_string(),
            movement(&envelope.event).0.to_owned(),
            envelope.time.to_string(),
            it.day.clone(),
            "3".to_owned(),
        ]
    })
    .collect()
}

fn delays(history: &History) -> Vec<Row> {
    let mut first: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for it in &history.delivered {
        let seconds = |millis: i64| millis.div_euclid(1000);
        let delay = seconds(it.object_at.unix_millis()) - seconds(it.envelope.time.unix_millis());
        let (_, least) = first
            .entry(id(&it.envelope))
            .or_insert_with(|| (day(&it.envelope), delay));
        *least = delay.min(*least);
    }
    let mut days: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (day, delay) in first.into_values() {
        days.entry(day).or_default().push(delay);
    }
    let rows = days.into_iter().map(|(day, mut delays)| {
        delays.sort_unstable();
        let percentile = |percent: usize| delays[(delays.len() * percent).div_ceil(100) - 1];
        let numbers = [
            delays[0],
            percentile(50),
            percentile(95),
            delays[delays.len() - 1],
        ];
        let mut row = vec![day, delays.len().to_string()];
        row.extend(numbers.iter().map(ToString::to_string));
        row
    });
    rows.collect()
}
