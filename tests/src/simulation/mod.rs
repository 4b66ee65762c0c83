//! The fault simulation: the real writer, translator, projector and archiver over simulated services
//! that do everything that AWS documents them to do, at the worst moment.
//!
//! A seed decides everything: what clients and strangers do ([`workload`], [`clients`],
//! [`strangers`]), how long each call takes and how it fails ([`services`], [`faults`]), where an
//! invocation ends ([`invocation`]), how the streams are sharded and read ([`log`], [`mapping`]).
//! The same seed is the same history, to the byte. Time is virtual: nothing waits.
//!
//! When the faults are over and all is at rest, [`check`] holds the world against the properties of
//! the design, worked out apart from the code under test ([`expected`]). [`campaign`] runs many
//! seeds, and finds the shortest prefix of a history that still fails. [`sabotage`] proves that the
//! checks can fail.
//!
//! Left out on purpose: the adapters to the AWS SDK, which have tests of their own with mocked
//! answers, and what the local stack shows (`tests/pipeline`).

pub mod campaign;
mod check;
mod clients;
mod days;
mod dynamodb;
mod event_filter;
mod expected;
pub mod faults;
mod firehose;
mod functions;
mod invocation;
mod kinesis;
mod large;
mod log;
mod mapping;
mod operators;
mod queries;
pub mod sabotage;
pub mod scenario;
mod service_limits;
mod services;
mod sim;
mod strangers;
mod upgrade;
mod workload;
pub mod world;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use check::Rest;
use clients::{Request, send};
use dynamodb::events::{EventsTable, settings_row};
use faults::{Fault, Plan, Tally};
use functions::{Archive, Project, Translate};
use log::Log;
use mapping::{LIMITS, Limits, Mapping, is_through};
use sabotage::Sabotage;
use sim::Sim;
use upgrade::Upgrade;
use workload::Workload;
use world::{Answer, Trace, Violation, World};

/// How long after the last action everything has to be at rest, in virtual milliseconds. Faults last
/// two minutes at most, and waits between tries some seconds.
const PATIENCE: u64 = 2 * 60 * 60 * 1_000;

/// How a seed is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// How many of the workload's actions are done.
    pub most_actions: usize,
    /// How many faults are injected.
    pub most_faults: u64,
    /// Whether the trace is kept as text.
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

/// How a seed went.
#[derive(Debug)]
pub struct Outcome {
    /// The first property that didn't hold.
    pub violation: Option<Violation>,
    /// How many actions were done.
    pub actions: usize,
    /// How many faults of each kind were injected.
    pub faults: BTreeMap<Fault, u64>,
    /// What was done, by name.
    pub tally: Tally,
    /// The same for the same history.
    pub hash: u64,
    /// The history, where it was to be kept.
    pub trace: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn simulate(seed: u64, options: Options) -> Outcome {
    in_virtual_time(run(seed, options))
}

fn in_virtual_time<T>(history: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(history)
}

async fn run(seed: u64, options: Options) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let workload = Workload::draw(&mut rng);
    let mut actions = workload.actions;
    actions.truncate(options.most_actions);
    let done = actions.len();

