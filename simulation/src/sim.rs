//! Virtual time, and the simulation's state.
//!
//! Everything runs on one thread with Tokio's paused time: when all tasks wait, time advances to the earliest
//! deadline. The deadlines determine the order in which tasks run, and the seed determines the deadlines.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use millrace_core::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::functions::Simulated;
use super::world::World;

/// The time at which every simulation begins, in Unix milliseconds: 2026-11-20T21:00:00Z.
const BEGINNING: i64 = 1_795_208_400_000;

/// One run of the simulation.
pub(crate) struct Sim {
    me: std::sync::Weak<Self>,
    pub(crate) scenario: Arc<dyn Simulated>,
    world: Mutex<World>,
    began: Instant,
    /// Notifies tasks that wait for a change of the world.
    pub(crate) changed: Notify,
}

impl Sim {
    pub(crate) fn new(world: World) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            scenario: Arc::clone(&world.scenario),
            world: Mutex::new(world),
            began: Instant::now(),
            changed: Notify::new(),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no effect panics")
    }

    /// Milliseconds from the start.
    pub(crate) fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("a simulation is short")
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed()).expect("a simulation is short");
        Timestamp::from_unix_millis(BEGINNING + elapsed).expect("within this century")
    }

    /// A time in milliseconds from the start; 0 for an earlier one.
    #[expect(clippy::unused_self, reason = "it is a time of this simulation")]
    pub(crate) fn millis_at(&self, time: Timestamp) -> u64 {
        u64::try_from(time.unix_millis() - BEGINNING).unwrap_or_default()
    }

    /// Waits for a number of milliseconds, drawn uniformly from `from` to `to`.
    pub(crate) async fn pause(&self, from: u64, to: u64) {
        let wait = self.world().rng.u64(from..=to);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Applies an effect now, and wakes the tasks that wait for a change.
    pub(crate) fn apply<T>(&self, effect: impl FnOnce(&mut World, u64) -> T) -> T {
        let now = self.elapsed();
        let done = {
            let mut world = self.world();
            world.reveal(now);
            effect(&mut world, now)
        };
        self.changed.notify_waiters();
        done
    }

    /// Applies an effect after this number of milliseconds, even if the invocation that caused it has ended.
    pub(crate) fn land_later(
        &self,
        after: u64,
        effect: impl FnOnce(&mut World, u64) + Send + 'static,
    ) {
        let sim = self.me.upgrade().expect("the simulation is running");
        self.world().in_flight += 1;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            sim.apply(|world, now| {
                world
                    .trace
                    .note(now, format_args!("a late call takes effect"));
                effect(world, now);
                world.in_flight -= 1;
            });
        });
    }
}
