//! The campaign as a test without the standard harness, with one call of [`main`] as its own.
//!
//! Its tests: seeds, in which every property has to hold; the named histories; and for each deliberate
//! break that some seed catches it. `SIMULATION_SEEDS` says how many seeds are run (a few hundred
//! where it isn't set), and `SIMULATION_SEED` runs a single one. The figures are printed at the end.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use super::histories::HISTORIES;
use super::sabotage::{REGRESSIONS, SABOTAGES, Sabotage};
use super::scenario::Scenario;
use super::{Options, Simulation, campaign};

/// How many seeds are run by default.
const SEEDS: u64 = 300;
/// After how many the progress of a long run is printed.
const PROGRESS_EVERY: u64 = 1_000;
/// Within how many seeds a deliberate break has to be caught.
const CAUGHT_WITHIN: u64 = 200;
/// The same for a break that only a rare history shows.
const RARE_CAUGHT_WITHIN: u64 = 2_000;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is no number")))
}

fn seeds(default: u64) -> Range<u64> {
    match variable("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIMULATION_SEEDS").unwrap_or(default),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Runs seeds; returns the figures.
fn holds(simulation: &Simulation, seeds: Range<u64>) -> Result<String, Failed> {
    let options = Options::default();
    let all = seeds.end - seeds.start;
    let progress = |through: u64| {
        if through.is_multiple_of(PROGRESS_EVERY) {
            eprintln!("{through} of {all} seeds");
        }
    };
    match campaign::run(simulation, seeds, threads(), options, progress) {
        Ok(figures) => Ok(figures.to_string()),
        Err((seed, outcome)) => {
            let failure = campaign::shrink(simulation, seed, *outcome, options);
            Err(Failed::from(failure.to_string()))
        }
    }
}

/// Runs seeds with a break until one catches it; returns how.
fn catches(
    simulation: &Simulation,
    seeds: Range<u64>,
    sabotage: Sabotage,
    properties: &[&str],
) -> Result<String, Failed> {
    let options = Options {
        sabotage: Some(sabotage),
        ..Options::default()
    };
    let Err((seed, outcome)) = campaign::run(simulation, seeds, threads(), options, |_| ()) else {
        return Err(Failed::from("no seed catches it"));
    };
    let violation = outcome.violation.expect("it has failed");
    if !properties.contains(&violation.property) {
        return Err(Failed::from(format!(
            "seed {seed} fails by another: {violation}"
        )));
    }
    Ok(format!("{sabotage:?}: seed {seed}, {violation}\n"))
}

/// Runs the tests that the command line selects.
pub fn main(scenario: impl Scenario) -> ExitCode {
    run(scenario, SEEDS, true)
}

/// Runs the tests that the command line selects, without those of the deliberate breaks, and with `seeds`
/// seeds where `SIMULATION_SEEDS` isn't set: for a domain whose tests should take little time. That the
/// checks can fail is a property of the simulation, which its own tests prove.
pub fn main_without_breaks(scenario: impl Scenario, seeds: u64) -> ExitCode {
    run(scenario, seeds, false)
}

fn run(scenario: impl Scenario, default_seeds: u64, has_breaks: bool) -> ExitCode {
    let simulation = Simulation::new(scenario);
    let mut arguments = Arguments::from_args();
    // Each trial uses all processors.
    arguments.test_threads = Some(1);
    let figures = Arc::new(Mutex::new(String::new()));
    let trial = |name: String, run: Run| {
        let figures = Arc::clone(&figures);
        Trial::test(name, move || {
            let said = run()?;
            figures.lock().expect("unpoisoned").push_str(&said);
            Ok(())
        })
    };
    let mut trials = vec![trial(
        "simulation::every_property_holds_under_every_fault".to_owned(),
        {
            let simulation = simulation.clone();
            Box::new(move || holds(&simulation, seeds(default_seeds)))
        },
    )];
    trials.extend(HISTORIES.map(|history| {
        let simulation = simulation.clone();
        trial(
            format!("simulation::scenario::{}", history.name),
            Box::new(move || {
                let outcome = history.run(&simulation);
                outcome.map(|()| String::new()).map_err(Failed::from)
            }),
        )
    }));
    if has_breaks {
        trials.extend(breaks(&simulation, trial));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    eprint!("{}", figures.lock().expect("unpoisoned"));
    conclusion.exit_code()
}

type Run = Box<dyn FnOnce() -> Result<String, Failed> + Send>;

/// A test for each deliberate break.
fn breaks(simulation: &Simulation, trial: impl Fn(String, Run) -> Trial) -> Vec<Trial> {
    let regressions = REGRESSIONS.map(|(sabotage, property)| {
        let simulation = simulation.clone();
        trial(
            format!("simulation::catches::{sabotage:?}"),
            Box::new(move || catches(&simulation, 0..RARE_CAUGHT_WITHIN, sabotage, &[property])),
        )
    });
    let sabotages = SABOTAGES.map(|(sabotage, properties)| {
        let simulation = simulation.clone();
        // About one seed in a hundred has an event between a view's damage and its replacement.
        let is_rare = sabotage == Sabotage::RevisionIgnored;
        let within = if is_rare {
            RARE_CAUGHT_WITHIN
        } else {
            CAUGHT_WITHIN
        };
        trial(
            format!("simulation::catches::{sabotage:?}"),
            Box::new(move || catches(&simulation, 0..within, sabotage, properties)),
        )
    });
    regressions.into_iter().chain(sabotages).collect()
}
