//! `millrace doctor`.

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
    output.text("All is there: `millrace demo` and `millrace up` can run.")?;
    Ok(ExitCode::SUCCESS)
}
