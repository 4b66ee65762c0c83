//! Prints results on stdout: text for people, JSON for programs.
//!
//! If the other end of stdout is closed (`millrace verify | head -1`), a command prints nothing more, but
//! completes its work, and its exit status is that of the work. A command that only prints ends without an
//! error.
//!
//! Text is coloured only on a terminal, and not if the environment variable `NO_COLOR` is set
//! ([no-color.org](https://no-color.org)). A colour only repeats what a sign says.

use std::io::{ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use millrace_local_stack::progress::line_on_stderr;
use serde::Serialize;

use crate::application::Words;
use crate::terminal;

/// The maximum width of a column with ids. A longer id moves the rest of its line.
const MAX_WIDTH: usize = 48;

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
    /// Whether text is coloured.
    pub is_coloured: bool,
    /// The flag that selects the deployment, which advised commands contain; empty if there is none.
    pub(crate) deployment_flag: &'static str,
    /// Whether results are printed on stderr, because stdout contains something else.
    is_on_stderr: bool,
}

impl Output {
    /// Output on this process's stdout. It is coloured as the terminal and the environment variables
    /// `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say.
    #[must_use]
    pub fn on_stdout(format: Format, words: Words) -> Self {
        let choice = AutoStream::choice(&std::io::stdout());
        Self {
            format,
            words,
            is_coloured: choice != ColorChoice::Never,
            deployment_flag: "",
            is_on_stderr: false,
        }
    }

    /// The output of a command that writes something else than results on stdout.
    pub(crate) fn on_stderr(self) -> Self {
        let choice = AutoStream::choice(&std::io::stderr());
        Self {
            is_coloured: choice != ColorChoice::Never,
            is_on_stderr: true,
            ..self
        }
    }

    /// The output of a command on the deployment that `--deployment` selects. The commands that the output
    /// advises then have the same flag.
    pub(crate) fn of_deployment(self, file: Option<&Path>) -> Self {
        let Some(file) = file.map(|file| file.display().to_string()) else {
            return self;
        };
        let flag = format!(" --deployment {}", quoted(&file));
        Self {
            // Once per process.
            deployment_flag: flag.leak(),
            ..self
        }
    }

    /// A command of this program as the user enters it: with its name and the flag of the deployment.
    /// `arguments` begins with the subcommand.
    pub(crate) fn command(self, arguments: impl std::fmt::Display) -> String {
        format!(
            "`{} {arguments}{}`",
            self.words.command, self.deployment_flag
        )
    }

    /// A whole command, in backquotes. The flag of the deployment is added to a command of this program.
    pub(crate) fn with_flag(self, command: &str) -> String {
        let own = command.strip_prefix(self.words.command);
        match own.and_then(|arguments| arguments.strip_prefix(' ')) {
            Some(arguments) => self.command(arguments),
            None => format!("`{command}`"),
        }
    }

    /// Advises the next command. `text` contains [`command`](Self::command). Nothing is printed in the format
    /// JSON.
    pub(crate) fn next(self, text: impl std::fmt::Display) -> Result<()> {
        self.text(Self::next_line(text))
    }

    /// The line that [`next`](Self::next) prints.
    pub(crate) fn next_line(text: impl std::fmt::Display) -> String {
        format!("Next: {text}")
    }

    /// Prints the outcome of one aggregate. `width` is the width of the column with the ids.
    pub(crate) fn outcome(
        self,
        sign: char,
        id: &str,
        width: usize,
        text: impl std::fmt::Display,
        object: &impl Serialize,
    ) -> Result<()> {
        let id = terminal::on_one_line(id);
        self.line(format_args!("{sign} {id:<width$}  {text}"), object)
    }

