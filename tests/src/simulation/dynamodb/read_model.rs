//! The view table and the history table.

use millrace_domain::{Attribute, Attributes, view};
use millrace_projector::model::{REVISION, ReadModel, Saved};
use millrace_projector::stale;
use millrace_runtime::ServiceError;

use super::events::text;
use crate::simulation::check::view_is_fold;
use crate::simulation::faults::Fault;
use crate::simulation::sabotage::Sabotage;
use crate::simulation::services::Services;

impl ReadModel for Services {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let mut item = self
            .read("GetItem of a view", |world| {
                world.views.get(aggregate).cloned()
            })
            .await?;
        if self.is_sabotaged(Sabotage::GateForgotten)
            && let Some(item) = &mut item
            && let Some(first) = self.first_sequence(aggregate).filter(|first| *first > 1)
        {
            item.insert(view::SEQUENCE.to_owned(), Attribute::number(first - 1));
        }
        Ok(item)
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        self.write("BatchWriteItem of history lines", move |world, _| {
            let mut items = items;
            let unprocessed = if is_cut_short {
                let stored = world.rng.usize(0..=items.len());
                items.split_off(stored)
            } else {
                Vec::new()
            };
            for item in items {
                let sequence = text(&item, view::SEQUENCE).parse().expect("a sequence");
                world.lines.insert((text(&item, view::ID), sequence), item);
            }
            unprocessed
        })
        .await
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        let read = read.cloned();
        self.write("PutItem of a view", move |world, _| {
            let id = text(&item, view::ID);
            let is_unconditional = world.is_sabotaged(Sabotage::GateForgotten)
                || world.is_sabotaged(Sabotage::ViewConditionForgotten);
            let stored = world.views.get(&id);
            if !is_unconditional && !is_same(stored, read.as_ref()) {
                return Saved::Moved;
            }
            let sequence = |item: &Attributes| item[view::SEQUENCE].as_integer();
            if stored.is_some_and(|stored| sequence(stored) > sequence(&item)) {
                world.violated("3", format!("{id}: the view went back in sequence"));
            }
            world.views.insert(id.clone(), item);
            view_is_fold(world, &id);
            Saved::Stored
        })
        .await
    }

    async fn mark(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        let (aggregate, read) = (aggregate.to_owned(), read.clone());
        self.write("UpdateItem of a view's mark", move |world, _| {
            if !is_same(world.views.get(&aggregate), Some(&read)) {
                return Saved::Moved;
            }
            let item = world.views.entry(aggregate).or_default();
            item.extend(attributes);
            Saved::Stored
        })
        .await
    }
}

/// `Condition::unchanged` of the adapter: the revision that was read; where none was read, no
/// revision, and the same sequence and mark.
fn is_same(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let Some(read) = read else {
        return stored.is_none();
    };
    let same = |name| stored.and_then(|item| item.get(name)) == read.get(name);
    same(REVISION)
        && (read.contains_key(REVISION) || (same(view::SEQUENCE) && same(stale::SEQUENCE)))
}
