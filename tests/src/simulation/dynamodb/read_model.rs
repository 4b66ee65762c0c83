//! The view table and the history table.

use millrace_domain::{Attribute, Attributes, view};
use millrace_projector::model::{ReadModel, Saved};
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

    async fn put_history(&self, lines: Vec<Attributes>) -> Result<(), ServiceError> {
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        self.write("BatchWriteItem of history lines", move |world, _| {
            let all = lines.len();
            let stored = if is_cut_short {
                world.rng.usize(0..=all)
            } else {
                all
            };
            for line in lines.into_iter().take(stored) {
                let sequence = text(&line, view::SEQUENCE).parse().expect("a sequence");
                world.lines.insert((text(&line, view::ID), sequence), line);
            }
        })
        .await?;
        if is_cut_short {
            return Err(ServiceError::new("BatchWriteItem", "items were left"));
        }
        Ok(())
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

    async fn mark(&self, aggregate: &str, attributes: Attributes) -> Result<(), ServiceError> {
        let aggregate = aggregate.to_owned();
        self.write("UpdateItem of a view's mark", move |world, _| {
            let item = world.views.entry(aggregate).or_default();
            item.extend(attributes);
        })
        .await
    }
}

/// What the condition holds against each other: whether there is an item, its sequence, its mark.
fn is_same(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let of = |item: Option<&Attributes>, name| item.and_then(|item| item.get(name)).cloned();
    stored.is_some() == read.is_some()
        && of(stored, view::SEQUENCE) == of(read, view::SEQUENCE)
        && of(stored, stale::SEQUENCE) == of(read, stale::SEQUENCE)
}
