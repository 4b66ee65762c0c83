//! The end-to-end walkthrough of `millrace demo`, which uses only the public contracts. It shows the
//! responses to commands, the refusals, and one record at every stage of the pipeline.
//!
//! Invariant: everything that is shown is checked against the command that was sent.

mod account;
mod api;
mod commands;
mod follow;
mod lake;
mod record;
mod stages;

use anyhow::Result;
use millrace_cli::clients::Clients;
use millrace_cli::output::Output;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::Local;

use api::Api;

/// Runs the walkthrough on a running stack without data.
///
/// # Errors
/// If a result that is shown is wrong or missing. The error names the result.
pub(crate) async fn run(local: &Local, output: Output, progress: &Progress) -> Result<()> {
    let api = Api::new(&local.api_url)?;
    let account = commands::show_commands(&api, output).await?;
    let clients = Clients::of(local);
    // Boxed, because the future contains the calls of all services, and would make the callers' futures as
    // large.
    Box::pin(follow::follow(
        &api, local, &clients, account, output, progress,
    ))
    .await
}
