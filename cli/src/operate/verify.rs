//! `millrace verify`: events, cursors, read models and lake held against each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use millrace_domain::{Envelope, Timestamp};
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

struct Verified {
    standing: Standing,
    findings: Vec<Finding>,
}

pub(crate) async fn run(
    deployment: &Deployment,
    verify: &Verify,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let ids = select(deployment, verify, progress).await?;
    let lake = match lake_events(deployment, verify, progress).await {
        Ok(events) => Some(events),
        Err(error) => {
            output.result(
                format_args!("The lake was not checked: {error:#}"),
                &json!({ "lake": "not checked", "reason": format!("{error:#}") }),
            )?;
            None
        }
    };
    let step = progress.start("Verifying");
    let total = ids.len();
    let mut verified = stream::iter(&ids)
        .map(async |id| look(deployment, id, lake.as_ref()).await)
        .buffer_unordered(CONCURRENCY);
    let (mut done, mut events) = (0, 0);
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    while let Some(Verified { standing, findings }) = verified.try_next().await? {
        done += 1;
        events += standing.told.events.len();
        step.counted(done, total);
        for Finding { kind, detail } in findings {
            *kinds.entry(kind).or_default() += 1;
            let id = &standing.id;
            output.result(
                format_args!("✗ {id}: {}: {detail}", name(kind)),
                &json!({ "account": id, "finding": kind, "detail": detail }),
            )?;
        }
        if verify.account.is_some() {
            show(&standing, output)?;
        }
    }
    step.done();
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

/// The aggregates to look at. Those that have no events but a cursor or a view are among them.
async fn select(
    deployment: &Deployment,
    verify: &Verify,
    progress: &Progress,
) -> Result<BTreeSet<String>> {
    if let Some(account) = &verify.account {
        if aggregates::newest(deployment, account.as_str())
            .await?
            .is_none()
        {
            bail!("the events table holds no account {account}");
        }
        return Ok([account.to_string()].into());
    }
    let step = progress.start("Listing accounts");
    let (client, names) = (&deployment.clients.dynamodb, &deployment.names);
    let (mut ids, cursors, views) = tokio::try_join!(
        aggregates::all(deployment, &step),
        aggregates::ids(client, &names.cursor_table, None, &step),
        aggregates::ids(client, &names.accounts_table, None, &step),
    )?;
    ids.extend(cursors);
    ids.extend(views);
    step.done();
    let Some(sample) = verify.sample else {
        return Ok(ids);
    };
    Ok(fastrand::choose_multiple(ids, sample).into_iter().collect())
}

async fn lake_events(
    deployment: &Deployment,
    verify: &Verify,
    progress: &Progress,
) -> Result<HashMap<String, u64>> {
    let step = progress.start("Asking Athena");
    let events = lake::events(
        deployment,
        verify
            .account
            .as_ref()
            .map(millrace_domain::AggregateId::as_str),
    )
    .await?;
    step.done();
    Ok(events)
}

/// Looks at an aggregate, and again where what is missing may just be on its way.
async fn look(
    deployment: &Deployment,
    id: &str,
    lake: Option<&HashMap<String, u64>>,
) -> Result<Verified> {
    let mut looks = 1;
    loop {
        let standing = Standing::read(deployment, id).await?;
        let mut findings = standing.findings();
        let settled = findings
            .iter()
            .all(|finding| !matches!(finding.kind, Kind::Unpublished | Kind::Missing));
        let blocked = findings.iter().any(|it| it.kind == Kind::Blocked);
        if settled || blocked || looks == LOOKS {
            findings.extend(lake.and_then(|lake| {
                let there = lake.get(id).copied().unwrap_or_default();
                lake_finding(&standing.told.events, there, deployment.is_local)
            }));
            return Ok(Verified { standing, findings });
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the lake lacks. What is written to a local lake is there at once; on AWS it has its time.
fn lake_finding(events: &[Envelope], there: u64, is_local: bool) -> Option<Finding> {
    let now = System.now().unix_millis();
    let due = |time: Timestamp| is_local || time.unix_millis() < now - ON_ITS_WAY_MILLIS;
    let due = events.iter().filter(|event| due(event.time)).count();
    (there < u64::try_from(due).unwrap_or(u64::MAX)).then(|| Finding {
        kind: Kind::Lake,
        detail: format!("the lake holds {there} of {due} events"),
    })
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
