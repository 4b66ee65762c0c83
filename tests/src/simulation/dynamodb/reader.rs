//! The view table and the history table as the reader sees them.

use millrace_domain::{AggregateId, HistoryEntry, Sequence, View};
use millrace_reader::store::{ReadError, ReadModel};

use crate::simulation::services::Services;

impl ReadModel for Services {
    async fn view(&self, id: &AggregateId) -> Result<Option<View>, ReadError> {
        let item = self
            .read("GetItem of a view", |world| {
                world.views.get(id.as_str()).cloned()
            })
            .await?;
        Ok(item.as_ref().map_or(Ok(None), View::read)?)
    }

    async fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let items = self
            .read("Query of history items", |world| {
                let key = |sequence| (id.as_str().to_owned(), sequence);
                let items = world.lines.range(key(0)..=key(newest.get())).rev();
                let items = items.take(limit).map(|(_, item)| item.clone());
                items.collect::<Vec<_>>()
            })
            .await?;
        Ok(items
            .iter()
            .map(HistoryEntry::read)
            .collect::<Result<_, _>>()?)
    }

    async fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<HistoryEntry>, ReadError> {
        let item = self
            .read("GetItem of a history item", |world| {
                let key = (id.as_str().to_owned(), sequence.get());
                world.lines.get(&key).cloned()
            })
            .await?;
        Ok(item.as_ref().map(HistoryEntry::read).transpose()?)
    }
}
