//! The commands that inspect and repair a deployment.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;

use crate::application::Application;
use crate::args::{
    Inspect, Query, Rebuild, Reconcile, Redrive, Replay, Republish, Restore, Tail, Target, Verify,
};
use crate::operate::deployment::Deployment;
use crate::operate::{
    inspect as inspecting, query as querying, rebuild as rebuilding, reconcile as reconciling,
    redrive as redriving, replay as replaying, republish as republishing, restore as restoring,
    tail as tailing, verify as verifying,
};
use crate::output::Output;

/// Opens the deployment, and makes the output advise commands on the same deployment.
async fn open<A: Application>(
    target: &Target,
    output: &mut Output,
) -> Result<Deployment<A::Domain>> {
    *output = output.of_deployment(target.deployment.as_deref());
    Deployment::open::<A>(target.deployment.clone()).await
}

pub(super) async fn query<A: Application>(query: Query, mut output: Output) -> Result<ExitCode> {
    let Some(name) = &query.name else {
        return querying::list::<A>(output);
    };
    let prepared = querying::prepare::<A>(&query, name)?;
    let deployment = open::<A>(&query.target, &mut output).await?;
    querying::run::<A>(&deployment, &query, prepared, output).await
}

pub(super) async fn tail<A: Application>(tail: Tail, mut output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&tail.target, &mut output).await?;
    tailing::run(&deployment, &tail, output).await
}

pub(super) async fn verify<A: Application>(verify: Verify, mut output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&verify.target, &mut output).await?;
    verifying::run(&deployment, &verify, output, &Progress::on_stderr()).await
}

pub(super) async fn reconcile<A: Application>(
    reconcile: Reconcile,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&reconcile.target, &mut output).await?;
    reconciling::run(&deployment, &reconcile, output, &Progress::on_stderr()).await
}

pub(super) async fn redrive<A: Application>(
    redrive: Redrive,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&redrive.target, &mut output).await?;
    redriving::run(&deployment, &redrive, output, &Progress::on_stderr()).await
}

pub(super) async fn republish<A: Application>(
    republish: Republish,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&republish.target, &mut output).await?;
    let progress = Progress::on_stderr();
    republishing::run(&deployment, &republish, output, &progress, &state()).await
}

pub(super) async fn replay<A: Application>(replay: Replay, mut output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&replay.target, &mut output).await?;
    let progress = Progress::on_stderr();
    replaying::run(&deployment, &replay, output, &progress, &state()).await
}

/// The folder in which the progress of runs is stored: that of the checkout, or, outside of a checkout, one in the
/// current folder.
fn state() -> PathBuf {
    Workspace::find().map_or_else(|_| ".millrace".into(), |it| it.local_folder())
}

pub(super) async fn rebuild<A: Application>(
    rebuild: Rebuild,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&rebuild.target, &mut output).await?;
    rebuilding::run(&deployment, &rebuild, output, &Progress::on_stderr()).await
}

pub(super) async fn restore<A: Application>(
    restore: Restore,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&restore.target, &mut output).await?;
    restoring::run(&deployment, &restore, output, &Progress::on_stderr()).await
}

pub(super) async fn inspect<A: Application>(
    inspect: Inspect,
    mut output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&inspect.target, &mut output).await?;
    inspecting::run(&deployment, &inspect, output).await?;
    Ok(ExitCode::SUCCESS)
}
