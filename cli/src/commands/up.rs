//! `millrace up`: the local stack, until Ctrl-C or `millrace down`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use millrace_local_stack::stack::{self, Ending, Lifetime, Local, LocalStack, Options, Packages};

use crate::application::Application;
use crate::args::Up;
use crate::clients::Clients;
use crate::event_line;
use crate::follower::{self, Follower};
use crate::output::{self, Output};
use crate::signals::StopSignal;

/// How long an emulator that no longer answers may take to end.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn run<A: Application>(up: Up, output: Output) -> Result<ExitCode> {
    let (workspace, state) = super::locate(up.state)?;
    let lifetime = if up.detach {
        Lifetime::Own
    } else {
        Lifetime::Starter
    };
    let start = LocalStack::start_for(
        lifetime,
        Options {
            port: up.port,
            packages: Packages::Application(A::PACKAGE),
            ..Options::new(workspace, state)
        },
    );
    let mut stop_signal = StopSignal::listen()?;
    let stack = tokio::select! {
        started = start => started?,
        () = stop_signal.received() => bail!("stopped before it was ready"),
    };
    if up.detach {
        let local = stack.detach();
        output.result(welcome::<A>(&local, output), &local)?;
        output.text(format_args!("\n`{} down` stops it.", A::COMMAND))?;
        return Ok(ExitCode::SUCCESS);
    }
    output.result(welcome::<A>(stack.local(), output), stack.local())?;
    output.text("\nDomain events as they are published (Ctrl-C stops everything):")?;
    follow(stack, stop_signal, output).await
}

async fn follow(
    mut stack: LocalStack,
    mut stop_signal: StopSignal,
    output: Output,
) -> Result<ExitCode> {
    let local = stack.local();
    let events = print_events(
        Clients::of(local).kinesis,
        local.stream_name.clone(),
        output,
    );
    let ending = tokio::select! {
        () = stop_signal.received() => {
            stack.stop()?;
            return Ok(ExitCode::SUCCESS);
        }
        ending = stack.ended() => ending?,
        // Reading also fails after the emulator has ended. In that case, report how it ended, not the read
        // error.
        failure = events => match tokio::time::timeout(SETTLE, stack.ended()).await {
            Ok(ending) => ending?,
            Err(_) => return failure,
        },
    };
    match ending {
        Ending::Stopped => output.text("The local stack was stopped.")?,
        Ending::Failed(status) => bail!("the emulator failed ({status})"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the domain events until a read or a write fails.
async fn print_events(
    client: aws_sdk_kinesis::Client,
    stream: String,
    output: Output,
) -> Result<ExitCode> {
    let mut follower = Follower::new(client, &stream);
    loop {
        for record in follower.read().await? {
            if output::line_to_reader(&event_line::format(&record, output))?.is_break() {
                // The output is closed, but the stack runs until it is stopped.
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(follower::PAUSE).await;
    }
}

/// The addresses of the contract's documents; nothing if the application describes none.
fn documents<A: Application>(api_url: &str) -> String {
    match A::contract() {
        Ok(Some(_)) => {
            format!("Its documents are {api_url}/openapi.json and {api_url}/asyncapi.json.\n\n")
        }
        Ok(None) | Err(_) => String::new(),
    }
}

fn welcome<A: Application>(local: &Local, output: Output) -> String {
    let Local {
        api_url,
        endpoint_url,
        ..
    } = local;
    let noun = A::NOUN;
    format!(
        "The local stack is ready. The AWS emulator listens at {endpoint_url}, the API at

  API={api_url}

{}{}
Then {} shows the {noun}'s rows, events, cursor and view, and
{} compares events, cursors, read models and lake.

Differences from AWS:

{}
{}",
        documents::<A>(api_url),
        A::FIRST_COMMANDS,
        output.command(format_args!("inspect --{noun} ID")),
        output.command("verify"),
        stack::ATHENA_LIMITS,
        stack::NODE_LIMITS,
    )
}
