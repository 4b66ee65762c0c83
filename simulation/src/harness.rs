//! A test program without the standard harness. A package's `tests/simulation.rs` calls [`main`].
//!
//! Its tests run seeds, in which every property must hold; the named histories; and for each deliberate break,
//! seeds until one catches it. `SIMULATION_SEEDS` is the number of seeds (a few hundred if it isn't set);
//! `SIMULATION_SEED` runs a single seed. The figures are printed at the end.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};

use super::histories::HISTORIES;
use super::sabotage::{REGRESSIONS, SABOTAGES, Sabotage};
use super::scenario::Scenario;
use super::{Options, Simulation, campaign};

/// The default number of seeds.
const SEEDS: u64 = 300;
/// The number of seeds after which a long run prints its progress.
const PROGRESS_EVERY: u64 = 1_000;
/// The number of seeds within which a deliberate break must be caught.
const CAUGHT_WITHIN: u64 = 200;
/// The number of seeds for a break that few histories show.
const RARE_CAUGHT_WITHIN: u64 = 2_000;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number")))
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

/// Runs seeds, in which every property must hold. Returns the figures.
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

/// Runs seeds with a break until one catches it. Returns the seed and the violation.
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
        return Err(Failed::from("no seed catches the break"));
    };
    let violation = outcome.violation.expect("a violation of the failed seed");
    if !properties.contains(&violation.property) {
        return Err(Failed::from(format!(
            "seed {seed} violates another property: {violation}"
        )));
    }
    Ok(format!("{sabotage:?}: seed {seed}, {violation}\n"))
}

/// Runs the tests that the command line selects.
pub fn main(scenario: impl Scenario) -> ExitCode {
    run(scenario, SEEDS, true)
}

/// Runs the tests that the command line selects, without those of the deliberate breaks, and with `seeds` seeds
/// if `SIMULATION_SEEDS` isn't set. It is for domains whose tests should take little time; the simulation's own
/// tests prove with the breaks that the checks can fail.
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
            figures.lock().expect("not poisoned").push_str(&said);
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
    eprint!("{}", figures.lock().expect("not poisoned"));
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
