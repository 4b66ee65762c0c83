//! Deterministic simulation testing of a domain on Millrace. The code of the writer, translator, projector,
//! archiver, reader, reconciler and operators' commands runs over simulated services, which inject the faults
//! that AWS documents.
//!
//! A seed determines the actions of clients and other writers (`workload`, `clients`, `other_writers`), the
//! duration and the result of each call (`services`, [`faults`]), the crash point of each invocation
//! (`invocation`), and how the streams are sharded and read (`log`, `mapping`). The same seed produces the same
//! history, byte for byte. Time is virtual: no test waits in real time.
//!
//! # Use
//!
//! A domain implements [`Scenario`]: it draws commands, checks the rows that they lead to, makes undecodable
//! rows and rows of other writers, and gives the values that are expected from its rows
//! ([`scenario::Expectation`]; [`scenario::FoldByDomain`] computes them with the domain's own functions).
//! `tests/simulation.rs`, with `harness = false` in the package's manifest, runs the simulation:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     millrace_simulation::harness::main(Orders)
//! }
//! ```
//!
//! * [`pipeline`]: the functions over services in memory, without faults, for a domain's own tests;
//! * [`harness`]: the `main` of a domain's `tests/simulation.rs`;
//! * [`campaign`]: runs many seeds, and searches for the shortest prefix of a history that still fails;
//! * [`histories`]: the named histories, which run for every domain;
//! * [`sabotage`]: the deliberate breaks, which prove that the checks can fail.
//!
//! # Properties
//!
//! When the faults are over and the simulation is quiescent, `check` compares the simulated tables,
//! streams and lake with the values that `expected` computes from the rows, independently of the code
//! under test:
//!
//! * 1: the first occurrences of an aggregate's events on the domain stream are 1, 2, 3, …, and
//!   duplicates are byte-identical;
//! * 2: a cursor never passes the last event that Kinesis has acknowledged (checked at every save of a
//!   cursor);
//! * 3: a view is the fold of its events and its sequence never decreases (checked at every save of a view
//!   and in every response of the reader), and the history has an entry for each event;
//! * 4: every committed event reaches the stream, the read models and the lake, or its absence is
//!   reported;
//! * 5: an error of one aggregate doesn't affect other aggregates, and no batch is discarded after the end
//!   of the faults;
//! * W: the writer: an accepted command has exactly its events, and a refused command has none; all responses
//!   for one idempotency key are equal; no command is refused after its events were committed; no event's time
//!   is far from its writer's clock; the function responds before its timeout; a snapshot is the fold of the
//!   events before it; [`Scenario::invariant`] holds;
//! * O: the operators' commands: a report is true, and a command changes nothing but what its arguments name;
//! * C: a consumer that starts from nothing while commands run: an operator sends it the history with `replay`, and
//!   then maps it to the domain stream. It applies each event once, in order and with the same bytes, and all of
//!   them, except those of which `replay` reported that they could not be sent. `replay` changes nothing else;
//! * R: the reconciler: two runs never write at the same time, and a run invokes no function but the
//!   translator, the projector and the archiver;
//! * E: no panic ends an invocation, and each of the scenario's damages makes its row undecodable.
//!
//! If a call exceeds a service's limit, the property of the calling function is violated.
//!
//! The simulation doesn't cover the adapters to the AWS SDK. They have tests with mocked responses and tests
//! on the emulator.

pub mod campaign;
mod check;
mod clients;
mod consumer;
mod days;
mod dynamodb;
mod event_filter;
mod expected;
pub mod faults;
mod firehose;
mod functions;
pub mod harness;
pub mod histories;
mod invocation;
mod kinesis;
mod log;
mod mapping;
mod operators;
mod other_writers;
mod panics;
pub mod pipeline;
mod queries;
mod reconciler;
pub mod sabotage;
pub mod scenario;
mod service_limits;
mod services;
#[cfg(test)]
mod shelves;
mod sim;
mod size_limits;
mod upgrade;
mod workload;
pub mod world;

pub use fastrand::Rng;
pub use scenario::Scenario;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use check::Quiescence;
use clients::{Request, send};
use consumer::ConsumerMapping;
use dynamodb::events::EventsTable;
use event_filter::EventFilter;
use faults::{Fault, Plan, Tally};
use functions::{ArchiverFunction, ProjectorFunction, Simulated, TranslatorFunction};
use log::Log;
use mapping::{LIMITS, Limits, Mapping, is_through};
use sabotage::Sabotage;
use sim::Sim;
use upgrade::Upgrade;
use workload::Workload;
use world::{Answer, Trace, Violation, World};

