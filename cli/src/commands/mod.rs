//! The commands, one per file.

mod contract;
mod demo;
mod doctor;
mod down;
mod operate;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::FromArgMatches as _;
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::line_on_stderr;

use crate::application::{Application, Words};
use crate::args::{self, Cli, State, Subcommands};
use crate::output::{Format, Output};
use crate::terminal;

/// Runs the subcommand of the process's command line, and prints its error, if it returns one.
pub async fn run<A: Application>() -> ExitCode {
    let words = Words::of::<A>();
    let matches = args::command(words).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let format = if cli.json { Format::Json } else { Format::Text };
    let output = Output::on_stdout(format, words);
    let result = match cli.command {
        Subcommands::Doctor => doctor::run(output).await,
        Subcommands::Demo => demo::run::<A>(output).await,
        Subcommands::Up(up) => up::run::<A>(up, output).await,
        Subcommands::Down(state) => down::run(state, output).await,
        Subcommands::Tail(tail) => operate::tail::<A>(tail, output).await,
        Subcommands::Verify(verify) => operate::verify::<A>(verify, output).await,
        Subcommands::Reconcile(reconcile) => operate::reconcile::<A>(reconcile, output).await,
        Subcommands::Redrive(redrive) => operate::redrive::<A>(redrive, output).await,
        Subcommands::Republish(republish) => operate::republish::<A>(republish, output).await,
        Subcommands::Replay(replay) => operate::replay::<A>(replay, output).await,
        Subcommands::Rebuild(rebuild) => operate::rebuild::<A>(rebuild, output).await,
        Subcommands::Restore(restore) => operate::restore::<A>(restore, output).await,
        Subcommands::Inspect(inspect) => operate::inspect::<A>(inspect, output).await,
        Subcommands::Query(query) => operate::query::<A>(query, output).await,
        Subcommands::Contract(contract) => contract::run::<A>(&contract, output),
    };
    result.unwrap_or_else(|error| {
        report(&error, output);
        ExitCode::FAILURE
    })
}

fn report(error: &Error, output: Output) {
    let text = match output.format {
        Format::Json => {
            let object = serde_json::json!({ "error": format!("{error:#}") });
            terminal::json(&object.to_string()).into_owned()
        }
        Format::Text => {
            let causes = error.chain().skip(1);
            let causes = causes.map(|cause| format!("\n  because: {cause}"));
            let text = format!("error: {error}{}", causes.collect::<String>());
            terminal::lines(&text).into_owned()
        }
    };
    line_on_stderr(&text);
}

/// The checkout, and the state folder of the stack that the flags select.
fn locate(state: State) -> Result<(Workspace, PathBuf)> {
    let workspace = Workspace::find()?;
    let folder = state.folder.unwrap_or_else(|| workspace.local_folder());
    Ok((workspace, folder))
}
