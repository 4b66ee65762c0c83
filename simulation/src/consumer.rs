//! A consumer that starts from nothing while commands run: an operator sends it the history with `replay`, and then
//! maps it to the domain stream, from a little before the time at which the replay began.
//!
//! The consumer follows the rules of docs/subscribing.md: it stores the sequence of the last applied event of each
//! aggregate, and applies only the next one. An event after a gap is completed without being applied, so whatever
//! the replay or the hand-over skips is never applied.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_runtime::Context;
use millrace_cli::operate::ports::{ConsumerFunction, Invoked, RunProgress};
use millrace_cli::operate::replayer::{Outcome, hand_over};
use millrace_core::{Sequence, Timestamp};
use millrace_runtime::ServiceError;
use serde_json::{Value, json};

use super::check::Quiescence;
use super::days::DOMAIN_STREAM_RETENTION;
use super::expected;
use super::functions::{Function, TranslatorFunction};
use super::invocation::invoke;
use super::log::{Log, Stored};
use super::mapping::{Limits, Mapping};
use super::reconciler::kinesis_payload;
use super::sabotage::Sabotage;
use super::services::Services;
use super::sim::Sim;
use super::world::{Event, World};

/// The name of the operator's command among the invocations. It must have no effect but invocations of the consumer.
pub(crate) const REPLAY: &str = "replay";

/// The time after which an operator ends a command.
const TIME: Duration = Duration::from_hours(1);
/// The consumer's timeout.
const FUNCTION_TIME: Duration = Duration::from_secs(30);
/// The number of the first runs that an operator may kill after some time.
const KILLS: usize = 4;
/// The most runs of the command, each of which continues the one before.
const RUNS: usize = 60;
/// How often the consumer reads a position that another invocation has changed meanwhile.
const READS: usize = 5;
/// The reserve that the command keeps before the stream deletes records, in milliseconds.
const RETENTION_RESERVE: u64 = 2 * 60 * 60 * 1_000;

/// The consumer's state.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The last applied event of each aggregate.
    positions: BTreeMap<String, u64>,
    /// Whether it reads the domain stream.
    pub(crate) is_subscribed: bool,
    /// The aggregates whose events the last replay didn't send completely, as it reported.
    incomplete: BTreeSet<String>,
}

impl State {
    /// The last applied event of an aggregate.
    pub(crate) fn position(&self, id: &str) -> u64 {
        self.positions.get(id).copied().unwrap_or_default()
    }
}

/// The progress of a replay, and of the runs and passes that continued it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    aggregates: Arc<Mutex<BTreeMap<String, Reached>>>,
    /// The most events of an invocation.
    pub(crate) batch_size: usize,
    /// A deliberate break: a continued run skips an event.
    skips: bool,
}

/// The progress of an aggregate.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    /// The last event that was sent.
    event: Option<Sequence>,
    is_completed: bool,
}

impl Progress {
    fn new(world: &mut World) -> Self {
        Self {
            batch_size: [2, 7, 500][world.rng.usize(0..3)],
            skips: world.is_sabotaged(Sabotage::ReplaySkipsWhenContinued),
            ..Self::default()
        }
    }

    /// Begins a further pass, which sends the events after those that were sent.
    fn begin_pass(&self) {
        let mut aggregates = self.aggregates.lock().expect("unpoisoned");
        for reached in aggregates.values_mut() {
            reached.is_completed = false;
        }
    }
}

impl RunProgress for Progress {
    fn reached(&self, aggregate: &str) -> Option<Sequence> {
        let aggregates = self.aggregates.lock().expect("unpoisoned");
        let reached = aggregates.get(aggregate)?.event?;
        Some(if self.skips { reached.next() } else { reached })
    }

    fn is_completed(&self, aggregate: &str) -> bool {
        let aggregates = self.aggregates.lock().expect("unpoisoned");
        aggregates.get(aggregate).is_some_and(|it| it.is_completed)
    }