/// The time within which the simulation must become quiescent after the last action, in virtual milliseconds.
/// Faults last at most two minutes, and backoffs between attempts some seconds.
const PATIENCE: u64 = 2 * 60 * 60 * 1_000;

/// The options of a run of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The deliberate break, if any.
    pub sabotage: Option<Sabotage>,
    /// The most actions of the workload that are executed. Shrinking lowers it.
    pub most_actions: usize,
    /// The most faults that are injected. Shrinking lowers it.
    pub most_faults: u64,
    /// Whether the history is kept as text, for [`Outcome::trace`].
    pub keep_trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sabotage: None,
            most_actions: usize::MAX,
            most_faults: u64::MAX,
            keep_trace: false,
        }
    }
}

/// The outcome of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The first violation of a property; `None` if every property held.
    pub violation: Option<Violation>,
    /// The number of actions that were executed.
    pub actions: usize,
    /// The number of injected faults of each kind.
    pub faults: BTreeMap<Fault, u64>,
    /// The counts of actions and their effects, by name.
    pub tally: Tally,
    /// A hash of the history. Equal histories have equal hashes.
    pub hash: u64,
    /// The history, if [`Options::keep_trace`] is set; otherwise empty.
    pub trace: Vec<String>,
}

/// The simulation of a scenario.
#[derive(Clone)]
pub struct Simulation {
    scenario: Arc<dyn Simulated>,
}

impl Simulation {
    /// The simulation of this scenario.
    pub fn new(scenario: impl Scenario) -> Self {
        Self {
            scenario: Arc::new(scenario),
        }
    }

    /// Runs a seed.
    #[must_use]
    pub fn run(&self, seed: u64, options: Options) -> Outcome {
        in_virtual_time(run(&self.scenario, seed, options))
    }
}

fn in_virtual_time<T>(history: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(history)
}

async fn run(scenario: &Arc<dyn Simulated>, seed: u64, options: Options) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let workload = Workload::draw(&**scenario, &mut rng);
    let mut actions = workload.actions;
    actions.truncate(options.most_actions);
    let done = actions.len();
    let subscribes_at = workload.subscribes_at.filter(|at| *at < done);
    let while_subscribing = subscribes_at.map(|at| actions.split_off(at));

    let mut rng = rng.fork();
    let sim = Sim::new(world(scenario, &mut rng, options));
    // The CDK app's limits. A few seeds have lower ones, so that batches are discarded.
    let limits = match rng.u8(0..40) {
        0 => Limits {
            retries: 2,
            ..LIMITS
        },
        1 => Limits {
            age: 20_000,
            ..LIMITS
        },
        _ => LIMITS,
    };
    if workload.is_large || rng.u8(0..4) == 0 {
        // With a window, so that records that arrive one by one are collected into batches.
        map_as_deployed(&sim, if workload.is_large { 2_000 } else { 0 });
    } else {
        map::<TranslatorFunction>(&sim, &mut rng, 1, limits);
        let lanes = rng.u32(1..4);
        map::<ProjectorFunction>(&sim, &mut rng, lanes, limits);
        let lanes = rng.u32(1..4);
        map::<ArchiverFunction>(&sim, &mut rng, lanes, limits);
    }
    tokio::spawn(carry(Arc::clone(&sim)));
    if options.sabotage != Some(Sabotage::ReconcilerOff) {
        tokio::spawn(reconciler::schedule(Arc::clone(&sim)));
    }

    clients::work(&sim, actions, 0, workload.clients).await;
    if let Some(actions) = while_subscribing {
        subscribe_after_a_while(&sim).await;
        let first = done - actions.len();
        clients::work(&sim, actions, first, workload.clients).await;
    }
    if until_quiescent(&sim).await {
        clients::repeat(&sim).await;
    }
    if until_quiescent(&sim).await {
        reconciler::settle(&sim).await;
    }
    if until_quiescent(&sim).await {
        reconciler::nothing_is_silent(&mut sim.world());
        check::check(&mut sim.world(), Quiescence::AfterFaults);
        append_further_events(&sim).await;
        if until_quiescent(&sim).await {
            check::check(&mut sim.world(), Quiescence::AfterFurtherEvents);
            operators::repair_everything(&sim).await;
            consumer::repair(&sim).await;
            if until_quiescent(&sim).await {
                check::check(&mut sim.world(), Quiescence::Repaired);
            }
        }
    }
    let mut world = sim.world();
    let (hash, trace) = std::mem::replace(&mut world.trace, Trace::new(false)).finish();
    Outcome {
        violation: world.violation.take(),
        actions: done,
        faults: std::mem::take(&mut world.plan.injected),
        tally: std::mem::take(&mut world.tally),
        hash,
        trace,
    }
}

