//! An event source mapping: how Lambda reads a log and invokes a function with batches of it.
//!
//! * A shard is read after all its parents have been read to their end. A failing batch delays only its own
//!   lane. On Kinesis a shard has several lanes, and all records of a partition key are in one lane; on a
//!   DynamoDB stream a shard has one lane.
//! * If the response reports a sequence number, the batch is delivered again, starting with that record
//!   ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html)).
//!   If there is no response, the batch is bisected.
//! * A batch whose retries are exhausted is written to the failure destination, and the mapping continues after
//!   it.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millrace_core::Timestamp;

use super::faults::Fault;
use super::functions::Function;
use super::invocation::{Lost, invoke};
use super::log::{Stored, hash};
use super::reconciler;
use super::sabotage::Sabotage;
use super::sim::Sim;
use super::world::{Discarded, World};

/// The longest backoff between two attempts of a batch, in milliseconds.
const LONGEST_WAIT: u64 = 20_000;

/// The reason why a mapping temporarily doesn't deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outage {
    /// The mapping is disabled.
    Disabled,
    /// The function's role may not read the stream.
    NoPermission,
    /// The function fails at start. Each invocation counts as an attempt.
    FailsAtStart,
}

/// All outages.
pub(crate) const OUTAGES: [Outage; 3] =
    [Outage::Disabled, Outage::NoPermission, Outage::FailsAtStart];

/// The limits after which a mapping discards a batch.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) retries: u32,
    /// The maximum age of a record, in milliseconds.
    pub(crate) age: u64,
}

/// The limits that the CDK app sets.
pub(crate) const LIMITS: Limits = Limits {
    retries: 100,
    age: 12 * 60 * 60 * 1_000,
};

/// A mapping's settings.
pub(crate) struct Mapping<F> {
    pub(crate) batch_size: usize,
    /// The batching window, in milliseconds.
    pub(crate) window: u64,
    /// The function's timeout.
    pub(crate) time: Duration,
    pub(crate) lanes: u32,
    pub(crate) limits: Limits,
    /// The arrival of the first record that it reads (`AT_TIMESTAMP`), in milliseconds from the start.
    pub(crate) from: u64,
    pub(crate) function: PhantomData<F>,
}

impl<F> Clone for Mapping<F> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// One lane of one shard.
#[derive(Clone, Copy)]
struct Lane {
    shard: usize,
    lane: usize,
}

/// A part of a batch, and the number of its attempts.
struct Part<R> {
    records: Vec<Stored<R>>,
    attempts: u32,
    /// Whether the function has completed it before, so that this is a redelivery.
    is_repeat: bool,
}

impl<F: Function> Mapping<F> {
    /// Reads the log until the simulation ends: starts a reader for each lane of each shard that may be read.
    pub(crate) async fn run(self, sim: Arc<Sim>) {
        loop {
            let changed = sim.changed.notified();
            let ready = self.ready(&mut sim.world());
            for shard in ready {
                for lane in 0..usize::try_from(self.lanes).expect("few") {
                    let lane = Lane { shard, lane };
                    // Boxed, because the readers of all functions start here.
                    let reader: Pin<Box<dyn Future<Output = ()> + Send>> =
                        Box::pin(self.clone().read(Arc::clone(&sim), lane));
                    tokio::spawn(reader);
                }
            }
            changed.await;
        }
    }

    /// The shards that have no reader yet and whose parents have been read to their end.
    fn ready(&self, world: &mut World) -> Vec<usize> {
        let log = F::log(world);
        let is_through = |parent: &usize| {
            let end = log.shards[*parent].records.len();
            let progress = world.progress.get(&(F::NAME, *parent));
            progress.is_some_and(|lanes| lanes.iter().all(|next| *next == end))
        };
        let ready: Vec<usize> = (0..log.shards.len())
            .filter(|shard| {
                !world.progress.contains_key(&(F::NAME, *shard))
                    && log.shards[*shard].parents.iter().all(is_through)
            })
            .collect();
        let lanes = usize::try_from(self.lanes).expect("few");
        for shard in &ready {
            let records = &F::log(world).shards[*shard].records;
            let first = records.partition_point(|stored| stored.at < self.from);
            world.progress.insert((F::NAME, *shard), vec![first; lanes]);
        }
        ready
    }