    let mut rng = rng.fork();
    let sim = Sim::new(world(&mut rng, options));
    // What the CDK app sets; in a few seeds so little that batches are given up on.
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
        // With a window, so that what comes one by one is gathered.
        map_as_deployed(&sim, if workload.is_large { 2_000 } else { 0 });
    } else {
        map::<Translate>(&sim, &mut rng, 1, limits);
        let lanes = rng.u32(1..4);
        map::<Project>(&sim, &mut rng, lanes, limits);
        let lanes = rng.u32(1..4);
        map::<Archive>(&sim, &mut rng, lanes, limits);
    }
    tokio::spawn(carry(Arc::clone(&sim)));

    clients::work(&sim, actions, workload.clients).await;
    if rest(&sim).await {
        clients::repeat(&sim).await;
    }
    if rest(&sim).await {
        check::check(&mut sim.world(), Rest::AfterFaults);
        spread_news(&sim).await;
        if rest(&sim).await {
            check::check(&mut sim.world(), Rest::AfterNews);
            operators::repair_everything(&sim).await;
            if rest(&sim).await {
                check::check(&mut sim.world(), Rest::Repaired);
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

fn world(rng: &mut Rng, options: Options) -> World {
    let events = EventsTable::new(rng.u8(0..4) == 0);
    let mut world = World {
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
        lake: Vec::new(),
        discarded: Vec::new(),
        missed: std::collections::BTreeSet::new(),
        is_news_spread: false,
        missed_news: std::collections::BTreeSet::new(),
        unreadable_cursors: std::collections::BTreeSet::new(),
        damaged_cursors: BTreeMap::new(),
        ever_damaged_cursors: std::collections::BTreeSet::new(),
        republished_to_lake: std::collections::BTreeSet::new(),
        republished: BTreeMap::new(),
        disabled: std::collections::BTreeSet::new(),
        acknowledged: std::collections::BTreeSet::new(),
        accounts: BTreeMap::new(),
        damaged: std::collections::BTreeSet::new(),
        disturbed: std::collections::BTreeSet::new(),
        commands: Vec::new(),
        progress: BTreeMap::new(),
        invocations: 0,
        in_flight: 0,
        violation: None,
        rng: rng.fork(),
    };
    world.put_row(settings_row(), 0);
    world
}

fn map<F: functions::Function>(sim: &Arc<Sim>, rng: &mut Rng, lanes: u32, limits: Limits) {
    let mapping = Mapping::<F> {
        batch_size: [1, 3, 10, 100][rng.usize(0..4)],
        window: [1, 50, 1_000][rng.usize(0..3)],
        // The CDK app sets a minute; with less, more invocations run out of time. What they keep in
        // reserve at the end is part of it.
        time: Duration::from_secs([6, 10, 60][rng.usize(0..3)]),
        lanes,
        limits,
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
            function: PhantomData,
        };
        tokio::spawn(mapping.run(Arc::clone(sim)));
    }
    start::<Translate>(sim, 1_000, window, 1);
    start::<Project>(sim, 1_000, window, 4);
    start::<Archive>(sim, 10_000, 60_000, 1);
}

/// Brings the table's changes onto its stream, for ever.
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
            // Whichever comes first; the time that is over changes nothing.
            drop(tokio::time::timeout(wait, changed).await);
        } else {
            changed.await;
        }
    }
}

/// Waits until the faults are over and nothing moves any more; says whether it came to that.
async fn rest(sim: &Arc<Sim>) -> bool {
    let deadline = sim.elapsed() + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = sim.elapsed();
        let mut world = sim.world();
        let is_at_rest = world.plan.is_over(now)
            && world.in_flight == 0
            && world.outbox.is_empty()
            && is_through::<Translate>(&world)
            && is_through::<Project>(&world)
            && is_through::<Archive>(&world);
        if is_at_rest || world.violation.is_some() {
            return is_at_rest;
        }
        if now > deadline {
            world.violated("4", "it never comes to rest");
            return false;
        }
    }
}

/// Credits every account that can be continued, so that each has had news since it was mended.
async fn spread_news(sim: &Arc<Sim>) {
    sim.world().is_news_spread = true;
    let ids = sim.world().events.ids();
    for id in ids {
        let is_in_trouble = expected::account(&sim.world(), &id).is_in_trouble;
        let request = Request {
            path: format!("/accounts/{id}/credit"),
            body: r#"{"amount":1}"#.to_owned(),
            correlation_id: format!("news-{id}"),
            ..Request::default()
        };
        let answers = send(sim, &request, 1).await;
        if !is_in_trouble && !matches!(answers[0], Answer::Definite { status: 200, .. }) {
            let what = format!("{id}: a sound account can't be continued: {answers:?}");
            sim.world().violated("W", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_history() {
        for seed in 0..5 {
            let run = || {
                simulate(
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
}
