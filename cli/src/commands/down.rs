//! `millrace down`: stops a local stack.

use std::process::ExitCode;

use anyhow::Result;
use millrace_local_stack::stack;
use serde_json::json;

use crate::args::State;
use crate::output::Output;

pub(super) async fn run(state: State, output: Output) -> Result<ExitCode> {
    let (_, folder) = super::locate(state)?;
    match stack::stop(&folder).await? {
        Some(endpoint) => output.result(
            format_args!("Stopped the local stack at {endpoint}."),
            &json!({ "stopped": endpoint }),
        )?,
        None => output.result(
            format_args!("No local stack is running in {}.", folder.display()),
            &json!({ "stopped": null }),
        )?,
    }
    Ok(ExitCode::SUCCESS)
}