    fn record(&self, aggregate: &str, reached: Sequence) -> Result<(), ServiceError> {
        let mut aggregates = self.aggregates.lock().expect("unpoisoned");
        let of_aggregate = aggregates.entry(aggregate.to_owned()).or_default();
        of_aggregate.event = Some(reached);
        Ok(())
    }

    fn complete(&self, aggregate: &str) -> Result<(), ServiceError> {
        let mut aggregates = self.aggregates.lock().expect("unpoisoned");
        let of_aggregate = aggregates.entry(aggregate.to_owned()).or_default();
        of_aggregate.is_completed = true;
        Ok(())
    }
}

/// The outcomes of a run of `replay`, or why it ended early.
pub(crate) type Replayed = Result<BTreeMap<String, Outcome>, String>;

/// Replays all aggregates to the consumer, or `only` these, and then maps it to the domain stream.
pub(crate) async fn subscribe(sim: &Arc<Sim>, only: Option<BTreeSet<String>>) {
    let (progress, mut has_further_pass) = {
        let world = &mut *sim.world();
        (Progress::new(world), world.rng.usize(0..4) == 0)
    };
    loop {
        let began = replay(sim, only.clone(), &progress).await;
        let from = {
            let world = sim.world();
            if world.is_sabotaged(Sabotage::HandedOverAtTheEnd) {
                sim.elapsed()
            } else if world.is_sabotaged(Sabotage::HandedOverWithoutOverlap) {
                sim.millis_at(began)
            } else {
                sim.millis_at(hand_over(began))
            }
        };
        // The command says that it took too long, and the operator continues it with a further pass. Some streams
        // have a shorter retention.
        let age = sim.elapsed().saturating_sub(from);
        if has_further_pass || age > DOMAIN_STREAM_RETENTION - RETENTION_RESERVE {
            has_further_pass = false;
            progress.begin_pass();
            sim.world().count("further passes of a replay", 1);
            sim.pause(1, 3_600_000).await;
            continue;
        }
        let mapping = Mapping::<ConsumerMapping> {
            batch_size: 100,
            window: 50,
            time: FUNCTION_TIME,
            lanes: 2,
            limits: Limits {
                retries: u32::MAX,
                age: u64::MAX,
            },
            from,
            function: PhantomData,
        };
        sim.world().count("consumers that started from nothing", 1);
        tokio::spawn(mapping.run(Arc::clone(sim)));
        sim.apply(|world, _| world.consumer.is_subscribed = true);
        return;
    }
}

/// Sends the consumer the events that the replay before didn't send, and those that it missed.
pub(crate) async fn repair(sim: &Arc<Sim>) {
    let ids: BTreeSet<String> = {
        let mut world = sim.world();
        if !world.consumer.is_subscribed {
            return;
        }
        let missed: Vec<_> = world
            .missed
            .iter()
            .filter(|(function, _)| *function == ConsumerMapping::NAME)
            .map(|(_, id)| id.clone())
            .collect();
        let mut ids = std::mem::take(&mut world.consumer.incomplete);
        ids.extend(missed);
        ids
    };
    if !ids.is_empty() {
        let progress = Progress::new(&mut sim.world());
        replay(sim, Some(ids), &progress).await;
    }
}

