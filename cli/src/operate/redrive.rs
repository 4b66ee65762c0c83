//! `millrace redrive`: publishes pending events, and with `--reset-cursor` resets faulty cursors.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use millrace_core::Project;
use millrace_local_stack::progress::Progress;
use serde_json::json;

use super::deployment::Deployment;
use super::dynamodb::ScannedTable;
use super::outcome;
use super::publish::Selection;
use super::roles::{self, Role};
use super::verify::NOT_WELL;
use crate::args::Redrive;
use crate::output::{self, Output};

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    redrive: &Redrive,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let ids = select(deployment, redrive, progress).await?;
    if redrive.dry_run {
        return plan(deployment, redrive, &ids, output).await;
    }
    roles::check(deployment, &[Role::Events, Role::Cursors]).await?;
    let step = progress.start("Redriving");
    let (total, mut done) = (ids.len(), 0);
    let publication = deployment.publication();
    let width = output::width(&ids);
    let summary = publication
        .redrive_all(&ids, redrive.reset_cursor, |id, redriven| {
            done += 1;
            step.counted(done, total);
            if let Some(fault) = &redriven.reset {
                outcome::print_reset(id, width, fault, output)?;
            }
            outcome::print(id, width, &redriven.outcome, output)
        })
        .await?;
    step.done();
    outcome::print_summary(summary, &repeat(redrive, output), output)
}

/// The command that redrives what this run could not publish.
fn repeat(redrive: &Redrive, output: Output) -> String {
    let which = match &redrive.id {
        Some(id) => format!(" --{} {id}", output.words.noun),
        None => String::new(),
    };
    format!("redrive{which}")
}

/// Prints which aggregates would be redriven, and the faults of their cursors. Changes nothing.
async fn plan<D: Project + Clone>(
    deployment: &Deployment<D>,
    redrive: &Redrive,
    ids: &BTreeSet<String>,
    output: Output,
) -> Result<ExitCode> {
    let publication = deployment.publication();
    let width = output::width(ids);
    let mut unusable = 0;
    for id in ids {
        let position = publication.position(id).await;
        match position
            .with_context(|| format!("could not read the cursor of {id}"))?
            .fault()
        {
            None => output.outcome(
                '→',
                id,
                width,
                "would be redriven",
                &json!({ (output.words.noun): id }),
            )?,
            Some(fault) if redrive.reset_cursor => output.outcome(
                '→',
                id,
                width,
                format_args!("would be redriven, after its cursor is reset to 0, because {fault}"),
                &json!({ (output.words.noun): id, "reset": fault.to_string() }),
            )?,
            Some(fault) => {
                unusable += 1;
                outcome::print_cursor_fault(id, width, &fault, output)?;
            }
        }
    }
    output.text(format_args!(
        "{}; nothing was changed",
        output.words.count(ids.len())
    ))?;
    Ok(if unusable == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

async fn select<D: Project + Clone>(
    deployment: &Deployment<D>,
    redrive: &Redrive,
    progress: &Progress,
) -> Result<BTreeSet<String>> {
    if let Some(id) = &redrive.id {
        let id = id.as_str();
        let names = &deployment.names;
        let position = deployment.publication().position(id).await;
        let position = position.with_context(|| {
            let (cursors, events) = (&names.cursor_table, &names.events_table);
            format!("could not read {id} in {cursors} and {events}")
        })?;
        if position.is_unknown() {
            let noun = deployment.words.noun;
            bail!("the events table contains no {noun} {id}, and it has no cursor");
        }
        return Ok([id.to_owned()].into());
    }
    let step = progress.start(format!(
        "Looking for {} that are not caught up",
        deployment.words.collection
    ));
    let both = !redrive.blocked && !redrive.lagging;
    let selection = Selection {
        blocked: redrive.blocked || both,
        lagging: redrive.lagging || both,
    };
    let client = &deployment.clients.dynamodb;
    let names = &deployment.names;
    let all = ScannedTable::all(client.clone(), names.events_table.clone());
    let blocked = ScannedTable::blocked(client.clone(), names.cursor_table.clone());
    let selected = deployment
        .publication()
        .select(selection, &all, &blocked, |done, total| {
            step.counted(done, total);
        })
        .await
        .with_context(|| {
            format!(
                "could not list {} and {}",
                names.events_table, names.cursor_table
            )
        })?;
    step.done();
    Ok(selected)
}
