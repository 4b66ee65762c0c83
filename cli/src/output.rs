//! Results, on stdout: text for people, JSON for programs.
//!
//! After the reader has closed stdout (`millrace verify | head -1`), a command prints nothing more but
//! completes its work, and its exit status is that of the work. A command that only prints ends
//! without an error.

use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::application::Words;
use crate::terminal;

/// Who reads the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// People: text.
    Text,
    /// Programs: a JSON object per line.
    Json,
}

/// Where results go: who reads them, and the domain's words in them.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Who reads them.
    pub format: Format,
    /// The domain's words.
    pub words: Words,
}

impl Output {
    /// Prints one result: `text` for people, `object` for programs.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn result(self, text: impl std::fmt::Display, object: &impl Serialize) -> Result<()> {
        let line = match self.format {
            Format::Text => terminal::lines(&text.to_string()).into_owned(),
            Format::Json => terminal::json(&serde_json::to_string(object)?).into_owned(),
        };
        // A command that works and prints completes its work after its output was closed.
        line_to_reader(&line).map(drop)
    }

    /// Prints a text that programs have no use for.
    ///
    /// # Errors
    /// When stdout can't be written.
    pub fn text(self, text: impl std::fmt::Display) -> Result<()> {
        match self.format {
            Format::Text => line_to_reader(&terminal::lines(&text.to_string())).map(drop),
            Format::Json => Ok(()),
        }
    }
}

/// Prints a line as it is, and flushes: the other end of a pipe sees it when it happens. It breaks
/// when the other end is closed.
///
/// # Errors
/// When stdout can't be written for another reason.
pub(crate) fn line_to_reader(line: &str) -> Result<ControlFlow<()>> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).context("could not print the result"),
    }
}
