//! Named histories: behaviour of a service that was observed in practice, or that no seed produces, written step
//! by step for any domain. No other faults are injected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use millrace_core::{Sequence, row};
use millrace_translator::cursor::Cursor;

use super::check::{self, Quiescence};
use super::clients::{Request, send};
use super::consumer;
use super::dynamodb::events::{EventsTable, halves, text};
use super::event_filter::EventFilter;
use super::expected::{self, sequence_in};
use super::functions::{ArchiverFunction, ProjectorFunction, TranslatorFunction};
use super::log::Log;
use super::mapping::LIMITS;
use super::other_writers;
use super::sim::Sim;
use super::size_limits::oversized_data_affects_only_its_own_aggregate;
use super::world::{Answer, Change, World};
use super::{Options, Simulation, in_virtual_time, is_through, map, until_quiescent, world};

/// A named history.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// The name of its test.
    pub name: &'static str,
    run: fn(&Simulation) -> Result<(), String>,
}

impl History {
    /// Runs the history with the simulation's domain.
    ///
    /// # Errors
    /// The condition that doesn't hold, in words.
    pub fn run(&self, simulation: &Simulation) -> Result<(), String> {
        (self.run)(simulation)
    }
}

/// All named histories.
pub const HISTORIES: [History; 3] = [
    History {
        name: "dynamodb_streams_deliver_out_of_order",
        run: dynamodb_streams_deliver_out_of_order,
    },
    History {
        name: "oversized_data_affects_only_its_own_aggregate",
        run: oversized_data_affects_only_its_own_aggregate,
    },
    History {
        name: "a_consumer_starts_from_nothing_with_a_hundred_thousand_events",
        run: a_consumer_starts_from_nothing_with_a_hundred_thousand_events,
    },
];

/// The number of events that each aggregate gets after its opening: enough for several snapshots, and therefore for
/// several transactions of two rows.
const EVENTS: usize = 30;

/// `DynamoDB` Streams guarantees the order of the changes of one item only. Under load, it delivered the items of
/// one partition key, and those of one transaction, in another order than they were written in
/// ([jet/equinox#403](https://github.com/jet/equinox/issues/403), found in
/// [#401](https://github.com/jet/equinox/pull/401)).
///
/// This history delivers the changes in each of several orders, over one shard and over several, in batches that
/// split transactions.
fn dynamodb_streams_deliver_out_of_order(simulation: &Simulation) -> Result<(), String> {
    for shards in [1, 4] {
        for (order, arrange) in ORDERS {
            let outcome = in_virtual_time(deliver(simulation, shards, arrange));
            outcome.map_err(|what| format!("{order}, {shards} shards: {what}"))?;
        }
    }
    Ok(())
}

type Arrange = fn(&mut [Change]);

const ORDERS: [(&str, Arrange); 4] = [
    ("the items of each transaction swapped", swap_transactions),
    ("runs of three reversed", |changes| {
        for run in changes.chunks_mut(3) {
            run.reverse();
        }
    }),
    ("runs of seven reversed", |changes| {
        for run in changes.chunks_mut(7) {
            run.reverse();
        }
    }),
    ("everything reversed", |changes| changes.reverse()),
];

/// Swaps each event with the snapshot that was written in the same transaction.
fn swap_transactions(changes: &mut [Change]) {
    for first in 0..changes.len().saturating_sub(1) {
        let [one, other] = &changes[first..=first + 1] else {
            continue;
        };
        if one.aggregate == other.aggregate && one.passes_filter && !other.passes_filter {
            changes.swap(first, first + 1);
        }
    }
}

async fn deliver(simulation: &Simulation, shards: u32, arrange: Arrange) -> Result<(), String> {
    let options = Options {
        most_faults: 0,
        ..Options::default()
    };
    let mut rng = Rng::with_seed(0);
    let sim = Sim::new(World {
        events: EventsTable::new(shards > 1, EventFilter::deployed()),
        table_stream: Log::new(shards),
        ..world(&simulation.scenario, &mut rng, options)
    });
    let ids = open_and_continue(&sim).await?;
    let mut changes = written(&mut sim.world());
    arrange(&mut changes);
    let inversions = inversions(&changes);
    if inversions == 0 {
        return Err("nothing was delivered out of order".to_owned());
    }
    map::<TranslatorFunction>(&sim, &mut rng, 1, LIMITS);
    map::<ProjectorFunction>(&sim, &mut rng, 2, LIMITS);
    map::<ArchiverFunction>(&sim, &mut rng, 2, LIMITS);
    for change in changes {
        sim.apply(|world, now| {
            let key = world.events.shard_key(&change);
            world.table_stream.append(&key, now, change);
        });
        sim.pause(0, 40).await;
    }
    until_quiescent(&sim).await;
    let mut world = sim.world();
    check::check(&mut world, Quiescence::AfterFurtherEvents);
    if let Some(violation) = world.violation.take() {
        return Err(violation.to_string());
    }
    for id in ids {
        let published: Vec<u64> = world
            .domain_stream
            .in_order()
            .iter()
            .filter(|stored| stored.record.partition_key == id)
            .filter_map(|stored| sequence_in(&stored.record.data))
            .collect();
        let first: BTreeSet<u64> = published.iter().copied().collect();
        let all: BTreeSet<u64> = (1..=u64::try_from(EVENTS).expect("few") + 1).collect();
        // One invocation at a time reads a single shard, so no event is published twice.
        if first != all || (shards == 1 && published.len() != all.len()) {
            return Err(format!("{id}: published {published:?}"));
        }
    }
    Ok(())
}

