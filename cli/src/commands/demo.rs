//! `millrace demo`: an end-to-end walkthrough, on a local stack of its own.

use std::process::ExitCode;

use anyhow::{Result, bail};
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::stack::{LocalStack, Options, Packages};
use serde_json::json;

use crate::application::Application;
use crate::output::Output;
use crate::signals::StopSignal;

pub(super) async fn run<A: Application>(output: Output) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let progress = Progress::on_stderr();
    let options = Options {
        state: workspace.local_folder().join("demo"),
        workspace,
        port: None,
        packages: Packages::Application(A::PACKAGE),
        progress: progress.clone(),
    };
    let show = async {
        let stack = LocalStack::start(options).await?;
        A::walkthrough(stack.local(), output, &progress).await?;
        stack.stop()
    };
    let mut stop_signal = StopSignal::listen()?;
    tokio::select! {
        shown = show => shown?,
        () = stop_signal.received() => bail!("stopped before the walkthrough was complete"),
    }
    output.result(
        "\n✓ Every check has passed. The local stack is stopped.",
        &json!({ "step": "done" }),
    )?;
    output.next(format_args!(
        "{} runs a local stack until you stop it",
        output.command("up")
    ))?;
    Ok(ExitCode::SUCCESS)
}
