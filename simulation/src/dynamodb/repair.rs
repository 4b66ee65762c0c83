//! The access of `rebuild` to the view table and the history table.

use millrace_cli::operate::ports::{HistoryPage, ReadModelRepair};
use millrace_core::{Attributes, view};
use millrace_projector::ports::Saved;
use millrace_runtime::ServiceError;

use super::events::text;
use super::read_model::is_same;
use crate::services::Services;

/// The key of a history item.
fn key(item: &Attributes) -> (String, u64) {
    let sequence = text(item, view::SEQUENCE).parse().expect("a sequence");
    (text(item, view::ID), sequence)
}

impl ReadModelRepair for Services {
    async fn history_page(
        &self,
        aggregate: &str,
        after: Option<&Attributes>,
    ) -> Result<HistoryPage, ServiceError> {
        self.read("Query of history items", |world| {
            let from = after.map_or(0, |after| key(after).1 + 1);
            let range = (aggregate.to_owned(), from)..=(aggregate.to_owned(), u64::MAX);
            let mut items = world.lines.range(range).map(|(_, item)| item.clone());
            let page: Vec<Attributes> = items.by_ref().take(world.rng.usize(1..30)).collect();
            let last = page.last().cloned().filter(|_| items.next().is_some());
            HistoryPage { items: page, last }
        })
        .await
    }

    async fn delete_view(&self, aggregate: &str, read: &Attributes) -> Result<Saved, ServiceError> {
        let (aggregate, read) = (aggregate.to_owned(), read.clone());
        self.write("DeleteItem of a view", move |world, _| {
            if !is_same(world.views.get(&aggregate), Some(&read)) {
                return Saved::Moved;
            }
            world.views.remove(&aggregate);
            Saved::Stored
        })
        .await
    }

    async fn delete_history(
        &self,
        read: &Attributes,
        _columns: &[&str],
    ) -> Result<Saved, ServiceError> {
        let read = read.clone();
        self.write("DeleteItem of a history item", move |world, _| {
            let key = key(&read);
            if world.lines.get(&key) != Some(&read) {
                return Saved::Moved;
            }
            world.lines.remove(&key);
            Saved::Stored
        })
        .await
    }
}
