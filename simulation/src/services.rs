//! One invocation's access to the services. Every call takes virtual time and may fail as a network call can
//! fail, and the invocation may be killed before the call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_core::Timestamp;
use millrace_runtime::{Ambient, ServiceError};

use super::consumer::REPLAY;
use super::faults::Fault;
use super::invocation::Invocation;
use super::sabotage::Sabotage;
use super::sim::Sim;
use super::world::World;

/// The simulated services of one invocation.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) sim: Arc<Sim>,
    pub(crate) invocation: Arc<Invocation>,
    pub(crate) sabotage: Option<Sabotage>,
    /// Whether the function is of the previous version.
    pub(crate) is_previous: bool,
    /// The first sequence of each aggregate in the batch. Only a deliberate break reads it.
    pub(crate) first: Arc<BTreeMap<String, u64>>,
}

/// The outcome that is drawn for a call.
enum Fate {
    Fine,
    Lost,
    AnswerLost,
    Late(u64),
}

impl Services {
    /// Makes a call that only reads.
    pub(crate) async fn read<T>(
        &self,
        action: &'static str,
        look: impl FnOnce(&mut World) -> T + Send,
    ) -> Result<T, ServiceError> {
        match self.set_out(action).await {
            Fate::Fine => {
                let now = self.sim.elapsed();
                let seen = {
                    let mut world = self.sim.world();
                    world.reveal(now);
                    look(&mut world)
                };
                self.sim.pause(1, 12).await;
                Ok(seen)
            }
            Fate::Lost | Fate::AnswerLost | Fate::Late(_) => Err(lost(action)),
        }
    }

    /// Makes a call that has an effect.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        effect: impl FnOnce(&mut World, u64) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        if self.invocation.function() == REPLAY {
            let what = format!("the replay makes the call {action}");
            self.sim.world().violated("C", what);
        }
        match self.set_out(action).await {
            Fate::Fine => {
                let answer = self.sim.apply(effect);
                self.sim.pause(1, 12).await;
                Ok(answer)
            }
            Fate::Lost => Err(lost(action)),
            Fate::AnswerLost => {
                drop(self.sim.apply(effect));
                self.sim.pause(1, 2_000).await;
                Err(lost(action))
            }
            Fate::Late(after) => {
                self.sim.land_later(after, |world, now| {
                    drop(effect(world, now));
                });
                Err(lost(action))
            }
        }
    }

    /// The part of a call before it reaches the service: it may end the invocation, and draws the call's outcome.
    async fn set_out(&self, action: &'static str) -> Fate {
        self.invocation.step().await;
        self.sim.pause(1, 12).await;
        let (fate, slow) = {
            let mut world = self.sim.world();
            let now = self.sim.elapsed();
            let slow = world
                .strikes(Fault::CallSlow, now)
                .then(|| world.rng.u64(1_000..15_000));
            let fate = if world.strikes(Fault::CallLost, now) {
                Fate::Lost
            } else if world.strikes(Fault::AnswerLost, now) {
                Fate::AnswerLost
            } else if world.strikes(Fault::CallLate, now) {
                Fate::Late(world.rng.u64(1..20_000))
            } else {
                Fate::Fine
            };
            let shown = match &fate {
                Fate::Fine => "",
                Fate::Lost => ": lost",
                Fate::AnswerLost => ": response lost",
                Fate::Late(_) => ": late",
            };
            let of = &self.invocation;
            world.trace.note(now, format_args!("{of} {action}{shown}"));
            world.count("calls", 1);
            (fate, slow)
        };
        if let Some(slow) = slow {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        fate
    }

    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let now = self.sim.elapsed();
        self.sim.world().strikes(fault, now)
    }

    pub(crate) fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    pub(crate) fn first_sequence(&self, aggregate: &str) -> Option<u64> {
        self.first.get(aggregate).copied()
    }
}

fn lost(action: &'static str) -> ServiceError {
    ServiceError::new(action, "a fault was injected")
}

impl Ambient for Services {
    fn now(&self) -> Timestamp {
        self.invocation.now(&self.sim)
    }

    fn unique_id(&self) -> String {
        format!("id-{:016x}", self.sim.world().rng.u64(..))
    }

    fn fraction(&self) -> f64 {
        self.sim.world().rng.f64()
    }

    fn random_bits(&self) -> u64 {
        let mut world = self.sim.world();
        world.random_bits += 1;
        world.random_bits
    }
}