    async fn read(self, sim: Arc<Sim>, lane: Lane) {
        loop {
            let changed = sim.changed.notified();
            if sim.world().is_unread::<F>() {
                changed.await;
                continue;
            }
            let (any, is_open) = self.gathered(&mut sim.world(), lane);
            if !any {
                if !is_open {
                    // The shard's children may be read now.
                    sim.changed.notify_waiters();
                    return;
                }
                changed.await;
                continue;
            }
            sim.pause(0, self.window).await;
            let (batch, next) = self.batch(&mut sim.world(), lane);
            self.deliver(&sim, batch).await;
            sim.apply(|world, _| Self::advance(world, lane, next));
        }
    }

    /// Advances the lane's reader over records of other lanes to its next record. Returns whether there is such
    /// a record, and whether the shard is still open.
    fn gathered(&self, world: &mut World, lane: Lane) -> (bool, bool) {
        let shard = &F::log(world).shards[lane.shard];
        let (end, is_open) = (shard.records.len(), shard.is_open);
        let from = world.progress[&(F::NAME, lane.shard)][lane.lane].max(shard.trimmed);
        let own = F::log(world).shards[lane.shard].records[from..]
            .iter()
            .position(|stored| self.is_own(&stored.record, lane));
        Self::advance(world, lane, own.map_or(end, |own| from + own));
        (own.is_some(), is_open)
    }

    /// The next batch of the lane, and the position after its last record.
    fn batch(&self, world: &mut World, lane: Lane) -> (Vec<Stored<F::Record>>, usize) {
        let from = world.progress[&(F::NAME, lane.shard)][lane.lane];
        let mut batch = Vec::new();
        let mut next = from;
        for stored in &F::log(world).shards[lane.shard].records[from..] {
            if batch.len() == self.batch_size {
                break;
            }
            next += 1;
            if self.is_own(&stored.record, lane) {
                batch.push(stored.clone());
            }
        }
        (batch, next)
    }

    fn is_own(&self, record: &F::Record, lane: Lane) -> bool {
        F::passes(record) && lane_of(F::key(record), self.lanes) == lane.lane
    }

    fn advance(world: &mut World, lane: Lane, to: usize) {
        let lanes = world.progress.get_mut(&(F::NAME, lane.shard));
        lanes.expect("the shard has a reader")[lane.lane] = to;
    }

    /// Delivers a batch until every record of it is completed or discarded.
    async fn deliver(&self, sim: &Arc<Sim>, batch: Vec<Stored<F::Record>>) {
        let mut parts = VecDeque::from([Part {
            records: batch,
            attempts: 0,
            is_repeat: false,
        }]);
        while let Some(mut part) = parts.pop_front() {
            // The function doesn't receive a record that exceeds the maximum age.
            let oldest = sim.elapsed().saturating_sub(self.limits.age);
            let fresh = part.records.iter().position(|it| it.at >= oldest);
            let too_old = part.records.drain(..fresh.unwrap_or(part.records.len()));
            sim.world().miss::<F>(too_old.map(|stored| stored.record));
            if part.records.is_empty() {
                continue;
            }
            let answer = self.invoke(sim, part.records.clone()).await;
            let from = match answer {
                Ok(reported) => lowest(&reported, &part.records),
                Err(Lost) if part.records.len() > 1 => {
                    let second = part.records.split_off(part.records.len() / 2);
                    parts.push_front(Part {
                        records: second,
                        ..part
                    });
                    parts.push_front(part);
                    continue;
                }
                Err(Lost) => Some(0),
            };
            let handled = &part.records[..from.unwrap_or(part.records.len())];
            F::check_handled(&mut sim.world(), handled);
            let now = sim.elapsed();
            let Some(from) = from else {
                let again = !part.is_repeat && sim.world().strikes(Fault::Redelivery, now);
                if again {
                    part.is_repeat = true;
                    parts.push_front(part);
                }
                continue;
            };
            if sim.world().is_sabotaged(Sabotage::PartialFailuresIgnored) {
                continue;
            }
            part.records.drain(..from);
            part.attempts += 1;
            let oldest = now.saturating_sub(self.limits.age);
            let attempts = part.attempts;
            let is_discarded = |it: &Stored<_>| attempts > self.limits.retries || it.at < oldest;
            let (discarded, left): (Vec<_>, Vec<_>) =
                part.records.into_iter().partition(is_discarded);
            let at = sim.now();
            sim.apply(|world, now| discard::<F>(world, &discarded, now, at));
            part.records = left;
            if part.records.is_empty() {
                continue;
            }
            let longest = LONGEST_WAIT.min(200 << part.attempts.min(10));
            parts.push_front(part);
            sim.pause(100, longest).await;
        }
    }

