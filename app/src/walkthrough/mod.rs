//! What `millrace demo` shows, through the public contracts alone: what commands answer, what is
//! refused, and where a record turns up after it was accepted.
//!
//! Invariant: nothing is shown that wasn't checked against what was sent.

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

/// Runs the demo on a stack that is up and unused.
///
/// # Errors
/// When something shown is wrong or missing; the error names it.
pub(crate) async fn run(local: &Local, output: Output, progress: &Progress) -> Result<()> {
    let api = Api::new(&local.api_url)?;
    let account = commands::tell(&api, output).await?;
    let clients = Clients::of(local);
    // Boxed: it holds a call to every service, and all that holds it would be as large.
    Box::pin(follow::follow(
        &api, local, &clients, account, output, progress,
    ))
    .await
}
