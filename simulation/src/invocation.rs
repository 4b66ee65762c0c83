//! One invocation of a function: it returns, is killed between two of its calls, continues after its response is
//! lost, or reaches its deadline.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use lambda_runtime::Context;
use millrace_core::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::faults::Fault;
use super::panics::{RUNNING, Running};
use super::reconciler::RECONCILER;
use super::services::Services;
use super::sim::Sim;
use super::world::World;

/// The function that responds to clients' commands. It must respond in time, even if a service fails.
pub(crate) const WRITER: &str = "writer";

/// What ends an invocation, and before which of its calls.
#[derive(Debug, Clone, Copy)]
struct CrashPoint {
    call: u32,
    is_zombie: bool,
}

/// An invocation.
pub(crate) struct Invocation {
    function: &'static str,
    number: u64,
    crash_point: Option<CrashPoint>,
    /// The error of the clock of its machine, in milliseconds.
    drift: i64,
    calls: AtomicU32,
    has_ended: AtomicBool,
    looked_at: AtomicU64,
    lost: Notify,
}

/// The invocation returned no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}:", self.function, self.number)
    }
}

impl Invocation {
    fn begin(sim: &Sim, function: &'static str) -> Self {
        let now = sim.elapsed();
        let mut world = sim.world();
        let is_zombie = world.strikes(Fault::Zombie, now);
        let crash_point = (is_zombie || world.strikes(Fault::Crash, now)).then(|| CrashPoint {
            // Most invocations make few calls. An invocation that makes fewer calls than drawn here returns.
            call: [1, 2, 3, 4, 6, 10][world.rng.usize(0..6)],
            is_zombie,
        });
        let World { plan, rng, .. } = &mut *world;
        // The lease requires that clocks differ by less than its margin.
        let drift = if function == RECONCILER {
            0
        } else {
            plan.draw_drift(rng)
        };
        world.count(&format!("invocations of the {function}"), 1);
        world.invocations += 1;
        let number = world.invocations;
        Self {
            function,
            number,
            crash_point,
            drift,
            calls: AtomicU32::new(0),
            has_ended: AtomicBool::new(false),
            looked_at: AtomicU64::new(0),
            lost: Notify::new(),
        }
    }

    /// The time of the clock of its machine.
    pub(crate) fn now(&self, sim: &Sim) -> Timestamp {
        let now = sim.now().unix_millis() + self.drift;
        Timestamp::from_unix_millis(now).expect("within this century")
    }

    /// The invocation's unique number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The function's name.
    pub(crate) const fn function(&self) -> &'static str {
        self.function
    }

    /// Ends the invocation before its next call.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.lost.notify_one();
    }

    /// Records the time of a read or write of the events table. A refusal is based on its result.
    pub(crate) fn looked(&self, now: u64) {
        self.looked_at.store(now, Ordering::Relaxed);
    }

    /// The time of the last read or write of the events table, in milliseconds from the start.
    pub(crate) fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }

    /// Passes the point before a call, unless the invocation ends there.
    pub(crate) async fn step(&self) {
        if self.has_ended.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(crash_point) = self
            .crash_point
            .filter(|crash_point| crash_point.call == call)
        {
            self.lost.notify_one();
            if !crash_point.is_zombie {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Invokes a function, which has `time` until its deadline. The deadline is in the handler's context.
pub(crate) async fn invoke<T, F>(
    sim: &Arc<Sim>,
    function: &'static str,
    time: Duration,
    first: BTreeMap<String, u64>,
    handler: impl FnOnce(Services, Context) -> F,
) -> Result<T, Lost>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let invocation = Arc::new(Invocation::begin(sim, function));
    let deadline = Instant::now() + time;
    let mut context = Context::default();
    let until = invocation.now(sim).unix_millis() + i64::try_from(time.as_millis()).expect("short");
    context.deadline = u64::try_from(until).expect("after 1970");
    let (sabotage, is_previous) = {
        let now = sim.elapsed();
        let mut world = sim.world();
        let World { upgrade, rng, .. } = &mut *world;
        let is_previous = upgrade.is_previous(now, rng);
        (world.sabotage, is_previous)
    };
    let services = Services {
        sim: Arc::clone(sim),
        invocation: Arc::clone(&invocation),
        sabotage,
        is_previous,
        first: Arc::new(first),
    };
    let running = Running {
        sim: Arc::clone(sim),
        invocation: Arc::clone(&invocation),
    };
    sim.world().in_flight += 1;
    let mut task = tokio::spawn(RUNNING.scope(running, handler(services, context)));
    let end = {
        let lost = pin!(tokio::time::timeout_at(
            deadline,
            invocation.lost.notified()
        ));
        match select(&mut task, lost).await {
            Either::Left((result, _)) => Some(result),
            Either::Right((_, _)) => None,
        }
    };
    let result = match end {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(panic)) => {
            sim.world().violated("E", format!("{invocation} {panic}"));
            Err(Lost)
        }
        None if Instant::now() < deadline
            && invocation.crash_point.is_some_and(|it| it.is_zombie) =>
        {
            note(sim, &invocation, "continue after their response is lost");
            let sim = Arc::clone(sim);
            tokio::spawn(async move {
                if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                    task.abort();
                }
                sim.apply(|world, _| world.in_flight -= 1);
            });
            return Err(Lost);
        }
        None => {
            let is_over = Instant::now() >= deadline;
            note(
                sim,
                &invocation,
                if is_over { "run out of time" } else { "crash" },
            );
            if is_over && function == WRITER {
                let what = format!("{invocation} no response before the timeout");
                sim.world().violated("W", what);
            }
            task.abort();
            // The invocation's future is dropped when this function returns.
            drop(task.await);
            Err(Lost)
        }
    };
    sim.apply(|world, _| world.in_flight -= 1);
    result
}

fn note(sim: &Sim, invocation: &Invocation, what: &str) {
    let now = sim.elapsed();
    let mut world = sim.world();
    world.trace.note(now, format_args!("{invocation} {what}"));
    world.count(&format!("invocations that {what}"), 1);
}