    async fn invoke(
        &self,
        sim: &Arc<Sim>,
        batch: Vec<Stored<F::Record>>,
    ) -> Result<Vec<String>, Lost> {
        let answer = if fails_at_start::<F>(&sim.world()) {
            sim.world().count("invocations that fail at start", 1);
            sim.pause(50, 500).await;
            Err(Lost)
        } else {
            let first = F::first_sequences(&batch);
            invoke(sim, F::NAME, self.time, first, |services, context| {
                F::handle_payload(services, context, F::payload(&batch))
            })
            .await
        };
        let mut world = sim.world();
        match answer {
            Ok(_) => world.failed_calls.remove(F::NAME),
            Err(Lost) => world.failed_calls.insert(F::NAME),
        };
        drop(world);
        answer
    }
}

/// Whether the function fails at start.
pub(crate) fn fails_at_start<F: Function>(world: &World) -> bool {
    world.outages.get(F::NAME) == Some(&Outage::FailsAtStart)
}

/// The lane of all records of a key.
fn lane_of(key: &str, lanes: u32) -> usize {
    let lane = hash(key).rotate_right(16) % lanes;
    usize::try_from(lane).expect("few")
}

impl World {
    /// Whether the function's mapping doesn't read its stream.
    fn is_unread<F: Function>(&self) -> bool {
        matches!(
            self.outages.get(F::NAME),
            Some(Outage::Disabled | Outage::NoPermission)
        )
    }

    /// Lets every mapping deliver again.
    pub(crate) fn end_outages(&mut self) {
        for function in std::mem::take(&mut self.outages).into_keys() {
            self.end_outage(function);
        }
    }

    /// Lets a function's mapping deliver again.
    pub(crate) fn end_outage(&mut self, function: &'static str) {
        self.outages.remove(function);
        self.failed_calls.remove(function);
    }

    /// Records that a function will never receive these records.
    fn miss<F: Function>(&mut self, records: impl Iterator<Item = F::Record>) {
        for record in records {
            self.count("records trimmed or too old before they were read", 1);
            self.missed.insert((F::NAME, F::key(&record).to_owned()));
            self.lose(F::NAME, F::key(&record));
        }
    }

    /// Records the trimmed records that a function hasn't read.
    pub(crate) fn miss_trimmed<F: Function>(&mut self) {
        let mut missed = Vec::new();
        for (index, shard) in F::log(self).shards.iter().enumerate() {
            let lanes = self.progress.get(&(F::NAME, index));
            for (position, stored) in shard.records[..shard.trimmed].iter().enumerate() {
                let is_read = lanes.is_some_and(|lanes| {
                    let count = u32::try_from(lanes.len()).expect("few");
                    position < lanes[lane_of(F::key(&stored.record), count)]
                });
                if !is_read && F::passes(&stored.record) {
                    missed.push(stored.record.clone());
                }
            }
        }
        self.miss::<F>(missed.into_iter());
    }
}

/// The position from which the batch is delivered again: that of the lowest reported sequence number. A number
/// that isn't in the batch, such as an empty one, counts as the first record.
fn lowest<R>(reported: &[String], batch: &[Stored<R>]) -> Option<usize> {
    reported
        .iter()
        .map(|reported| {
            batch
                .iter()
                .position(|stored| stored.number.to_string() == *reported)
                .unwrap_or(0)
        })
        .min()
}

fn discard<F: Function>(world: &mut World, records: &[Stored<F::Record>], now: u64, at: Timestamp) {
    if records.is_empty() {
        return;
    }
    world.count("records in a failure destination", records.len());
    reconciler::discard::<F>(world, records, at);
    for stored in records {
        world.lose(F::NAME, F::key(&stored.record));
        world.discarded.push(Discarded {
            function: F::NAME,
            aggregate: F::key(&stored.record).to_owned(),
            at: now,
        });
    }
}

/// Whether a function's mapping has read all records of its log.
pub(crate) fn is_through<F: Function>(world: &World) -> bool {
    F::log(world)
        .shards
        .iter()
        .enumerate()
        .all(|(index, shard)| {
            world
                .progress
                .get(&(F::NAME, index))
                .is_some_and(|lanes| lanes.iter().all(|next| *next == shard.records.len()))
        })
}
