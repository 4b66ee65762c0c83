//! The command line as people type it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong.";

/// Millrace: an event-sourced DynamoDB table as a stream of domain events.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Print results as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `millrace` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name what has to be installed, and what of it is missing
    #[command(after_help = EXIT_CODES)]
    Doctor,
    /// Show one record's trip through the whole pipeline, on a local stack of its own
    ///
    /// Sets everything up, opens accounts, credits and withdraws, shows what is refused, and
    /// follows one record hop by hop. Everything shown is checked. The stack is gone afterwards.
    #[command(after_help = EXIT_CODES)]
    Demo,
    /// Run the local stack and follow its domain events until Ctrl-C
    ///
    /// While it runs, `local.json` in the state folder holds its addresses. With --json the first
    /// line on stdout holds the same, and every further line is a domain event.
    #[command(after_help = EXIT_CODES)]
    Up(Up),
    /// Stop the local stack that `up` started
    #[command(after_help = EXIT_CODES)]
    Down(State),
}

/// The flags of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// The emulator's port on 127.0.0.1 [default: a free one]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Return once the stack is ready; `millrace down` stops it
    #[arg(long)]
    pub detach: bool,
    /// Which stack.
    #[command(flatten)]
    pub state: State,
}

/// Which stack is meant, of those that run side by side.
#[derive(Debug, Args)]
pub struct State {
    /// The folder that keeps the stack's files [default: .millrace in the checkout]
    #[arg(long = "state", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        for line in [
            "millrace",
            "millrace fly",
            "millrace up --port 0",
            "millrace up --port 70000",
            "millrace up --port abc",
            "millrace up extra",
            "millrace demo --port 4566",
            "millrace doctor --state x",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn json_is_taken_before_and_after_the_command() {
        for line in ["millrace --json doctor", "millrace doctor --json"] {
            assert!(
                Cli::try_parse_from(line.split(' ')).expect("valid").json,
                "{line}"
            );
        }
    }
}
