//! What long steps show while they run: spinners on a terminal, plain lines elsewhere, always on
//! stderr, so that stdout holds results alone.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// From how many things on a step tells how far it is.
const TOLD: usize = 100;
const TICK: Duration = Duration::from_millis(100);

/// Where progress is shown.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A spinner per running step.
    Spinners(MultiProgress),
    /// A line when a step starts and one when it ends.
    Lines,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// What suits stderr.
    #[must_use]
    pub fn on_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Spinners(MultiProgress::new())
        } else {
            Self::Lines
        }
    }

    /// A step starts.
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
            through: false,
        }
    }

    /// A step that was done before.
    pub fn already_done(&self, name: &str) {
        self.print(&format!("✓ {name} (already there)"));
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
    through: bool,
}

impl Step {
    /// What the step is at; only the last is shown.
    pub fn detail(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text.trim().to_owned());
        }
    }

    /// How many of how many are done. Without a terminal each tenth of them is told.
    pub fn counted(&self, done: usize, total: usize) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{done} of {total}"));
        } else if total >= TOLD && done.is_multiple_of(total.div_ceil(10)) {
            self.progress
                .print(&format!("  {}: {done} of {total}", self.name));
        }
    }

    /// The step is through.
    pub fn done(mut self) {
        self.through = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let sign = if self.through { '✓' } else { '✗' };
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
