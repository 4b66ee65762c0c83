//! Results, on stdout: text for people, JSON for programs.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Who reads the results.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    /// People: text.
    Text,
    /// Programs: a JSON object per line.
    Json,
}

impl Output {
    /// Prints one result: `text` for people, `object` for programs.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(crate) fn result(
        self,
        text: impl std::fmt::Display,
        object: &impl Serialize,
    ) -> Result<()> {
        let line = match self {
            Self::Text => text.to_string(),
            Self::Json => serde_json::to_string(object)?,
        };
        self::line(&line)
    }

    /// Prints a text that programs have no use for.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(crate) fn text(self, text: impl std::fmt::Display) -> Result<()> {
        match self {
            Self::Text => line(&text.to_string()),
            Self::Json => Ok(()),
        }
    }
}

/// Prints a line as it is, and flushes: the other end of a pipe sees it when it happens.
///
/// # Errors
/// When stdout is closed.
pub(crate) fn line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("could not print the result")
}