fn world(scenario: &Arc<dyn Simulated>, rng: &mut Rng, options: Options) -> World {
    let events = EventsTable::new(rng.u8(0..4) == 0, EventFilter::deployed());
    let mut world = World {
        scenario: Arc::clone(scenario),
        names: scenario.names(),
        plan: Plan::draw(rng, options.most_faults),
        upgrade: Upgrade::draw(rng),
        sabotage: options.sabotage,
        tally: Tally::new(),
        trace: Trace::new(options.keep_trace),
        events,
        outbox: BTreeMap::new(),
        table_stream: Log::new(rng.u32(1..4)),
        outcomes: BTreeMap::new(),
        transactions: BTreeMap::new(),
        pending: BTreeMap::new(),
        committed: BTreeMap::new(),
        cursors: BTreeMap::new(),
        domain_stream: Log::new(rng.u32(1..5)),
        views: BTreeMap::new(),
        revisions: std::collections::BTreeSet::new(),
        damaged_views: std::collections::BTreeSet::new(),
        ever_damaged_views: std::collections::BTreeSet::new(),
        lines: BTreeMap::new(),
        consumer: consumer::State::default(),
        lake: Vec::new(),
        discarded: Vec::new(),
        reconciler: reconciler::State::draw(rng),
        missed: std::collections::BTreeSet::new(),
        are_further_events_appended: false,
        missed_further_events: std::collections::BTreeSet::new(),
        unreadable_cursors: std::collections::BTreeSet::new(),
        damaged_cursors: BTreeMap::new(),
        ever_damaged_cursors: std::collections::BTreeSet::new(),
        republished_to_lake: std::collections::BTreeSet::new(),
        republished: BTreeMap::new(),
        outages: BTreeMap::new(),
        failed_calls: std::collections::BTreeSet::new(),
        acknowledged: std::collections::BTreeSet::new(),
        aggregates: BTreeMap::new(),
        damaged: std::collections::BTreeSet::new(),
        disturbed: std::collections::BTreeSet::new(),
        commands: Vec::new(),
        progress: BTreeMap::new(),
        invocations: 0,
        in_flight: 0,
        violation: None,
        rng: rng.fork(),
        random_bits: 0,
    };
    world.put_row(scenario.settings_row(), 0);
    world
}

fn map<F: functions::Function>(sim: &Arc<Sim>, rng: &mut Rng, lanes: u32, limits: Limits) {
    let mapping = Mapping::<F> {
        batch_size: [1, 3, 10, 100][rng.usize(0..4)],
        window: [1, 50, 1_000][rng.usize(0..3)],
        // The CDK app sets a minute. With less time, more invocations reach their deadline. The time includes
        // the reserve that functions keep before the deadline.
        time: Duration::from_secs([6, 10, 60][rng.usize(0..3)]),
        lanes,
        limits,
        from: 0,
        function: PhantomData,
    };
    tokio::spawn(mapping.run(Arc::clone(sim)));
}

/// The mappings with the batch sizes, windows, lanes, time-outs and limits that the CDK app sets
/// (`infra/lib/domain-stream.ts`, `projection.ts`, `lake.ts` and `mapping.ts`).
fn map_as_deployed(sim: &Arc<Sim>, window: u64) {
    fn start<F: functions::Function>(sim: &Arc<Sim>, batch_size: usize, window: u64, lanes: u32) {
        let mapping = Mapping::<F> {
            batch_size,
            window,
            time: Duration::from_mins(1),
            lanes,
            limits: LIMITS,
            from: 0,
            function: PhantomData,
        };
        tokio::spawn(mapping.run(Arc::clone(sim)));
    }
    start::<TranslatorFunction>(sim, 1_000, window, 1);
    start::<ProjectorFunction>(sim, 1_000, window, 4);
    start::<ArchiverFunction>(sim, 10_000, 60_000, 1);
}

/// Lets a consumer start from nothing, next to the actions that follow. Before, so much time passes that the consumer
/// doesn't read the events of the earlier actions from the stream.
async fn subscribe_after_a_while(sim: &Arc<Sim>) {
    let wait = sim.world().rng.u64(20 * 60_000..40 * 60_000);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    sim.apply(|world, now| {
        world.plan.extend(now, wait);
        world.in_flight += 1;
    });
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        consumer::subscribe(&sim, None).await;
        sim.apply(|world, _| world.in_flight -= 1);
    });
}

/// Writes the table's changes to its stream. It never returns.
async fn carry(sim: Arc<Sim>) {
    loop {
        let changed = sim.changed.notified();
        let now = sim.elapsed();
        let (any, next) = sim.world().carry(now);
        if any {
            sim.changed.notify_waiters();
        }
        if let Some(next) = next {
            let wait = Duration::from_millis(next - now);
            // Waits for the first of both; a timeout has no effect.
            drop(tokio::time::timeout(wait, changed).await);
        } else {
            changed.await;
        }
    }
}

