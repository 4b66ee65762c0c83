//! Lets days pass, and interrupts the delivery of mappings, for a time or during these days.
//!
//! A function never receives a record that is trimmed before the function has read it. The next event of the
//! aggregate or the reconciler's pass reveals the gap. Only operators' commands repair gaps of the archiver.

use std::sync::Arc;
use std::time::Duration;

use millrace_writer::idempotency::EXPIRES_AT;

use super::consumer::ConsumerMapping;
use super::functions::{ArchiverFunction, Function as _, ProjectorFunction, TranslatorFunction};
use super::mapping::Outage;
use super::sim::Sim;
use super::world::World;

const HOUR: u64 = 60 * 60 * 1_000;
/// [DynamoDB Streams](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html)
/// keeps a record for a day.
const TABLE_STREAM_RETENTION: u64 = 24 * HOUR;
/// The CDK app's retention period of the domain stream.
pub(crate) const DOMAIN_STREAM_RETENTION: u64 = 168 * HOUR;

/// The functions whose mappings may have an outage.
pub(crate) const MAPPINGS: [&str; 3] = [
    TranslatorFunction::NAME,
    ProjectorFunction::NAME,
    ArchiverFunction::NAME,
];

/// Lets days pass. The plan's remaining faults are injected after them.
pub(crate) async fn pass(sim: &Arc<Sim>, days: u64) {
    // The reconciler runs rarely meanwhile, because further runs would change nothing.
    let interval = std::mem::replace(&mut sim.world().reconciler.interval, 7 * HOUR);
    tokio::time::sleep(Duration::from_millis(days * 24 * HOUR)).await;
    sim.apply(|world, now| {
        world.reconciler.interval = interval;
        world.plan.extend(now, days * 24 * HOUR);
        trim(world, now);
        expire(world, sim.now().unix_millis() / 1_000);
    });
}

/// Keeps a function's mapping from delivering for this number of milliseconds. The plan's remaining faults are
/// injected after them.
pub(crate) async fn suffer(sim: &Sim, function: &'static str, outage: Outage, lasts: u64) {
    sim.apply(|world, _| begin_outage(world, function, outage));
    tokio::time::sleep(Duration::from_millis(lasts)).await;
    sim.apply(|world, now| {
        world.end_outage(function);
        world.plan.extend(now, lasts);
    });
}

/// Keeps a function's mapping from delivering.
pub(crate) fn begin_outage(world: &mut World, function: &'static str, outage: Outage) {
    world.count(
        match outage {
            Outage::Disabled => "mappings disabled",
            Outage::NoPermission => "mappings that lose permission",
            Outage::FailsAtStart => "functions that fail at start",
        },
        1,
    );
    world.outages.insert(function, outage);
}

/// Lets every mapping deliver again.
pub(crate) fn end_outages(sim: &Sim) {
    sim.apply(|world, _| world.end_outages());
}

fn trim(world: &mut World, now: u64) {
    let oldest = |retention| now.saturating_sub(retention);
    world.table_stream.trim(oldest(TABLE_STREAM_RETENTION));
    world.domain_stream.trim(oldest(DOMAIN_STREAM_RETENTION));
    world.miss_trimmed::<TranslatorFunction>();
    world.miss_trimmed::<ProjectorFunction>();
    world.miss_trimmed::<ArchiverFunction>();
    if world.consumer.is_subscribed {
        world.miss_trimmed::<ConsumerMapping>();
    }
}

/// Deletes some of the expired items. DynamoDB deletes an expired item within days.
fn expire(world: &mut World, now: i64) {
    let World { outcomes, rng, .. } = world;
    outcomes.retain(|_, record| record[EXPIRES_AT].as_integer() > Some(now) || rng.bool());
}
