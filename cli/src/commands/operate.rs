//! The commands that inspect and repair a deployment.

use std::process::ExitCode;

use anyhow::Result;
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;

use crate::application::Application;
use crate::args::{Inspect, Rebuild, Reconcile, Redrive, Republish, Tail, Target, Verify};
use crate::operate::deployment::Deployment;
use crate::operate::{
    inspect as inspecting, rebuild as rebuilding, reconcile as reconciling, redrive as redriving,
    republish as republishing, tail as tailing, verify as verifying,
};
use crate::output::Output;

async fn open<A: Application>(target: &Target) -> Result<Deployment<A::Domain>> {
    Deployment::open::<A>(target.deployment.clone()).await
}

pub(super) async fn tail<A: Application>(tail: Tail, output: Output) -> Result<ExitCode> {
    tailing::run(&open::<A>(&tail.target).await?, &tail, output).await
}

pub(super) async fn verify<A: Application>(verify: Verify, output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&verify.target).await?;
    verifying::run(&deployment, &verify, output, &Progress::on_stderr()).await
}

pub(super) async fn reconcile<A: Application>(
    reconcile: Reconcile,
    output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&reconcile.target).await?;
    reconciling::run(&deployment, &reconcile, output, &Progress::on_stderr()).await
}

pub(super) async fn redrive<A: Application>(redrive: Redrive, output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&redrive.target).await?;
    redriving::run(&deployment, &redrive, output, &Progress::on_stderr()).await
}

pub(super) async fn republish<A: Application>(
    republish: Republish,
    output: Output,
) -> Result<ExitCode> {
    let deployment = open::<A>(&republish.target).await?;
    // The progress is stored in the checkout, or, outside of a checkout, in the current folder.
    let state = Workspace::find().map_or_else(|_| ".millrace".into(), |it| it.local_folder());
    republishing::run(
        &deployment,
        &republish,
        output,
        &Progress::on_stderr(),
        &state,
    )
    .await
}

pub(super) async fn rebuild<A: Application>(rebuild: Rebuild, output: Output) -> Result<ExitCode> {
    let deployment = open::<A>(&rebuild.target).await?;
    rebuilding::run(&deployment, &rebuild, output, &Progress::on_stderr()).await
}

pub(super) async fn inspect<A: Application>(inspect: Inspect, output: Output) -> Result<ExitCode> {
    inspecting::run(&open::<A>(&inspect.target).await?, &inspect, output).await?;
    Ok(ExitCode::SUCCESS)
}
