//! The read model in memory (feature `testing`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_core::{AggregateId, Attributes, Sequence};
use millrace_runtime::ServiceError;
use millrace_runtime::testing::lost_call;

use crate::ports::ReadModel;

/// A read model in memory, whose items a test sets. They may be undecodable.
#[derive(Debug, Default)]
pub struct InMemoryReadModel(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    views: BTreeMap<AggregateId, Attributes>,
    history: BTreeMap<(AggregateId, Sequence), Attributes>,
    views_read: usize,
    entries_read: usize,
    is_failing: bool,
}

impl InMemoryReadModel {
    /// Puts the item of a view.
    pub fn put_view(&self, id: &AggregateId, item: Attributes) {
        self.tables().views.insert(id.clone(), item);
    }

    /// Puts the item of a history entry.
    pub fn put_entry(&self, id: &AggregateId, sequence: Sequence, item: Attributes) {
        self.tables().history.insert((id.clone(), sequence), item);
    }

    /// Removes the item of a history entry.
    pub fn remove_entry(&self, id: &AggregateId, sequence: Sequence) {
        self.tables().history.remove(&(id.clone(), sequence));
    }

    /// From now on every read fails.
    pub fn fail(&self) {
        self.tables().is_failing = true;
    }

    /// How often a view was read.
    #[must_use]
    pub fn views_read(&self) -> usize {
        self.tables().views_read
    }

    /// How often a single history entry was read.
    #[must_use]
    pub fn entries_read(&self) -> usize {
        self.tables().entries_read
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> Result<MutexGuard<'_, Tables>, ServiceError> {
        let tables = self.tables();
        if tables.is_failing {
            return Err(lost_call());
        }
        Ok(tables)
    }
}

impl ReadModel for &InMemoryReadModel {
    async fn view(&self, id: &AggregateId) -> Result<Option<Attributes>, ServiceError> {
        let mut tables = self.reading()?;
        tables.views_read += 1;
        Ok(tables.views.get(id).cloned())
    }

    async fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<Attributes>, ServiceError> {
        let tables = self.reading()?;
        let key = |sequence| (id.clone(), sequence);
        let items = tables.history.range(key(Sequence::NONE)..=key(newest));
        let newest_first = items.rev().take(limit);
        Ok(newest_first.map(|(_, item)| item.clone()).collect())
    }

    async fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<Attributes>, ServiceError> {
        let mut tables = self.reading()?;
        tables.entries_read += 1;
        Ok(tables.history.get(&(id.clone(), sequence)).cloned())
    }
}
