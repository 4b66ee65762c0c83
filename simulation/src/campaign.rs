//! Runs many seeds concurrently, sums up their figures, and shrinks the first failing seed to the shortest
//! prefix of its history that still fails.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::faults::Tally;
use super::world::Violation;
use super::{Options, Outcome, Simulation};

/// The number of lines that are shown of the end of a failing seed's history.
const SHOWN: usize = 60;

/// The figures of a campaign.
#[derive(Debug, Default)]
pub struct Figures {
    /// The number of seeds that were run.
    pub seeds: u64,
    /// The number of injected faults of each kind.
    pub faults: Tally,
    /// The counts of actions and their effects, by name.
    pub work: Tally,
}

/// A seed that failed, shrunk.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The number of actions and of faults in the whole history.
    pub whole: (usize, u64),
    /// The number of actions and of faults in the shortest prefix that still fails.
    pub shortest: (usize, u64),
    /// The violation in the shortest prefix.
    pub violation: Violation,
    /// The history of the shortest prefix.
    pub trace: Vec<String>,
}

impl Figures {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        for (fault, count) in outcome.faults {
            *self.faults.entry(format!("{fault:?}")).or_default() += count;
        }
        for (what, count) in outcome.tally {
            *self.work.entry(what).or_default() += count;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        writeln!(f, "{} seeds, {faults} faults:", self.seeds)?;
        for (what, count) in self.faults.iter().chain(&self.work) {
            writeln!(f, "{count:>12}  {what}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, .. } = self;
        writeln!(f, "seed {seed} fails: {}", self.violation)?;
        writeln!(
            f,
            "shortest prefix: {} of {} actions, {} of {} faults; its end:",
            self.shortest.0, self.whole.0, self.shortest.1, self.whole.1
        )?;
        for line in self.trace.iter().rev().take(SHOWN).rev() {
            writeln!(f, "  {line}")?;
        }
        // Cargo sets the name of the package whose test runs.
        let package = std::env::var("CARGO_PKG_NAME");
        let package = package.map_or_else(|_| String::new(), |name| format!(" -p {name}"));
        writeln!(
            f,
            "again: SIMULATION_SEED={seed} cargo test{package} --test simulation"
        )
    }
}

/// Runs these seeds on this number of threads, until one fails. It calls `progress` after each seed, with the
/// number of seeds that have run.
///
/// # Errors
/// The lowest of the seeds that failed, with its outcome.
pub fn run(
    simulation: &Simulation,
    seeds: std::ops::Range<u64>,
    threads: usize,
    options: Options,
    progress: impl Fn(u64) + Sync,
) -> Result<Figures, (u64, Box<Outcome>)> {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let figures = Mutex::new(Figures::default());
    let failed: Mutex<Option<(u64, Outcome)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = simulation.run(seed, options);
                    if outcome.violation.is_none() {
                        let mut figures = figures.lock().expect("unpoisoned");
                        figures.add(outcome);
                        progress(figures.seeds);
                        continue;
                    }
                    is_over.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().expect("unpoisoned");
                    if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failed = Some((seed, outcome));
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("unpoisoned") {
        None => Ok(figures.into_inner().expect("unpoisoned")),
        Some((seed, outcome)) => Err((seed, Box::new(outcome))),
    }
}

/// Shrinks a failed seed: searches for the lowest number of actions, and then for the lowest number of faults,
/// with which the seed still fails.
#[must_use]
pub fn shrink(simulation: &Simulation, seed: u64, outcome: Outcome, options: Options) -> Failure {
    let injected = |outcome: &Outcome| outcome.faults.values().sum::<u64>();
    let whole = (outcome.actions, injected(&outcome));
    let mut shortest = (whole.0, whole.1, outcome);
    let fails = |actions: usize, faults: u64| {
        let outcome = simulation.run(
            seed,
            Options {
                most_actions: actions,
                most_faults: faults,
                keep_trace: true,
                ..options
            },
        );
        outcome.violation.is_some().then_some(outcome)
    };
    if let Some(outcome) = fails(whole.0, u64::MAX) {
        shortest = (whole.0, whole.1, outcome);
    }
    let (mut passing, mut failing) = (0, whole.0);
    while failing - passing > 1 {
        let middle = passing + (failing - passing) / 2;
        if let Some(outcome) = fails(middle, u64::MAX) {
            failing = middle;
            shortest = (middle, injected(&outcome), outcome);
        } else {
            passing = middle;
        }
    }
    let (mut passing, mut failing) = (0, shortest.1);
    while failing - passing > 1 {
        let middle = passing + (failing - passing) / 2;
        if let Some(outcome) = fails(shortest.0, middle) {
            failing = middle;
            shortest = (shortest.0, middle, outcome);
        } else {
            passing = middle;
        }
    }
    let (actions, faults, outcome) = shortest;
    Failure {
        seed,
        whole,
        shortest: (actions, faults),
        violation: outcome.violation.expect("it fails"),
        trace: outcome.trace,
    }
}
