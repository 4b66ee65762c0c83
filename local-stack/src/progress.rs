//! The progress of long steps: spinners on a terminal, plain lines elsewhere. It is always written to stderr,
//! so that stdout contains only results.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The smallest number of items for which a step prints its progress without a terminal.
const MIN_COUNTED_ITEMS: usize = 100;
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A spinner per running step.
    Spinners(MultiProgress),
    /// A line when a step starts and one when it ends.
    Lines,
    /// Progress isn't shown.
    Silent,
}

impl Progress {
    /// Spinners if stderr is a terminal, otherwise lines.
    #[must_use]
    pub fn on_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Spinners(MultiProgress::new())
        } else {
            Self::Lines
        }
    }

    /// Starts a step and shows its name.
    pub fn start(&self, name: impl Into<Cow<'static, str>>) -> Step {
        let name = name.into();
        let spinner = match self {
            Self::Spinners(all) => Some(spinner(all, &name)),
            Self::Lines => {
                line_on_stderr(&format!("  {name} …"));
                None
            }
            Self::Silent => None,
        };
        Step {
            progress: self.clone(),
            name,
            started: Instant::now(),
            spinner,
            is_done: false,
        }
    }

    /// Shows a step that isn't run, because its result exists and its inputs are unchanged.
    pub fn already_done(&self, name: &str) {
        self.print(&format!("✓ {name} (up to date)"));
    }

    fn print(&self, line: &str) {
        match self {
            // Fails only if stderr is closed.
            Self::Spinners(all) => drop(all.println(line)),
            Self::Lines => line_on_stderr(line),
            Self::Silent => {}
        }
    }
}

fn spinner(all: &MultiProgress, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}")
        .expect("the template is valid");
    let spinner = all.add(ProgressBar::new_spinner());
    spinner.set_style(style);
    spinner.set_prefix(name.to_owned());
    spinner.enable_steady_tick(TICK);
    spinner
}

/// A step that runs. Dropping it without [`Step::done`] shows that it failed.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    name: Cow<'static, str>,
    started: Instant,
    spinner: Option<ProgressBar>,
    is_done: bool,
}

impl Step {
    /// Shows what the step is doing, in place of the previous detail. Only spinners show it.
    pub fn detail(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text.trim().to_owned());
        }
    }

    /// Shows that `done` of `total` items are done. Without a terminal, a line is printed for about each
    /// tenth of them, if there are at least 100.
    pub fn counted(&self, done: usize, total: usize) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{done} of {total}"));
        } else if total >= MIN_COUNTED_ITEMS && done.is_multiple_of(total.div_ceil(10)) {
            self.progress
                .print(&format!("  {}: {done} of {total}", self.name));
        }
    }

    /// Shows a detail, also without a terminal.
    pub fn milestone(&self, text: &str) {
        if self.spinner.is_some() {
            self.detail(text);
        } else {
            self.progress.print(&format!("  {}: {text}", self.name));
        }
    }

    /// Marks the step as done, and shows it.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let sign = if self.is_done { '✓' } else { '✗' };
        let Self { name, started, .. } = &*self;
        self.progress.print(&format!(
            "{sign} {name} ({:.1} s)",
            started.elapsed().as_secs_f64()
        ));
    }
}

/// Prints a line on stderr. An error is ignored, because it could not be reported.
pub fn line_on_stderr(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
