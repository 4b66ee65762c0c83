//! Operators, who run the commands of `millrace` next to the live functions. The commands' code runs over the
//! simulated services, with their faults, and may be killed between any two calls.
//!
//! A command's report must be true, and the command must change nothing but what its arguments name. Consumers
//! that read the stream from the command's start on must receive all events of the aggregates that it completes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_cli::operate::ports::RunProgress;
use millrace_cli::operate::publish::{CursorFault, Outcome, Redriven};
use millrace_cli::operate::rebuild::Outcome as Rebuilt;
use millrace_core::{Sequence, view};
use millrace_runtime::ServiceError;
use millrace_translator::cursor::Cursor;

use super::expected::{self, sequence_in};
use super::invocation::invoke;
use super::sabotage::Sabotage;
use super::sim::Sim;
use super::world::World;

/// The time after which an operator ends a command.
const TIME: Duration = Duration::from_hours(1);
/// The most attempts of a command.
const ATTEMPTS: usize = 5;

/// A command that an operator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `millrace redrive` of all aggregates that aren't caught up, or of one.
    Redrive {
        aggregate: Option<usize>,
        reset_cursor: bool,
    },
    /// `millrace republish --id` from this sequence on, or `--resume` of an earlier run.
    Republish {
        aggregate: usize,
        from: u64,
        is_resumed: bool,
    },
    /// `millrace rebuild` of one read model, for one aggregate.
    Rebuild { aggregate: usize, model: ReadModel },
}

/// A read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadModel {
    View,
    History,
}

/// The damage of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CursorDamage {
    /// Its position is no longer a number.
    Unreadable,
    /// The item was removed.
    Lost,
    /// It is far ahead of the events, as if the events table had been restored to an earlier state.
    ///
    /// If the cursor were ahead by fewer events than are appended before the next check, it could not be
    /// distinguished from a correct one.
    Ahead,
}

/// All kinds of damage.
pub(crate) const CURSOR_DAMAGES: [CursorDamage; 3] = [
    CursorDamage::Unreadable,
    CursorDamage::Lost,
    CursorDamage::Ahead,
];

/// The number of events by which a damaged cursor is ahead.
const FAR: u64 = 1_000_000;

/// A run of `republish` for one aggregate, and the runs that resumed it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The sequence number of the domain stream's next record when the run began. A new consumer reads from this
    /// number on.
    begin: u64,
    reached: Arc<Mutex<Option<Sequence>>>,
}

impl RunProgress for Run {
    fn reached(&self, _: &str) -> Option<Sequence> {
        *self.reached.lock().expect("unpoisoned")
    }

    fn record(&self, _: &str, reached: Sequence) -> Result<(), ServiceError> {
        *self.reached.lock().expect("unpoisoned") = Some(reached);
        Ok(())
    }