/// Runs `replay` until all of the aggregates are sent, or only those are left whose rows or cursors are damaged.
/// Each run continues the one before. Returns when the first one began, by the operator's clock.
async fn replay(sim: &Arc<Sim>, only: Option<BTreeSet<String>>, progress: &Progress) -> Timestamp {
    let began = {
        let world = &mut *sim.world();
        let drift = world.plan.draw_skew(&mut world.rng);
        let began = Timestamp::from_unix_millis(sim.now().unix_millis() + drift);
        began.expect("within this century")
    };
    for number in 0..RUNS {
        let (only, of_run) = (only.clone(), progress.clone());
        let time = {
            let world = &mut *sim.world();
            if number < KILLS && world.rng.bool() {
                Duration::from_millis(world.rng.u64(50..5_000))
            } else {
                TIME
            }
        };
        // A service that failed during the run may be the reason that an aggregate isn't sent.
        let were_faults_over = {
            let now = sim.elapsed();
            sim.world().plan.is_over(now)
        };
        let run = invoke(sim, REPLAY, time, BTreeMap::new(), |services, _| {
            let scenario = Arc::clone(&services.sim.scenario);
            scenario.replay(services, only, of_run)
        });
        let Ok(Ok(outcomes)) = run.await else {
            sim.world().count("replays that are continued", 1);
            sim.pause(1, 20_000).await;
            continue;
        };
        let mut incomplete: BTreeSet<String> = BTreeSet::new();
        let mut may_be_sent = false;
        for (id, outcome) in &outcomes {
            if !outcome.is_complete() {
                incomplete.insert(id.clone());
                may_be_sent |= !matches!(outcome, Outcome::Unreadable(_));
            }
        }
        let is_over = {
            let mut world = sim.world();
            for id in &incomplete {
                let aggregate = expected::aggregate(&world, id);
                let is_damaged = aggregate.is_in_trouble
                    || world.damaged.contains(id)
                    || world.ever_damaged_cursors.contains(id);
                if were_faults_over && !is_damaged {
                    let what = format!("{id}: the replay reported {:?}", outcomes.get(id));
                    world.violated("C", what);
                }
            }
            let is_over = !may_be_sent || world.violation.is_some();
            world.consumer.incomplete = incomplete;
            is_over
        };
        if is_over {
            return began;
        }
        sim.pause(1, 20_000).await;
    }
    sim.world()
        .violated("C", "a replay doesn't complete, although no service fails");
    began
}

/// Property C, when the simulation is quiescent: the consumer has applied every event of the domain stream, except
/// those that the replay reported as not sent.
pub(crate) fn check(world: &mut World, published: &BTreeMap<String, u64>, quiescence: Quiescence) {
    if !world.consumer.is_subscribed {
        return;
    }
    let mut wrong = None;
    for (id, last) in published {
        let applied = world.consumer.position(id);
        if applied >= *last {
            continue;
        }
        let is_reported = world.consumer.incomplete.contains(id)
            || world.is_missed(ConsumerMapping::NAME, id)
            || world.ever_damaged_cursors.contains(id)
            // An event whose cursor was never saved is published again with the next one.
            || world.is_discarded(TranslatorFunction::NAME, id);
        let is_in_trouble = expected::aggregate(world, id).is_in_trouble;
        if !is_in_trouble && (quiescence == Quiescence::Repaired || !is_reported) {
            wrong = Some(format!("{id}: {applied} of {last} events, {quiescence:?}"));
        }
    }
    if let Some(what) = wrong {
        world.violated("C", what);
    }
}

/// The consumer, mapped to the domain stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerMapping;

impl Function for ConsumerMapping {
    type Record = Event;
    const NAME: &'static str = "consumer";

    fn log(world: &World) -> &Log<Event> {
        &world.domain_stream
    }

    fn key(event: &Event) -> &str {
        &event.partition_key
    }

    fn payload(batch: &[Stored<Event>]) -> Value {
        kinesis_payload(batch)
    }

    async fn handle_payload(services: Services, _: Context, payload: Value) -> Vec<String> {
        handle(&services, &payload).await
    }
}

/// An event of a batch.
struct Record {
    position: usize,
    sequence: u64,
    data: Vec<u8>,
}

