//! The `millrace` command.

use std::process::ExitCode;

use clap::Parser as _;
use millrace_cli::args::Cli;
use millrace_cli::commands;

#[tokio::main]
async fn main() -> ExitCode {
    commands::run(Cli::parse()).await
}
