//! The position of each aggregate, and the store of the positions.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_core::Sequence;

/// Events of an aggregate that have not arrived, although later ones have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first sequence that is missing: one more than the position.
    pub missing: Sequence,
    /// The highest sequence that has arrived and is not applied.
    pub seen: Sequence,
}

/// How far a consumer has applied an aggregate's events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The sequence of the last applied event; [`Sequence::NONE`] before the first.
    pub sequence: Sequence,
    /// The consumer's state of the aggregate, as JSON; `None` if it has none.
    pub state: Option<String>,
    /// The events that are missing; `None` if there is no gap.
    pub gap: Option<Gap>,
}

/// What [`Positions::save`] stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save<W> {
    /// The position as it was read.
    pub read: Position,
    /// The position to store. Its sequence is not lower than the one that was read.
    pub position: Position,
    /// What the applied events write, in their order.
    pub writes: Vec<W>,
}

/// How [`Positions::save`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The position and all writes are stored.
    Stored,
    /// Nothing is stored, because the sequence or the gap is no longer the one that was read: another invocation has
    /// saved events of the aggregate. Or the store throttled the call. Reading the position again and applying the
    /// events again may succeed.
    Moved,
}

/// A store failed. Contains what failed, without ids and payloads, because it is logged.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed")]
pub struct StoreError {
    action: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// The error of an action, such as `reading a position`.
    #[must_use]
    pub fn new(
        action: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            action,
            source: source.into(),
        }
    }
}

/// Stores positions, each together with what the events up to it have written: in one transaction, or not at all.
/// This is what makes each event take effect exactly once.
///
/// `W` is a write that belongs to an event: for `DynamoDB`, an entry of a transaction.
pub trait Positions<W>: Send + Sync {
    /// The most writes of one [`Save`].
    const MAX_WRITES: usize;

    /// Reads an aggregate's position consistently; the default if there is none.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was read.
    fn read(&self, subject: &str) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// Stores a position and its writes, on the condition that the stored sequence and the stored gap are those that
    /// were read. Without the gap in the condition, an invocation could remove a gap that another one has just found.
    ///
    /// # Errors
    /// [`StoreError`]: whether they are stored is unknown, or a write is refused. Both are stored, or none.
    fn save(
        &self,
        subject: &str,
        save: Save<W>,
    ) -> impl Future<Output = Result<Saved, StoreError>> + Send;
}

/// Positions in memory, for tests. Clones share them. Each call yields to other tasks before and after it takes
/// effect, so that a test can interrupt it at both places.
#[derive(Debug)]
pub struct MemoryPositions<W> {
    stored: Arc<Mutex<Stored<W>>>,
}

#[derive(Debug)]
struct Stored<W> {
    positions: HashMap<String, Position>,
    writes: Vec<W>,
}

impl<W> Default for MemoryPositions<W> {
    fn default() -> Self {
        let stored = Stored {
            positions: HashMap::new(),
            writes: Vec::new(),
        };
        Self {
            stored: Arc::new(Mutex::new(stored)),
        }
    }
}

impl<W> Clone for MemoryPositions<W> {
    fn clone(&self) -> Self {
        Self {
            stored: Arc::clone(&self.stored),
        }
    }
}

impl<W: Clone> MemoryPositions<W> {
    /// An aggregate's position; the default if there is none.
    #[must_use]
    pub fn position(&self, subject: &str) -> Position {
        let stored = self.lock();
        stored.positions.get(subject).cloned().unwrap_or_default()
    }

    /// Sets an aggregate's position.
    pub fn set(&self, subject: &str, position: Position) {
        self.lock().positions.insert(subject.to_owned(), position);
    }

    /// All writes that are stored, in the order in which they were stored.
    #[must_use]
    pub fn writes(&self) -> Vec<W> {
        self.lock().writes.clone()
    }
}

impl<W> MemoryPositions<W> {
    fn lock(&self) -> MutexGuard<'_, Stored<W>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Clone + Send> Positions<W> for MemoryPositions<W> {
    const MAX_WRITES: usize = 99;

    async fn read(&self, subject: &str) -> Result<Position, StoreError> {
        tokio::task::yield_now().await;
        let position = self.position(subject);
        tokio::task::yield_now().await;
        Ok(position)
    }

    async fn save(&self, subject: &str, save: Save<W>) -> Result<Saved, StoreError> {
        tokio::task::yield_now().await;
        let saved = {
            let mut stored = self.lock();
            let position = stored.positions.entry(subject.to_owned()).or_default();
            if (position.sequence, position.gap) == (save.read.sequence, save.read.gap) {
                *position = save.position;
                stored.writes.extend(save.writes);
                Saved::Stored
            } else {
                Saved::Moved
            }
        };
        tokio::task::yield_now().await;
        Ok(saved)
    }
}