/// Opens two aggregates, and sends them commands in turn.
async fn open_and_continue(sim: &Arc<Sim>) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for number in 0..2 {
        let command = sim.scenario.draw_opening(&mut Rng::with_seed(number));
        let request = Request {
            correlation_id: format!("open-{number}"),
            ..Request::opening(&sim.scenario.names(), command)
        };
        let body = accepted(sim, &request).await?;
        let id = body[sim.scenario.names().id].as_str().unwrap_or_default();
        ids.push(id.to_owned());
    }
    for event in 0..EVENTS {
        for id in &ids {
            let request = Request {
                correlation_id: format!("event-{event}-{id}"),
                ..Request::to(&sim.scenario.names(), id, sim.scenario.accepted_command())
            };
            accepted(sim, &request).await?;
        }
    }
    Ok(ids)
}

async fn accepted(sim: &Arc<Sim>, request: &Request) -> Result<serde_json::Value, String> {
    match send(sim, request, 1).await.swap_remove(0) {
        Answer::Definite {
            status: 200 | 201,
            body,
            ..
        } => serde_json::from_str(&body).map_err(|error| error.to_string()),
        other => Err(format!("{}: {other:?}", request.correlation_id)),
    }
}

/// Removes all changes that haven't arrived on the stream yet, and returns them in the order of the writes.
fn written(world: &mut World) -> Vec<Change> {
    let outbox = std::mem::take(&mut world.outbox);
    let mut changes: Vec<_> = outbox
        .into_iter()
        .map(|((arrives, _), change)| (arrives, version(&change), change))
        .collect();
    // The rows of one transaction arrive at the same time.
    changes.sort_by_key(|(arrives, version, _)| (*arrives, *version));
    changes.into_iter().map(|(_, _, change)| change).collect()
}

fn version(change: &Change) -> u64 {
    halves(&text(&change.row, row::VERSION))
}

/// The number of changes that arrive after a change of a later row of their aggregate.
fn inversions(changes: &[Change]) -> usize {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut inversions = 0;
    for change in changes {
        let last = last.entry(&change.aggregate).or_default();
        inversions += usize::from(version(change) < *last);
        *last = version(change).max(*last);
    }
    inversions
}

/// The numbers of aggregates of the long history, and the events of each.
const LONG: [(u64, u64); 2] = [(10, 1_000), (900, 100)];

/// A domain stream no longer has the events of a long history. An operator sends them to a consumer with `replay`,
/// kills the command several times and continues it, while other writers append events. Then the consumer reads the
/// stream from the beginning of the replay on.
///
/// It has every event exactly once and in order. The stream got only the events that were appended meanwhile.
fn a_consumer_starts_from_nothing_with_a_hundred_thousand_events(
    simulation: &Simulation,
) -> Result<(), String> {
    in_virtual_time(replay_a_long_history(simulation))
}

async fn replay_a_long_history(simulation: &Simulation) -> Result<(), String> {
    let options = Options {
        most_faults: 0,
        ..Options::default()
    };
    let mut rng = Rng::with_seed(7);
    let sim = Sim::new(world(&simulation.scenario, &mut rng, options));
    let mut ids = Vec::new();
    let mut history = 0;
    for (aggregates, events) in LONG {
        for number in 0..aggregates {
            let id = format!("of-{events}-{number}");
            let world = &mut *sim.world();
            other_writers::write_legacy(world, &id, events, false, 0);
            let cursor = Cursor {
                published_through: Sequence::new(events).expect("a sequence"),
                ..Cursor::default()
            };
            world.cursors.insert(id.clone(), cursor);
            let published = (1..=events).map(|event| (id.clone(), event));
            world.acknowledged.extend(published);
            ids.push(id);
            history += events;
        }
    }
    sim.world().missed.clear();
    map::<TranslatorFunction>(&sim, &mut rng, 1, LIMITS);
    tokio::spawn(super::carry(Arc::clone(&sim)));
    let subscribing = tokio::spawn({
        // The simulated scan of so many rows would take most of the time.
        let (sim, ids) = (Arc::clone(&sim), ids.iter().cloned().collect());
        async move { consumer::subscribe(&sim, Some(ids)).await }
    });
    let mut appended = 0;
    while !subscribing.is_finished() {
        let id = &ids[rng.usize(0..ids.len())];
        sim.apply(|world, now| other_writers::append_other(world, id, now));
        appended += 1;
        sim.pause(0, 100).await;
    }
    subscribing.await.map_err(|error| error.to_string())?;
    let last = &ids[0];
    sim.apply(|world, now| other_writers::append_other(world, last, now));
    appended += 1;
    loop {
        sim.pause(1_000, 1_000).await;
        let world = sim.world();
        let is_quiescent = world.in_flight == 0
            && world.outbox.is_empty()
            && is_through::<TranslatorFunction>(&world)
            && is_through::<consumer::ConsumerMapping>(&world);
        if is_quiescent || world.violation.is_some() {
            break;
        }
    }
    let mut world = sim.world();
    if let Some(violation) = world.violation.take() {
        return Err(violation.to_string());
    }
    for id in &ids {
        let committed = expected::aggregate(&world, id).events.len();
        let applied = world.consumer.position(id);
        if usize::try_from(applied) != Ok(committed) {
            return Err(format!("{id}: {applied} of {committed} events are applied"));
        }
    }
    let count = |what: &str| world.tally.get(what).copied().unwrap_or_default();
    let applied = count("events that the consumer applied");
    let on_the_stream = count("records on the domain stream");
    let continued = count("replays that are continued");
    let expected = (history + appended, appended);
    if (applied, on_the_stream) != expected || continued == 0 || appended < 20 {
        return Err(format!(
            "{applied} events are applied, {on_the_stream} are on the stream, {appended} were appended, and the \
             replay was continued {continued} times"
        ));
    }
    Ok(())
}