/// Waits until the faults are over and the simulation is quiescent. Returns `false` if it doesn't become
/// quiescent in time.
async fn until_quiescent(sim: &Arc<Sim>) -> bool {
    let deadline = sim.elapsed() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = sim.elapsed();
        let mut world = sim.world();
        let is_quiescent = world.plan.is_over(now)
            && world.in_flight == 0
            && world.outbox.is_empty()
            && is_through::<TranslatorFunction>(&world)
            && is_through::<ProjectorFunction>(&world)
            && is_through::<ArchiverFunction>(&world)
            && (!world.consumer.is_subscribed || is_through::<ConsumerMapping>(&world));
        if is_quiescent || world.violation.is_some() {
            return is_quiescent;
        }
        if now > deadline {
            world.violated("4", "the simulation doesn't become quiescent");
            return false;
        }
    }
}

/// Sends every aggregate a command that it accepts if it can be continued. If its state is final, another
/// writer continues it. Each of these aggregates then has an event after the repaired rows.
async fn append_further_events(sim: &Arc<Sim>) {
    sim.world().are_further_events_appended = true;
    let ids = sim.world().events.ids();
    for id in ids {
        let aggregate = expected::aggregate(&sim.world(), &id);
        let is_in_trouble = aggregate.is_in_trouble;
        if !is_in_trouble && !sim.scenario.is_continued(&aggregate.state()) {
            sim.apply(|world, now| other_writers::append_other(world, &id, now));
            continue;
        }
        let command = sim.scenario.accepted_command();
        let request = Request {
            correlation_id: format!("later-{id}"),
            ..Request::to(&sim.world().names, &id, command)
        };
        let answers = send(sim, &request, 1).await;
        if !is_in_trouble && !matches!(answers[0], Answer::Definite { status: 200, .. }) {
            let what = format!("{id}: an aggregate without damage refuses a command: {answers:?}");
            sim.world().violated("W", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shelves::Shelves;
    use super::*;

    #[test]
    fn the_same_seed_produces_the_same_history() {
        for seed in 0..5 {
            let run = || {
                Simulation::new(Shelves).run(
                    seed,
                    Options {
                        keep_trace: true,
                        ..Options::default()
                    },
                )
            };
            let (first, second) = (run(), run());
            assert_eq!(first.trace, second.trace, "seed {seed}");
            assert_eq!(first.hash, second.hash);
            assert_eq!(first.faults, second.faults);
        }
    }

    #[test]
    fn every_property_holds_for_commands_with_no_event_and_with_two() {
        let simulation = Simulation::new(Shelves);
        for seed in 0..20 {
            let outcome = simulation.run(seed, Options::default());
            assert_eq!(outcome.violation, None, "seed {seed}");
        }
    }

    #[test]
    fn breaks_are_caught_for_any_domain() {
        let simulation = Simulation::new(Shelves);
        for (sabotage, property) in [
            (Sabotage::AcknowledgedTooEarly, "1"),
            (Sabotage::CursorAhead, "2"),
            (Sabotage::GateForgotten, "3"),
            (Sabotage::RejectedDeliveriesIgnored, "4"),
            (Sabotage::OutcomeForgotten, "W"),
            (Sabotage::CursorResetUnasked, "O"),
        ] {
            let options = Options {
                sabotage: Some(sabotage),
                ..Options::default()
            };
            let caught = (0..200).find_map(|seed| simulation.run(seed, options).violation);
            let caught = caught.map(|violation| violation.property);
            assert_eq!(caught, Some(property), "{sabotage:?}");
        }
    }

    #[test]
    fn a_damage_that_leaves_a_row_readable_violates_property_e() {
        let simulation = Simulation::new(Shelves);
        let mut rng = Rng::with_seed(0);
        let mut world = world(&simulation.scenario, &mut rng, Options::default());
        let harmless = scenario::RowDamage {
            name: "Harmless",
            apply: |_| (),
        };
        for _ in 0..3 {
            other_writers::append_other(&mut world, "a", 0);
        }
        other_writers::poison(&mut world, "a", workload::Damage::Own(harmless), 0);
        let violation = world.violation.map(|violation| violation.property);
        assert_eq!(violation, Some("E"));
    }

    #[test]
    fn every_named_history_passes_for_any_domain() {
        let simulation = Simulation::new(Shelves);
        for history in histories::HISTORIES {
            assert_eq!(history.run(&simulation), Ok(()), "{}", history.name);
        }
    }
}
