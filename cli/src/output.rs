//! Prints results on stdout: text for people, JSON for programs.
//!
//! If the other end of stdout is closed (`millrace verify | head -1`), a command prints nothing more, but
//! completes its work, and its exit status is that of the work. A command that only prints ends without an
//! error.

use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::application::Words;
use crate::terminal;

/// The format of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text, for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The format of the results.
    pub format: Format,
    /// The domain's words in the results.
    pub words: Words,
}

impl Output {
    /// Prints one result: `text` for people, `object` for programs.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn result(self, text: impl std::fmt::Display, object: &impl Serialize) -> Result<()> {
        let line = match self.format {
            Format::Text => terminal::lines(&text.to_string()).into_owned(),
            Format::Json => terminal::json(&serde_json::to_string(object)?).into_owned(),
        };
        // A closed stdout doesn't stop a command: it completes its work.
        line_to_reader(&line).map(drop)
    }

    /// Prints a text for people. Nothing is printed in the format JSON.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn text(self, text: impl std::fmt::Display) -> Result<()> {
        match self.format {
            Format::Text => line_to_reader(&terminal::lines(&text.to_string())).map(drop),
            Format::Json => Ok(()),
        }
    }
}

/// Prints a line unchanged and flushes stdout, so that a reader of a pipe receives it at once. Returns
/// `Break` if the other end of stdout is closed.
///
/// # Errors
/// If stdout can't be written for another reason.
pub(crate) fn line_to_reader(line: &str) -> Result<ControlFlow<()>> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).context("could not print the result"),
    }
}
