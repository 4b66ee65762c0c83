//! `millrace verify`: events, cursors, read models and lake held against each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_domain::{AggregateId, Envelope};
use millrace_runtime::{Ambient as _, System};
use serde_json::json;

use super::deployment::Deployment;
use super::standing::{Finding, Kind, Standing};
use super::{CONCURRENCY, aggregates, lake};
use crate::args::Verify;
use crate::output::Output;
use crate::progress::Progress;

/// What says that something isn't well.
pub(crate) const NOT_WELL: u8 = 3;
/// How often an aggregate is looked at before what it lacks counts: events are on their way.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an event may be on its way to the lake on AWS: the archiver's window, Firehose's buffer,
/// and Firehose's own retries.
const ON_ITS_WAY_MILLIS: i64 = 15 * 60 * 1000;

/// What was found so far.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<Kind, usize>,
    events: usize,
    /// How many events of each aggregate have to be in the lake by now.
    due: HashMap<String, u64>,
}

pub(crate) async fn run(
    deployment: &Deployment,
    verify: &Verify,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let ids = select(deployment, verify, progress).await?;
    let total = ids.len();
    let mut tally = Tally::default();
    let step = progress.start("Verifying");
    let mut looks = stream::iter(&ids)
        .map(async |id| look(deployment, id).await)
        .buffer_unordered(CONCURRENCY);
    let mut done = 0;
    while let Some((standing, findings)) = looks.try_next().await? {
        done += 1;
        step.counted(done, total);
        tally.add(&standing, &findings, deployment.is_local, output)?;
        if verify.account.is_some() {
            show(&standing, output)?;
        }
    }
    step.done();
    check_lake(deployment, verify, &mut tally, output, progress).await?;
    tally.conclude(total, output)
}

impl Tally {
    fn add(
        &mut self,
        standing: &Standing,
        findings: &[Finding],
        is_local: bool,
        output: Output,
    ) -> Result<()> {
        let events = &standing.told.events;
        self.events += events.len();
        self.due.insert(standing.id.clone(), due(events, is_local)?);
        for finding in findings {
            self.find(&standing.id, finding, output)?;
        }
        Ok(())
    }

    fn find(&mut self, id: &str, finding: &Finding, output: Output) -> Result<()> {
        let Finding { kind, detail } = finding;
        *self.kinds.entry(*kind).or_default() += 1;
        output.result(
            format_args!("✗ {id}: {}: {detail}", name(*kind)),
            &json!({ "account": id, "finding": kind, "detail": detail }),
        )
    }

    fn conclude(&self, total: usize, output: Output) -> Result<ExitCode> {
        let Self { kinds, events, .. } = self;
        let well = kinds.is_empty();
        let found: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} {}", name(*kind)))
            .collect();
        let verdict = if well {
            "all is well".to_owned()
        } else {
            format!("not well: {}", found.join(", "))
        };
        output.result(
            format_args!("{total} accounts, {events} events: {verdict}"),
            &json!({ "accounts": total, "events": events, "findings": kinds, "well": well }),
        )?;
        Ok(if well {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_WELL)
        })
    }
}

/// How many of these events have to be in the lake. What is written to a local lake is there at
/// once; on AWS it has its time.
fn due(events: &[Envelope], is_local: bool) -> Result<u64> {
    let now = System.now().unix_millis();
    let due = events
        .iter()
        .filter(|event| is_local || event.time.unix_millis() < now - ON_ITS_WAY_MILLIS);
    Ok(u64::try_from(due.count())?)
}

/// Holds the lake against the events, after the rest, and more than once, since the lake comes last.
async fn check_lake(
    deployment: &Deployment,
    verify: &Verify,
    tally: &mut Tally,
    output: Output,
    progress: &Progress,
) -> Result<()> {
    let step = progress.start("Asking Athena");
    let account = verify.account.as_ref().map(AggregateId::as_str);
    let mut looks = 1;
    let lacking = loop {
        let lake = match lake::events(deployment, account).await {
            Ok(lake) => lake,
            Err(error) => {
                return output.result(
                    format_args!("The lake was not checked: {error:#}"),
                    &json!({ "lake": "not checked", "reason": format!("{error:#}") }),
                );
            }
        };
        let there = |id: &String| lake.get(id).copied().unwrap_or_default();
        let lacking: Vec<(String, Finding)> = tally
            .due
            .iter()
            .filter(|(id, due)| there(id) < **due)
            .map(|(id, due)| {
                let detail = format!("the lake holds {} of {due} events", there(id));
                let kind = Kind::Lake;
                (id.clone(), Finding { kind, detail })
            })
            .collect();
        if lacking.is_empty() || looks == LOOKS {
            break lacking;
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    };
    step.done();
    for (id, finding) in &lacking {
        tally.find(id, finding, output)?;
    }
    Ok(())
}

/// The aggregates to look at. Those that have no events but a cursor or a view are among them.
async fn select(
    deployment: &Deployment,
    verify: &Verify,
    progress: &Progress,
) -> Result<BTreeSet<String>> {
    if let Some(account) = &verify.account {
        return aggregates::one(deployment, account.as_str()).await;
    }
    let step = progress.start("Listing accounts");
    let (client, names) = (&deployment.clients.dynamodb, &deployment.names);
    let (mut ids, cursors, views) = tokio::try_join!(
        aggregates::all(deployment, &step),
        aggregates::ids(client, &names.cursor_table, &step),
        aggregates::ids(client, &names.accounts_table, &step),
    )?;
    ids.extend(cursors);
    ids.extend(views);
    step.done();
    let Some(sample) = verify.sample else {
        return Ok(ids);
    };
    Ok(fastrand::choose_multiple(ids, sample).into_iter().collect())
}

/// Looks at an aggregate, and again where what is missing may just be on its way.
async fn look(deployment: &Deployment, id: &str) -> Result<(Standing, Vec<Finding>)> {
    let mut looks = 1;
    loop {
        let standing = Standing::read(deployment, id).await?;
        let findings = standing.findings();
        let has = |kind| findings.iter().any(|finding| finding.kind == kind);
        let on_its_way = has(Kind::Unpublished) || has(Kind::Missing);
        if !on_its_way || has(Kind::Blocked) || looks == LOOKS {
            return Ok((standing, findings));
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(standing: &Standing, output: Output) -> Result<()> {
    let told = &standing.told;
    let published = standing
        .cursor
        .as_ref()
        .map(|cursor| cursor.published_through.get())
        .ok();
    output.result(
        format_args!(
            "{}: {} events, published through {}, view {}",
            standing.id,
            told.events.len(),
            published.unwrap_or_default(),
            serde_json::to_string(&standing.view.as_ref().ok())?,
        ),
        &json!({
            "account": standing.id, "events": told.events.len(), "publishedThrough": published,
            "view": standing.view.as_ref().ok(), "expected": told.view,
        }),
    )
}

fn name(kind: Kind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
