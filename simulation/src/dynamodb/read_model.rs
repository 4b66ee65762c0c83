//! The projector's access to the view table and the history table.

use millrace_core::{Attribute, Attributes, view};
use millrace_projector::ports::{MAX_VIEWS, REVISION, ReadModel, Saved, ViewSave, Views};
use millrace_projector::stale;
use millrace_runtime::ServiceError;

use super::events::text;
use crate::check::view_is_fold;
use crate::faults::Fault;
use crate::sabotage::Sabotage;
use crate::service_limits;
use crate::services::Services;
use crate::upgrade::previous_view;
use crate::world::World;

impl ReadModel for Services {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        let item = self
            .read("GetItem of a view", |world| {
                world.views.get(aggregate).cloned()
            })
            .await?;
        Ok(item.map(|item| self.as_read(aggregate, item)))
    }

    async fn read_views(&self, aggregates: &[&str]) -> Result<Views, ServiceError> {
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        let mut views = self
            .read("BatchGetItem of views", |world| {
                if aggregates.len() > MAX_VIEWS {
                    world.violated("3", "a BatchGetItem exceeds its limit");
                }
                let mut views = Views::default();
                for id in aggregates {
                    let id = (*id).to_owned();
                    if is_cut_short && world.rng.bool() {
                        views.unprocessed.push(id);
                    } else if let Some(item) = world.views.get(&id) {
                        views.found.insert(id, item.clone());
                    }
                }
                views
            })
            .await?;
        // The previous version reads and saves each view alone.
        if self.is_previous {
            views.unprocessed = aggregates.iter().map(|id| (*id).to_owned()).collect();
        }
        for (id, item) in &mut views.found {
            *item = self.as_read(id, std::mem::take(item));
        }
        Ok(views)
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        const ACTION: &str = "BatchWriteItem of history lines";
        let is_cut_short = self.strikes(Fault::BatchCutShort);
        self.write(ACTION, move |world, _| {
            if let Err(what) = service_limits::batch_write_item(&items) {
                world.violated("3", &what);
                return Err(ServiceError::new(ACTION, what));
            }
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
            Ok(unprocessed)
        })
        .await?
    }

    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        const ACTION: &str = "PutItem of a view";
        let read = read.cloned();
        let is_previous = self.is_previous;
        let is_repeated = self.strikes(Fault::CallRepeated);
        self.write(ACTION, move |world, _| {
            if let Err(what) = service_limits::put_item(&item) {
                world.violated("3", &what);
                return Err(ServiceError::new(ACTION, what));
            }
            let saved = save(world, item.clone(), read.as_ref(), is_previous);
            Ok(if is_repeated {
                save(world, item, read.as_ref(), is_previous)
            } else {
                saved
            })
        })
        .await?
    }

    async fn save_views(&self, saves: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        const ACTION: &str = "BatchExecuteStatement of views";
        let is_broken = self.is_sabotaged(Sabotage::FailedStatementsIgnored);
        // Later events repair most views, so the break shows only if many statements fail.
        let is_cut_short = self.strikes(Fault::BatchCutShort) || is_broken;
        let is_repeated = self.strikes(Fault::CallRepeated);
        let is_stored = self
            .write(ACTION, move |world, _| {
                if let Err(what) = service_limits::save_views(&saves) {
                    world.violated("3", &what);
                    return Err(ServiceError::new(ACTION, what));
                }
                let saves = saves.into_iter().map(|save| {
                    if is_cut_short && world.rng.bool() {
                        return false;
                    }
                    let is_stored = save_together(world, save.clone());
                    if is_repeated {
                        save_together(world, save)
                    } else {
                        is_stored
                    }
                });
                Ok(saves.collect::<Vec<_>>())
            })
            .await??;
        Ok(if is_broken {
            vec![true; is_stored.len()]
        } else {
            is_stored
        })
    }

    async fn set_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        let (aggregate, read) = (aggregate.to_owned(), read.clone());
        let is_previous = self.is_previous;
        self.write("UpdateItem of a stale view", move |world, _| {
            // The previous version sets the stale attributes without a condition and without a revision.
            if !is_previous && !is_same(world.views.get(&aggregate), Some(&read)) {
                return Saved::Moved;
            }
            let mut item = world.views.get(&aggregate).cloned().unwrap_or_default();
            item.extend(if is_previous {
                previous_view(attributes)
            } else {
                attributes
            });
            put(world, &aggregate, item, is_previous);
            Saved::Stored
        })
        .await
    }
}

