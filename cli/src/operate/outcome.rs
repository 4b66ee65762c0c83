//! Prints the outcome of publishing, per aggregate and as a summary.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::publish::{CursorFault, Outcome, Summary};
use super::verify::NOT_WELL;
use crate::application::events;
use crate::output::Output;

/// Prints the outcome of one aggregate. `width` is the width of the column with the ids.
pub(super) fn print(id: &str, width: usize, outcome: &Outcome, output: Output) -> Result<()> {
    let noun = output.words.noun;
    match outcome {
        Outcome::Published(sequence) => output.outcome(
            '✓',
            id,
            width,
            format_args!("published through event {sequence}"),
            &json!({ (noun): id, "publishedThrough": sequence }),
        ),
        Outcome::Blocked(block) => {
            let (sequence, reason) = (block.sequence, &block.reason);
            output.outcome(
                '✗',
                id,
                width,
                format_args!("blocked at event {sequence}: {reason}"),
                &json!({ (noun): id, "blockedAt": sequence, "reason": reason }),
            )
        }
        Outcome::Incomplete(reason) => output.outcome(
            '✗',
            id,
            width,
            format_args!("incomplete: {reason}"),
            &json!({ (noun): id, "incomplete": true, "reason": reason }),
        ),
        Outcome::CursorFault(fault) => print_cursor_fault(id, width, fault, output),
        Outcome::TooFewEvents(number) => output.outcome(
            '✗',
            id,
            width,
            format_args!("has only {}", events(number.get())),
            &json!({ (noun): id, "events": number }),
        ),
    }
}

pub(super) fn print_cursor_fault(
    id: &str,
    width: usize,
    fault: &CursorFault,
    output: Output,
) -> Result<()> {
    let noun = output.words.noun;
    let object = match fault {
        CursorFault::Unreadable(error) => {
            json!({ (noun): id, "cursorUnreadable": error.to_string() })
        }
        CursorFault::Ahead { cursor, events } => {
            json!({ (noun): id, "cursorAhead": cursor, "events": events })
        }
        CursorFault::WasAhead(reason) => {
            json!({ (noun): id, "cursorWasAhead": true, "reason": reason })
        }
        CursorFault::AnnouncedRowMissing(reason) => {
            json!({ (noun): id, "announcedRowMissing": true, "reason": reason })
        }
    };
    let reset = output.command(format_args!("redrive --{noun} {id} --reset-cursor"));
    output.outcome(
        '✗',
        id,
        width,
        format_args!("{fault}; read the runbook, then run {reset}"),
        &object,
    )
}

pub(super) fn print_reset(
    id: &str,
    width: usize,
    fault: &CursorFault,
    output: Output,
) -> Result<()> {
    output.outcome(
        ' ',
        id,
        width,
        format_args!("the cursor was reset to 0: {fault}"),
        &json!({ (output.words.noun): id, "reset": fault.to_string() }),
    )
}

/// Prints the summary of a run and the next command. `repeat` is the command, with its flags, that publishes
/// what this run could not publish.
pub(super) fn print_summary(summary: Summary, repeat: &str, output: Output) -> Result<ExitCode> {
    let Summary {
        aggregates,
        published,
    } = summary;
    let sign = if summary.is_complete() { '✓' } else { '✗' };
    output.line(
        format_args!(
            "{sign} {published} of {} completely published",
            output.words.count(aggregates)
        ),
        &json!({ (output.words.collection): aggregates, "published": published }),
    )?;
    if summary.is_complete() {
        output.next(format_args!(
            "{} compares events, read models and lake",
            output.command("verify")
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    advise_repeating(repeat, output)
}

/// Ends a run that left some aggregates incomplete: advises the command that continues it, and returns the exit
/// status.
pub(super) fn advise_repeating(repeat: &str, output: Output) -> Result<ExitCode> {
    output.next(format_args!(
        "remove the reasons above as the runbook describes, then run {}",
        output.command(repeat)
    ))?;
    Ok(ExitCode::from(NOT_WELL))
}
