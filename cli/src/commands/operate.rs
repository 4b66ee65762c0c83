//! The commands that see and mend a deployment.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Inspect, Rebuild, Redrive, Republish, Tail, Target, Verify};
use crate::operate::deployment::Deployment;
use crate::operate::{
    inspect as inspecting, rebuild as rebuilding, redrive as redriving, republish as republishing,
    tail as tailing, verify as verifying,
};
use crate::output::Output;
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;

async fn open(target: &Target) -> Result<Deployment> {
    Deployment::open(target.deployment.clone()).await
}

pub(super) async fn tail(tail: Tail, output: Output) -> Result<ExitCode> {
    tailing::run(&open(&tail.target).await?, &tail, output).await
}

pub(super) async fn verify(verify: Verify, output: Output) -> Result<ExitCode> {
    let deployment = open(&verify.target).await?;
    verifying::run(&deployment, &verify, output, &Progress::on_stderr()).await
}

pub(super) async fn redrive(redrive: Redrive, output: Output) -> Result<ExitCode> {
    let deployment = open(&redrive.target).await?;
    redriving::run(&deployment, &redrive, output, &Progress::on_stderr()).await
}

pub(super) async fn republish(republish: Republish, output: Output) -> Result<ExitCode> {
    let deployment = open(&republish.target).await?;
    // What was done is kept in the checkout, or, without one, where one is.
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

pub(super) async fn rebuild(rebuild: Rebuild, output: Output) -> Result<ExitCode> {
    let deployment = open(&rebuild.target).await?;
    rebuilding::run(&deployment, &rebuild, output, &Progress::on_stderr()).await
}

pub(super) async fn inspect(inspect: Inspect, output: Output) -> Result<ExitCode> {
    inspecting::run(&open(&inspect.target).await?, &inspect, output).await?;
    Ok(ExitCode::SUCCESS)
}
