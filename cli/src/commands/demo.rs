//! `millrace demo`.
use std::process::ExitCode;

use anyhow::Result;

use crate::output::Output;

pub(super) async fn run(_output: Output) -> Result<ExitCode> {
    anyhow::bail!("the demo is not built yet")
}