    /// Prints one result: `text` for people, `object` for programs. Line breaks in `text` are kept.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn result(self, text: impl std::fmt::Display, object: &impl Serialize) -> Result<()> {
        match self.format {
            Format::Text => self.text(text),
            Format::Json => self.json(object),
        }
    }

    /// Prints one result as [`result`](Self::result) does. The text is one line: a line break in it, which
    /// may come from an id or an error, is escaped.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn line(self, text: impl std::fmt::Display, object: &impl Serialize) -> Result<()> {
        self.result(terminal::on_one_line(&text.to_string()), object)
    }

    /// Prints a text for people. Nothing is printed in the format JSON.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn text(self, text: impl std::fmt::Display) -> Result<()> {
        if self.format == Format::Json {
            return Ok(());
        }
        let text = text.to_string();
        let text = terminal::lines(&text);
        self.print(&if self.is_coloured {
            terminal::coloured(&text)
        } else {
            text.into_owned()
        })
    }

    /// Prints an object for programs. Nothing is printed in the format text.
    ///
    /// # Errors
    /// If stdout can't be written. A closed stdout is no error.
    pub fn json(self, object: &impl Serialize) -> Result<()> {
        if self.format == Format::Text {
            return Ok(());
        }
        let object = serde_json::to_string(object)?;
        self.print(&terminal::json(&object))
    }

    fn print(self, line: &str) -> Result<()> {
        if self.is_on_stderr {
            line_on_stderr(line);
            return Ok(());
        }
        // A closed stdout doesn't stop a command: it completes its work.
        line_to_reader(line).map(drop)
    }

    /// Prints a table for people, each of whose rows is one line. Nothing is printed in the format JSON.
    pub(crate) fn table(self, rows: &Rows) -> Result<()> {
        rows.lines().iter().try_for_each(|line| self.text(line))
    }
}

#[cfg(test)]
impl Output {
    /// Output without colours, with the account's words.
    pub(crate) const fn of(format: Format) -> Self {
        Self {
            format,
            words: Words::ACCOUNT,
            is_coloured: false,
            deployment_flag: "",
            is_on_stderr: false,
        }
    }
}

/// An argument of a command as the user enters it in a shell.
pub(crate) fn quoted(argument: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "_.:/-".contains(character);
    if argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// The width of a column with these ids.
pub(crate) fn width<'a>(ids: impl IntoIterator<Item = &'a String>) -> usize {
    let widths = ids.into_iter().map(|id| id.chars().count());
    widths.max().unwrap_or_default().min(MAX_WIDTH)
}

/// The rows of a table with aligned columns.
#[derive(Debug)]
pub(crate) struct Rows {
    table: Table,
    indent: &'static str,
}

impl Rows {
    /// A table without a header, each line of which begins with `indent`.
    pub(crate) fn indented(indent: &'static str) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        Self { table, indent }
    }

    /// A table with a header.
    pub(crate) fn with_header(names: &[&str]) -> Self {
        let mut rows = Self::indented("");
        rows.table.set_header(names.iter().copied());
        rows
    }

    /// Aligns a column to the right, as numbers are.
    pub(crate) fn right(mut self, column: usize) -> Self {
        if let Some(column) = self.table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self
    }

    /// Adds a row. Invisible characters in the cells are escaped.
    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells = cells
            .iter()
            .map(|cell| terminal::on_one_line(cell.as_ref()));
        self.table.add_row(cells);
    }

    /// The lines, without spaces at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.table.lines();
        lines
            .map(|line| {
                // Each cell is padded with one space on both sides.
                let line = line.strip_prefix(' ').unwrap_or(&line).trim_end();
                format!("{}{line}", self.indent)
            })
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_control_no_terminal() {
        let mut rows = Rows::with_header(&["seq", "type", "row"]).right(0);
        rows.push(&["9", "Created", "{}"]);
        rows.push(&["10", "日本\n", "a\u{1b}[2J"]);
        assert_eq!(
            rows.lines(),
            [
                "seq  type     row",
                "  9  Created  {}",
                r" 10  日本\n   a\u{1b}[2J",
            ]
        );
        let mut rows = Rows::indented("  ");
        rows.push(&["a", ""]);
        rows.push(&["bc", "d"]);
        assert_eq!(rows.lines(), ["  a", "  bc  d"]);
    }

    #[test]
    fn the_widest_id_determines_the_width_of_the_column() {
        let ids = ["a".to_owned(), "日本語".to_owned()];
        assert_eq!(width(&ids), 3);
        assert_eq!(width(&["x".repeat(1000)]), MAX_WIDTH);
        assert_eq!(width(&[]), 0);
    }
}
