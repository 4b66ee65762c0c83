//! `millrace doctor`: checks the prerequisites of the local stack.

use std::process::ExitCode;

use anyhow::Result;
use millrace_local_stack::prerequisites;

use crate::output::Output;

pub(super) async fn run(output: Output) -> Result<ExitCode> {
    let checked = prerequisites::check().await;
    for prerequisite in &checked.prerequisites {
        output.result(prerequisite, prerequisite)?;
    }
    if !checked.is_complete() {
        return Ok(ExitCode::FAILURE);
    }
    let command = output.words.command;
    output.text(format_args!(
        "All prerequisites are met: `{command} demo` and `{command} up` can run."
    ))?;
    Ok(ExitCode::SUCCESS)
}