/// Handles a batch, and returns the sequence number of the first record that isn't completed.
async fn handle(services: &Services, payload: &Value) -> Vec<String> {
    let records = payload["Records"].as_array().expect("records");
    let mut aggregates: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        let key = record["kinesis"]["partitionKey"].as_str().expect("a key");
        let data = record["kinesis"]["data"].as_str().expect("data");
        let data = STANDARD.decode(data).expect("base64");
        // A record of another producer isn't an event of this aggregate.
        let event: Value = serde_json::from_slice(&data).unwrap_or_default();
        let sequence = event["data"]["sequence"].as_u64();
        if let Some(sequence) = sequence.filter(|_| event["subject"] == key) {
            let of_key = aggregates.entry(key.to_owned()).or_default();
            of_key.push(Record {
                position,
                sequence,
                data,
            });
        }
    }
    let mut incomplete = None;
    for (id, events) in aggregates {
        if apply(services, &id, &events).await.is_err() {
            let first = Some(events[0].position);
            incomplete = incomplete.or(first).min(first);
        }
    }
    let number = |position: usize| {
        let number = records[position]["kinesis"]["sequenceNumber"].as_str();
        number.expect("a number").to_owned()
    };
    incomplete.map(number).into_iter().collect()
}

/// Applies an aggregate's events: those that come next, in one conditional write.
async fn apply(services: &Services, id: &str, events: &[Record]) -> Result<(), ServiceError> {
    for _ in 0..READS {
        let of = id.to_owned();
        let read = services
            .read("GetItem of a position", |world| {
                world.consumer.position(&of)
            })
            .await?;
        let mut next = Vec::new();
        for event in events {
            let position = read + u64::try_from(next.len()).expect("few");
            if event.sequence == position + 1 {
                next.push(event.data.clone());
            }
        }
        if next.is_empty() {
            return Ok(());
        }
        let of = id.to_owned();
        let is_saved = services
            .write("PutItem of a position", move |world, _| {
                let is_unchanged = world.consumer.position(&of) == read;
                if is_unchanged {
                    apply_in(world, &of, read, &next);
                }
                is_unchanged
            })
            .await?;
        if is_saved {
            return Ok(());
        }
    }
    Err(ServiceError::new(
        "a position",
        "it changed again and again",
    ))
}

/// Property C, at every save: the consumer gets the bytes of the events.
fn apply_in(world: &mut World, id: &str, mut position: u64, next: &[Vec<u8>]) {
    let aggregate = expected::aggregate(world, id);
    world.count("events that the consumer applied", next.len());
    for data in next {
        let index = usize::try_from(position).expect("few");
        position += 1;
        let event = aggregate.events.get(index);
        if event.is_some_and(|event| event.bytes != *data) {
            let shown = String::from_utf8_lossy(data);
            world.violated("C", format!("{id}: {shown} isn't event {position}"));
        }
    }
    world.consumer.positions.insert(id.to_owned(), position);
}

impl ConsumerFunction for Services {
    async fn invoke(&self, payload: String) -> Result<Invoked, ServiceError> {
        self.read("Invoke", |_| ()).await?;
        let mut payload: Value = serde_json::from_str(&payload).expect("JSON");
        if self.is_sabotaged(Sabotage::ReplayOutOfOrder) {
            let records = payload["Records"].as_array_mut();
            records.expect("records").reverse();
        }
        let handle =
            |services, context| ConsumerMapping::handle_payload(services, context, payload);
        let none = BTreeMap::new();
        let name = ConsumerMapping::NAME;
        // Lambda completes the invocation, also if its caller is killed.
        let sim = Arc::clone(&self.sim);
        let invocation = async move { invoke(&sim, name, FUNCTION_TIME, none, handle).await };
        let reported = tokio::spawn(invocation).await;
        Ok(match reported.expect("an invocation doesn't panic") {
            Ok(reported) => {
                let failures: Vec<Value> = reported
                    .into_iter()
                    .map(|number| json!({ "itemIdentifier": number }))
                    .collect();
                Invoked::Responded(json!({ "batchItemFailures": failures }))
            }
            Err(_) => Invoked::Failed("it did not respond".to_owned()),
        })
    }
}