impl Services {
    /// A stored view as the function sees it.
    fn as_read(&self, aggregate: &str, mut item: Attributes) -> Attributes {
        if self.is_sabotaged(Sabotage::GateForgotten)
            && let Some(first) = self.first_sequence(aggregate).filter(|first| *first > 1)
        {
            item.insert(view::SEQUENCE.to_owned(), Attribute::number(first - 1));
        }
        if self.is_previous {
            previous_view(item)
        } else {
            item
        }
    }
}

/// Puts an item in place of the one that was read.
fn save(
    world: &mut World,
    item: Attributes,
    read: Option<&Attributes>,
    is_previous: bool,
) -> Saved {
    if !meets_condition(world, &item, read, is_previous) {
        return Saved::Moved;
    }
    let item = if is_previous {
        previous_view(item)
    } else {
        item
    };
    replace(world, item, is_previous);
    Saved::Stored
}

/// Inserts an item, or changes the attributes that differ from the item that was read. All other attributes of
/// the stored item stay.
fn save_together(world: &mut World, save: ViewSave) -> bool {
    let ViewSave { item, read } = save;
    if !meets_condition(world, &item, read.as_ref(), false) {
        return false;
    }
    let mut stored = world
        .views
        .get(&text(&item, view::ID))
        .cloned()
        .unwrap_or_default();
    let read = read.unwrap_or_default();
    stored.retain(|name, _| item.contains_key(name) || !read.contains_key(name));
    stored.extend(item);
    replace(world, stored, false);
    true
}

/// Whether the stored item is the one that was read, as far as the version compares them.
fn meets_condition(
    world: &World,
    item: &Attributes,
    read: Option<&Attributes>,
    is_previous: bool,
) -> bool {
    let stored = world.views.get(&text(item, view::ID));
    if world.is_sabotaged(Sabotage::GateForgotten)
        || world.is_sabotaged(Sabotage::ViewConditionForgotten)
    {
        true
    } else if is_previous || world.is_sabotaged(Sabotage::RevisionIgnored) {
        is_same_sequence(stored, read)
    } else {
        is_same(stored, read)
    }
}

fn replace(world: &mut World, item: Attributes, is_previous: bool) {
    let id = text(&item, view::ID);
    let sequence = |item: &Attributes| item[view::SEQUENCE].as_integer();
    let stored = world.views.get(&id);
    if stored.is_some_and(|stored| sequence(stored) > sequence(&item)) {
        world.violated("3", format!("{id}: the view's sequence decreased"));
    }
    put(world, &id, item, is_previous);
    view_is_fold(world, &id);
}

/// Stores a view's item. Every write of this version gives the item a new, unique revision.
fn put(world: &mut World, id: &str, item: Attributes, is_previous: bool) {
    let revision = text(&item, REVISION);
    if !is_previous && (revision.is_empty() || !world.revisions.insert(revision)) {
        world.violated(
            "3",
            format!("{id}: a view was written without a new revision"),
        );
    }
    world.views.insert(id.to_owned(), item);
}

/// `Condition::unchanged` of the adapter: the stored revision is the one that was read. If none was read, none is
/// stored, and the sequence and the stale attributes are those that were read.
pub(super) fn is_same(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let Some(read) = read else {
        return stored.is_none();
    };
    let same = |name| stored.and_then(|item| item.get(name)) == read.get(name);
    same(REVISION) && (read.contains_key(REVISION) || is_same_sequence(stored, Some(read)))
}

/// The previous version's condition: the existence of the item, its sequence and its stale attributes are as they
/// were read.
fn is_same_sequence(stored: Option<&Attributes>, read: Option<&Attributes>) -> bool {
    let of = |item: Option<&Attributes>, name| item.and_then(|item| item.get(name)).cloned();
    stored.is_some() == read.is_some()
        && of(stored, view::SEQUENCE) == of(read, view::SEQUENCE)
        && of(stored, stale::SEQUENCE) == of(read, stale::SEQUENCE)
}
