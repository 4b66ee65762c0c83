//! A store of positions whose calls fail now and then.

use std::sync::{Mutex, PoisonError};

use fastrand::Rng;

use crate::positions::{Position, Positions, Save, Saved, StoreError};

/// One call in this number fails.
const FAILING: u8 = 8;

/// Wraps a store of positions. One call in eight fails, as calls of a service may: before it takes effect, or after it
/// took effect; or the store throttles a save ([`Saved::Moved`]). A seed determines which calls fail.
///
/// The consumer reports the events of a failed call as incomplete, so a [`HostileFeed`](super::HostileFeed) delivers
/// them again. If the wrapped store is a [`MemoryPositions`](crate::MemoryPositions), the test can keep a clone of it,
/// and read from the clone what is stored.
#[derive(Debug)]
pub struct FailingPositions<P> {
    positions: P,
    rng: Mutex<Rng>,
}

/// How a call ends.
enum Fate {
    Succeeds,
    FailsBefore,
    FailsAfter,
    IsThrottled,
}

impl<P> FailingPositions<P> {
    /// Wraps `positions`.
    #[must_use]
    pub fn new(seed: u64, positions: P) -> Self {
        Self {
            positions,
            rng: Mutex::new(Rng::with_seed(seed)),
        }
    }

    fn fate(&self) -> Fate {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        match rng.u8(..3 * FAILING) {
            0 => Fate::FailsBefore,
            1 => Fate::FailsAfter,
            2 => Fate::IsThrottled,
            _ => Fate::Succeeds,
        }
    }
}

fn failed(action: &'static str) -> StoreError {
    StoreError::new(action, "the test lets this call fail")
}

impl<W: Send, P: Positions<W>> Positions<W> for FailingPositions<P> {
    const MAX_WRITES: usize = P::MAX_WRITES;

    async fn read(&self, subject: &str) -> Result<Position, StoreError> {
        let position = self.positions.read(subject).await;
        match self.fate() {
            Fate::Succeeds => position,
            Fate::FailsBefore | Fate::FailsAfter | Fate::IsThrottled => {
                Err(failed("reading a position"))
            }
        }
    }

    async fn save(&self, subject: &str, save: Save<W>) -> Result<Saved, StoreError> {
        match self.fate() {
            Fate::Succeeds => self.positions.save(subject, save).await,
            Fate::FailsBefore => Err(failed("saving a position")),
            Fate::FailsAfter => {
                self.positions.save(subject, save).await?;
                Err(failed("saving a position"))
            }
            Fate::IsThrottled => Ok(Saved::Moved),
        }
    }
}
