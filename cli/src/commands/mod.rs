//! The commands, one per file.

mod demo;
mod doctor;
mod down;
mod operate;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};

use crate::args::{Cli, Command, State};
use crate::output::Output;
use crate::terminal;
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::line_on_stderr;

/// Runs what the command line asks for. An error is printed here, once.
pub async fn run(cli: Cli) -> ExitCode {
    let output = if cli.json { Output::Json } else { Output::Text };
    let result = match cli.command {
        Command::Doctor => doctor::run(output).await,
        Command::Demo => demo::run(output).await,
        Command::Up(up) => up::run(up, output).await,
        Command::Down(state) => down::run(state, output).await,
        Command::Tail(tail) => operate::tail(tail, output).await,
        Command::Verify(verify) => operate::verify(verify, output).await,
        Command::Redrive(redrive) => operate::redrive(redrive, output).await,
        Command::Republish(republish) => operate::republish(republish, output).await,
        Command::Rebuild(rebuild) => operate::rebuild(rebuild, output).await,
        Command::Inspect(inspect) => operate::inspect(inspect, output).await,
    };
    result.unwrap_or_else(|error| {
        report(&error, output);
        ExitCode::FAILURE
    })
}

fn report(error: &Error, output: Output) {
    let text = match output {
        Output::Json => {
            let object = serde_json::json!({ "error": format!("{error:#}") });
            terminal::json(&object.to_string()).into_owned()
        }
        Output::Text => {
            let causes = error.chain().skip(1);
            let causes = causes.map(|cause| format!("\n  because: {cause}"));
            let text = format!("error: {error}{}", causes.collect::<String>());
            terminal::lines(&text).into_owned()
        }
    };
    line_on_stderr(&text);
}

/// The checkout, and the folder of the stack that is meant.
fn place(state: State) -> Result<(Workspace, PathBuf)> {
    let workspace = Workspace::find()?;
    let folder = state.folder.unwrap_or_else(|| workspace.local_folder());
    Ok((workspace, folder))
}
