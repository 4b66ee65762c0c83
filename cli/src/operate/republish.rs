//! `millrace republish`: publishes events again on the domain stream.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use millrace_core::{Project, Sequence};
use millrace_local_stack::progress::Progress;
use millrace_runtime::{Ambient as _, System};
use serde_json::json;

use super::checkpoint::{Checkpoint, Earlier, Scope};
use super::deployment::Deployment;
use super::ports::RunProgress as _;
use super::roles::{self, Role};
use super::{aggregates, outcome};
use crate::args::Republish;
use crate::output::{self, Output};

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    republish: &Republish,
    output: Output,
    progress: &Progress,
    state: &Path,
) -> Result<ExitCode> {
    let all = if let Some(id) = &republish.id {
        aggregates::one(deployment, id.as_str()).await?
    } else {
        let step = progress.start(format!("Listing {}", deployment.words.collection));
        let ids = aggregates::all(deployment, &step).await?;
        step.done();
        ids
    };
    if republish.dry_run {
        return plan(&all, output);
    }
    let earlier = match (republish.resume, republish.restart) {
        (true, _) => Earlier::Resume,
        (_, true) => Earlier::Discard,
        (false, false) => Earlier::Refuse,
    };
    let scope = scope(deployment, republish).await?;
    let folder = state.join("operations");
    let checkpoint = Checkpoint::open(&folder, &scope, earlier, System.now())?;
    if republish.resume {
        output.text(format_args!(
            "Continuing after {} that an earlier run completed",
            output.words.count(checkpoint.completed())
        ))?;
    }
    let ids: BTreeSet<String> = all
        .into_iter()
        .filter(|id| !checkpoint.is_completed(id))
        .collect();
    roles::check(deployment, &[Role::Events, Role::Cursors]).await?;
    let step = progress.start("Republishing");
    let (total, mut done) = (ids.len(), 0);
    let publication = deployment.publication();
    let width = output::width(&ids);
    let summary = publication
        .republish_all(&ids, republish.from, &checkpoint, |id, ended| {
            done += 1;
            step.counted(done, total);
            outcome::print(id, width, ended, output)
        })
        .await?;
    step.done();
    let is_finished = ids.iter().all(|id| checkpoint.is_completed(id));
    if is_finished {
        checkpoint.finish()?;
    }
    let repeat = repeat(republish, is_finished, output);
    outcome::print_summary(summary, &repeat, output)
}

/// The command that publishes what this run could not publish: it continues an unfinished run.
fn repeat(republish: &Republish, is_finished: bool, output: Output) -> String {
    let which = match &republish.id {
        Some(id) => format!("--{} {id}", output.words.noun),
        None => "--all".to_owned(),
    };
    let from = match republish.from {
        Sequence::FIRST => String::new(),
        from => format!(" --from {from}"),
    };
    let resume = if is_finished { "" } else { " --resume" };
    format!("republish {which}{from}{resume}")
}

fn plan(ids: &BTreeSet<String>, output: Output) -> Result<ExitCode> {
    for id in ids {
        output.outcome(
            '→',
            id,
            output::width(ids),
            "would be republished",
            &json!({ (output.words.noun): id }),
        )?;
    }
    output.text(format_args!(
        "{}; nothing was published",
        output.words.count(ids.len())
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn scope<D: Project + Clone>(
    deployment: &Deployment<D>,
    republish: &Republish,
) -> Result<Scope> {
    let (events_table, table_id) = described(deployment).await?;
    Ok(Scope {
        events_table,
        table_id,
        stream: deployment.names.stream_name.clone(),
        from: republish.from.get(),
        aggregate: republish.id.as_ref().map(|id| id.as_str().to_owned()),
    })
}

/// The events table's ARN and the id that DynamoDB assigned to it.
pub(super) async fn described<D: Project + Clone>(
    deployment: &Deployment<D>,
) -> Result<(String, Option<String>)> {
    let table = &deployment.names.events_table;
    let described = deployment
        .clients
        .dynamodb
        .describe_table()
        .table_name(table)
        .send()
        .await
        .with_context(|| format!("could not describe {table}"))?;
    let described = described.table;
    let arn = described
        .as_ref()
        .and_then(|described| described.table_arn());
    let arn = arn.unwrap_or(table).to_owned();
    Ok((arn, described.and_then(|described| described.table_id)))
}
