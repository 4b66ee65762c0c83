//! Days that pass, and mappings that are disabled while they do.
//!
//! What was trimmed unread is lost to its reader. A further event of the aggregate reveals it; until
//! there is a function that looks for it by itself, nothing else does, and the operators' commands
//! repair it.

use std::sync::Arc;
use std::time::Duration;

use millrace_writer::idempotency::EXPIRES_AT;

use super::functions::{ArchiverFunction, Function as _, ProjectorFunction, TranslatorFunction};
use super::sim::Sim;
use super::world::World;

const HOUR: u64 = 60 * 60 * 1_000;
/// [DynamoDB Streams](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html)
/// keeps a record for a day.
const TABLE_STREAM_RETENTION: u64 = 24 * HOUR;
/// What the CDK app sets for the domain stream.
const DOMAIN_STREAM_RETENTION: u64 = 168 * HOUR;

/// The functions whose mappings may be disabled.
pub(crate) const MAPPINGS: [&str; 3] = [
    TranslatorFunction::NAME,
    ProjectorFunction::NAME,
    ArchiverFunction::NAME,
];

/// Lets days pass. The faults that a plan still has come after them.
pub(crate) async fn pass(sim: &Arc<Sim>, days: u64) {
    // Runs in which nothing happens are left out.
    let interval = std::mem::replace(&mut sim.world().reconciler.interval, 7 * HOUR);
    tokio::time::sleep(Duration::from_millis(days * 24 * HOUR)).await;
    sim.apply(|world, now| {
        world.reconciler.interval = interval;
        world.plan.until = world.plan.until.max(now - days * 24 * HOUR) + days * 24 * HOUR;
        trim(world, now);
        expire(world, sim.now().unix_millis() / 1_000);
    });
}

/// Enables every mapping again.
pub(crate) fn enable_all(sim: &Sim) {
    sim.apply(|world, _| world.disabled.clear());
}

fn trim(world: &mut World, now: u64) {
    let oldest = |retention| now.saturating_sub(retention);
    world.table_stream.trim(oldest(TABLE_STREAM_RETENTION));
    world.domain_stream.trim(oldest(DOMAIN_STREAM_RETENTION));
    world.miss_trimmed::<TranslatorFunction>();
    world.miss_trimmed::<ProjectorFunction>();
    world.miss_trimmed::<ArchiverFunction>();
}

/// DynamoDB deletes an expired item within days, and not at once.
fn expire(world: &mut World, now: i64) {
    let World { outcomes, rng, .. } = world;
    outcomes.retain(|_, record| record[EXPIRES_AT].as_integer() > Some(now) || rng.bool());
}