    fn complete(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}

/// Damages an aggregate's cursor.
pub(crate) fn damage_cursor(world: &mut World, id: &str, damage: CursorDamage) {
    // A cursor has one damage at a time, and only an existing cursor is damaged.
    if world.damaged_cursors.contains_key(id) || !world.cursors.contains_key(id) {
        return;
    }
    world.count("cursors damaged", 1);
    match damage {
        CursorDamage::Unreadable => drop(world.unreadable_cursors.insert(id.to_owned())),
        CursorDamage::Lost => drop(world.cursors.remove(id)),
        CursorDamage::Ahead => {
            let cursor: &mut Cursor = world.cursors.entry(id.to_owned()).or_default();
            let ahead = cursor.published_through.get() + FAR;
            cursor.published_through = Sequence::new(ahead).expect("a sequence");
        }
    }
    world.ever_damaged_cursors.insert(id.to_owned());
    world.damaged_cursors.insert(id.to_owned(), damage);
}

/// Whether an aggregate's damaged cursor explains that events aren't published. After another event of the
/// aggregate, a block in the cursor reports that it is unreadable or ahead. Before, only `redrive` finds the
/// damage.
pub(crate) fn is_excused(world: &World, id: &str, has_no_further_event: bool) -> bool {
    match world.damaged_cursors.get(id) {
        None => false,
        Some(CursorDamage::Lost) => has_no_further_event,
        Some(CursorDamage::Unreadable | CursorDamage::Ahead) => {
            let is_marked = |cursor: &Cursor| {
                let mut reasons = cursor.blocked().into_iter().map(|block| &block.reason);
                reasons.any(|reason| !reason.is_empty())
            };
            has_no_further_event || world.cursors.get(id).is_some_and(is_marked)
        }
    }
}

/// Runs a command. `id` is the command's aggregate, if it names one.
pub(crate) async fn operate(sim: &Arc<Sim>, operation: Operation, id: Option<String>) {
    match (operation, id) {
        (Operation::Redrive { reset_cursor, .. }, id) => {
            drop(redrive(sim, id, reset_cursor).await);
        }
        (
            Operation::Republish {
                from, is_resumed, ..
            },
            Some(id),
        ) => {
            republish(sim, &id, from, is_resumed).await;
        }
        (Operation::Rebuild { model, .. }, Some(id)) => drop(rebuild(sim, &id, model).await),
        (Operation::Republish { .. } | Operation::Rebuild { .. }, None) => {}
    }
}

/// Runs `redrive`, and returns its report of each aggregate; `None` if it ended before.
async fn redrive(
    sim: &Arc<Sim>,
    id: Option<String>,
    reset_cursor: bool,
) -> Option<BTreeMap<String, Redriven>> {
    let committed = committed(&sim.world());
    let resets = reset_cursor || sim.world().is_sabotaged(Sabotage::CursorResetUnasked);
    let run = invoke(sim, "redrive", TIME, BTreeMap::new(), |services, _| {
        let scenario = Arc::clone(&services.sim.scenario);
        scenario.redrive(services, id, resets)
    });
    let redriven = run.await.ok()?.ok()?;
    let mut world = sim.world();
    for (id, redriven) in &redriven {
        if redriven.reset.is_some() && !reset_cursor {
            let what = format!("{id}: its cursor was reset without `--reset-cursor`");
            world.violated("O", what);
        }
        is_true(&mut world, id, &redriven.outcome, committed.get(id));
    }
    Some(redriven)
}

/// Runs `republish` for an aggregate.
async fn republish(sim: &Arc<Sim>, id: &str, from: u64, is_resumed: bool) -> Option<Outcome> {
    let from = Sequence::new(from).expect("a sequence");
    let run = {
        let mut world = sim.world();
        let begin = world.domain_stream.next_number();
        let runs = &mut world.republished;
        let key = (id.to_owned(), from.get());
        let fresh = || Run {
            begin,
            reached: Arc::default(),
        };
        if !is_resumed {
            runs.insert(key.clone(), fresh());
        }
        runs.entry(key).or_insert_with(fresh).clone()
    };
    let committed = committed(&sim.world());
    let (begin, aggregate) = (run.begin, id.to_owned());
    let command = invoke(sim, "republish", TIME, BTreeMap::new(), |services, _| {
        let scenario = Arc::clone(&services.sim.scenario);
        scenario.republish(services, aggregate, from, run)
    });
    let outcome = command.await.ok()?;
    let mut world = sim.world();
    is_true(&mut world, id, &outcome, committed.get(id));
    if let Outcome::Published(through) = &outcome {
        let received = received(&world, id, begin, from.get() - 1);
        if received < through.get() {
            let what = format!("{id}: a new consumer got {received} of {through} events");
            world.violated("O", what);
        }
    }
    Some(outcome)
}

/// Runs `rebuild` for an aggregate.
async fn rebuild(sim: &Arc<Sim>, id: &str, model: ReadModel) -> Option<Rebuilt> {
    let aggregate = id.to_owned();
    let command = invoke(sim, "rebuild", TIME, BTreeMap::new(), |services, _| {
        let scenario = Arc::clone(&services.sim.scenario);
        scenario.rebuild(services, model, aggregate)
    });
    let outcome = command.await.ok()?;
    let mut world = sim.world();
    if let Rebuilt::Right { through, .. } = &outcome {
        let is_right = match model {
            ReadModel::View => {
                let item = world.views.get(id);
                let sequence = item.and_then(|item| item.get(view::SEQUENCE)?.as_integer());
                sequence.and_then(|sequence| u64::try_from(sequence).ok()) >= Some(through.get())
            }
            ReadModel::History => (1..=through.get())
                .all(|sequence| world.lines.contains_key(&(id.to_owned(), sequence))),
        };
        if !is_right {
            let what = format!("{id}: {model:?} {outcome:?} was reported");
            world.violated("O", what);
        }
    }
    Some(outcome)
}

/// The number of events of each aggregate that can be published now.
fn committed(world: &World) -> BTreeMap<String, u64> {
    let ids = world.events.ids().into_iter();
    ids.map(|id| {
        let events = expected::aggregate(world, &id).events.len();
        (id, u64::try_from(events).expect("few"))
    })
    .collect()
}

/// The sequence of the last event that a consumer applies if it has applied the events up to `last` and reads the
/// stream from `begin` on.
fn received(world: &World, id: &str, begin: u64, mut last: u64) -> u64 {
    for stored in world.domain_stream.in_order() {
        let event = &stored.record;
        let is_own =
            stored.number >= begin && !event.is_from_other_producer && event.partition_key == id;
        if is_own && sequence_in(&event.data) == Some(last + 1) {
            last += 1;
        }
    }
    last
}

/// Checks that a command's report of an aggregate is true.
fn is_true(world: &mut World, id: &str, outcome: &Outcome, committed: Option<&u64>) {
    let was_damaged = world.ever_damaged_cursors.contains(id);
    let wrong = match outcome {
        Outcome::Published(through) => {
            let is_acknowledged = |sequence| {
                let event = (id.to_owned(), sequence);
                world.acknowledged.contains(&event)
            };
            !(1..=through.get()).all(is_acknowledged)
                || committed.is_some_and(|committed| through.get() < *committed)
        }
        Outcome::Blocked(_) => !world.damaged.contains(id) && !was_damaged,
        Outcome::CursorFault(_) => !was_damaged,
        Outcome::TooFewEvents(_) | Outcome::Incomplete(_) => false,
    };
    if wrong {
        let what =
            format!("{id}: {outcome:?} was reported; the command began with {committed:?} events");
        world.violated("O", what);
    }
}

/// Lets an operator repair everything when the simulation is quiescent: `redrive` without an option reports the
/// faulty cursors, and `redrive --reset-cursor` and `republish` repair all aggregates.
pub(crate) async fn repair_everything(sim: &Arc<Sim>) {
    let Some(reported) = again(sim, async || redrive(sim, None, false).await).await else {
        return;
    };
    {
        let mut world = sim.world();
        for (id, damage) in world.damaged_cursors.clone() {
            let is_reported = match reported.get(&id).map(|redriven| &redriven.outcome) {
                Some(Outcome::CursorFault(CursorFault::Unreadable(_))) => {
                    damage == CursorDamage::Unreadable
                }
                Some(Outcome::CursorFault(CursorFault::Ahead { .. })) => {
                    damage == CursorDamage::Ahead
                }
                // If the newest row's version is unreadable, the number of events is unknown. `redrive` then
                // reports the aggregate as blocked.
                Some(Outcome::Blocked(_)) if damage == CursorDamage::Ahead => {
                    expected::aggregate(&world, &id).is_in_trouble
                }
                _ => damage == CursorDamage::Lost,
            };
            if !is_reported {
                let what = format!("{id}: `redrive` doesn't report the cursor's damage {damage:?}");
                world.violated("O", what);
            }
        }
    }
    let Some(redriven) = again(sim, async || redrive(sim, None, true).await).await else {
        return;
    };
    for (id, redriven) in redriven {
        if let Outcome::CursorFault(_) | Outcome::Incomplete(_) = redriven.outcome {
            let what = format!("{id}: `redrive` doesn't repair it: {redriven:?}");
            sim.world().violated("O", what);
        }
    }
    // `republish` delivers the events that consumers missed again. It reports blocked aggregates, whose events it
    // doesn't deliver.
    let mut missed: BTreeSet<String> = {
        let world = sim.world();
        let discarded = world.discarded.iter().map(|it| it.aggregate.clone());
        let missed = world.missed.iter().map(|(_, id)| id.clone());
        discarded.chain(missed).collect()
    };
    let ids = missed.clone();
    for id in ids {
        let outcome = again(sim, async || republish(sim, &id, 1, false).await).await;
        if matches!(outcome, Some(Outcome::Blocked(_))) {
            missed.remove(&id);
        }
    }
    let mut world = sim.world();
    world.discarded.retain(|it| !missed.contains(&it.aggregate));
    world.missed.retain(|(_, id)| !missed.contains(id));
    world.republished_to_lake = missed;
    world.damaged_cursors.clear();
}

/// Runs a command until it ends without an error, at most [`ATTEMPTS`] times.
async fn again<T>(sim: &Arc<Sim>, command: impl AsyncFn() -> Option<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        if let Some(done) = command().await {
            return Some(done);
        }
    }
    let what = "a command doesn't complete, although no service fails";
    sim.world().violated("O", what);
    None
}
