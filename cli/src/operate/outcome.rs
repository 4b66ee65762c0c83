//! Prints the outcome of publishing, per aggregate and as a summary.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::publish::{CursorFault, Outcome, Summary};
use super::verify::NOT_WELL;
use crate::application::Words;
use crate::output::Output;

pub(super) fn print(id: &str, outcome: &Outcome, output: Output) -> Result<()> {
    match outcome {
        Outcome::Published(sequence) => output.result(
            format_args!("✓ {id}: published through {sequence}"),
            &json!({ (output.words.noun): id, "publishedThrough": sequence }),
        ),
        Outcome::Blocked(block) => {
            let (sequence, reason) = (block.sequence, &block.reason);
            output.result(
                format_args!("✗ {id}: blocked at event {sequence}: {reason}"),
                &json!({ (output.words.noun): id, "blockedAt": sequence, "reason": reason }),
            )
        }
        Outcome::Incomplete(reason) => output.result(
            format_args!("✗ {id}: incomplete: {reason}"),
            &json!({ (output.words.noun): id, "incomplete": true, "reason": reason }),
        ),
        Outcome::CursorFault(fault) => print_cursor_fault(id, fault, output),
        Outcome::TooFewEvents(events) => output.result(
            format_args!("✗ {id}: has only {events} events"),
            &json!({ (output.words.noun): id, "events": events }),
        ),
    }
}

pub(super) fn print_cursor_fault(id: &str, fault: &CursorFault, output: Output) -> Result<()> {
    let Words { command, noun, .. } = output.words;
    let object = match fault {
        CursorFault::Unreadable(error) => {
            json!({ (output.words.noun): id, "cursorUnreadable": error.to_string() })
        }
        CursorFault::Ahead { cursor, events } => {
            json!({ (output.words.noun): id, "cursorAhead": cursor, "events": events })
        }
        CursorFault::WasAhead(reason) => {
            json!({ (output.words.noun): id, "cursorWasAhead": true, "reason": reason })
        }
        CursorFault::AnnouncedRowMissing(reason) => {
            json!({ (output.words.noun): id, "announcedRowMissing": true, "reason": reason })
        }
    };
    output.result(
        format_args!(
            "✗ {id}: {fault}; read the runbook, then run `{command} redrive --{noun} {id} --reset-cursor`"
        ),
        &object,
    )
}

pub(super) fn print_reset(id: &str, fault: &CursorFault, output: Output) -> Result<()> {
    output.result(
        format_args!("  {id}: the cursor was reset to 0: {fault}"),
        &json!({ (output.words.noun): id, "reset": fault.to_string() }),
    )
}

pub(super) fn print_summary(summary: Summary, output: Output) -> Result<ExitCode> {
    let collection = output.words.collection;
    let Summary {
        aggregates,
        published,
    } = summary;
    output.result(
        format_args!("{published} of {aggregates} {collection} are published."),
        &json!({ (collection): aggregates, "published": published }),
    )?;
    Ok(if summary.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}
