//! The reader's access to the view table and the history table.

use millrace_core::{AggregateId, Attributes, Sequence};
use millrace_reader::ports::ReadModel;
use millrace_runtime::ServiceError;

use crate::services::Services;

impl ReadModel for Services {
    async fn view(&self, id: &AggregateId) -> Result<Option<Attributes>, ServiceError> {
        self.read("GetItem of a view", |world| {
            world.views.get(id.as_str()).cloned()
        })
        .await
    }

    async fn history(
        &self,
        id: &AggregateId,
        newest: Sequence,
        limit: usize,
    ) -> Result<Vec<Attributes>, ServiceError> {
        self.read("Query of history items", |world| {
            let key = |sequence| (id.as_str().to_owned(), sequence);
            let items = world.lines.range(key(0)..=key(newest.get())).rev();
            items.take(limit).map(|(_, item)| item.clone()).collect()
        })
        .await
    }

    async fn entry(
        &self,
        id: &AggregateId,
        sequence: Sequence,
    ) -> Result<Option<Attributes>, ServiceError> {
        self.read("GetItem of a history item", |world| {
            let key = (id.as_str().to_owned(), sequence.get());
            world.lines.get(&key).cloned()
        })
        .await
    }
}
