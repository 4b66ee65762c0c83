//! Test doubles of the read models (feature `testing`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_core::{Attribute, Attributes, view};
use millrace_runtime::ServiceError;
use millrace_runtime::item_size::item_size;
use millrace_runtime::testing::lost_call;

use crate::ports::{REVISION, ReadModel, Saved, ViewSave, Views};
use crate::stale::{self, Stale};

/// The items of the view table and the history table, which are changed on the conditions of
/// [`ReadModel`].
#[derive(Debug, Clone, Default)]
pub struct Items {
    /// Each aggregate's view item.
    pub views: BTreeMap<String, Attributes>,
    /// The history items, by aggregate and sequence.
    pub history: BTreeMap<(String, i64), Attributes>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It fails and has no effect.
    Lost,
    /// It fails after it took effect.
    Ambiguous,
    /// Another writer changes the items just before it.
    Overtaken(fn(&mut Items)),
    /// It stores so many history items and leaves the rest unprocessed, or saves so many views and not the
    /// others.
    CutShort(usize),
}

/// Read models in memory, whose calls fail if a test says so.
#[derive(Debug, Default)]
pub struct MemoryReadModel {
    items: Mutex<Items>,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// What happens to the next calls that write, in order.
    faults: VecDeque<Option<Fault>>,
    unavailable: Vec<String>,
    refused: Option<String>,
    saves: usize,
    puts: Vec<usize>,
    reads: Vec<usize>,
    saves_together: Vec<usize>,
}

impl Items {
    /// An aggregate's items of the history, by sequence.
    pub fn history_of(&self, aggregate: &str) -> impl Iterator<Item = &Attributes> {
        let range = (aggregate.to_owned(), i64::MIN)..=(aggregate.to_owned(), i64::MAX);
        self.history.range(range).map(|(_, item)| item)
    }

    /// [`ReadModel::put_history`], without its limits.
    pub fn put_history(&mut self, items: Vec<Attributes>) {
        for item in items {
            self.history.insert(history_key(&item), item);
        }
    }

    /// [`ReadModel::save_view`].
    pub fn save_view(&mut self, item: Attributes, read: Option<&Attributes>) -> Saved {
        let (aggregate, _) = history_key(&item);
        if !self.is_unchanged(&aggregate, read) {
            return Saved::Moved;
        }
        self.views.insert(aggregate, item);
        Saved::Stored
    }

    /// One item of [`ReadModel::save_views`].
    pub fn save_together(&mut self, save: ViewSave) -> bool {
        let ViewSave { item, read } = save;
        let (aggregate, _) = history_key(&item);
        if !self.is_unchanged(&aggregate, read.as_ref()) {
            return false;
        }
        // As `UPDATE` does: only attributes that were read are removed.
        let stored = self.views.entry(aggregate).or_default();
        let read = read.unwrap_or_default();
        stored.retain(|name, _| item.contains_key(name) || !read.contains_key(name));
        stored.extend(item);
        true
    }

    /// [`ReadModel::set_stale`].
    pub fn set_stale(
        &mut self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Saved {
        if !self.is_unchanged(aggregate, Some(read)) {
            return Saved::Moved;
        }
        let item = self.views.get_mut(aggregate);
        item.expect("it is unchanged").extend(attributes);
        Saved::Stored
    }

    /// The condition of [`ReadModel::save_view`]: whether the stored view item is the one that was
    /// read.
    #[must_use]
    pub fn is_unchanged(&self, aggregate: &str, read: Option<&Attributes>) -> bool {
        let stored = self.views.get(aggregate);
        let (Some(stored), Some(read)) = (stored, read) else {
            return stored.is_none() && read.is_none();
        };
        let same = |name| stored.get(name) == read.get(name);
        same(REVISION)
            && (read.contains_key(REVISION) || (same(view::SEQUENCE) && same(stale::SEQUENCE)))
    }
}

/// A history item's key: aggregate and sequence.
///
/// # Panics
/// If the item lacks one of them.
#[must_use]
pub fn history_key(item: &Attributes) -> (String, i64) {
    let Some(Attribute::Text(aggregate)) = item.get(view::ID) else {
        panic!("an item has no id: {item:?}");
    };
    let sequence = item.get(view::SEQUENCE).and_then(Attribute::as_integer);
    (aggregate.clone(), sequence.expect("an item has a sequence"))
}

impl MemoryReadModel {
    /// Read models without items; these faults happen to the first calls that write, in order.
    #[must_use]
    pub fn with_faults(faults: &[Option<Fault>]) -> Self {
        let model = Self::default();
        model.add_faults(faults);
        model
    }

    /// Faults of the next calls that write, after those that were added before.
    pub fn add_faults(&self, faults: &[Option<Fault>]) {
        self.calls().faults.extend(faults);
    }

    /// From now on no view of this aggregate can be read.
    pub fn set_unavailable(&self, aggregate: &str) {
        self.calls().unavailable.push(aggregate.to_owned());
    }

    /// From now on the service refuses each view of this aggregate that has events, for good.
    pub fn set_refused(&self, aggregate: &str) {
        self.calls().refused = Some(aggregate.to_owned());
    }

    /// The items, to look at or to change.
    pub fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why an aggregate's view is stale; `None` if it isn't.
    #[must_use]
    pub fn stale(&self, aggregate: &str) -> Option<Stale> {
        self.items().views.get(aggregate).and_then(Stale::read)
    }

    /// How many calls have saved a view.
    #[must_use]
    pub fn saves(&self) -> usize {
        self.calls().saves
    }

    /// How many history items each call so far has stored.
    #[must_use]
    pub fn puts(&self) -> Vec<usize> {
        self.calls().puts.clone()
    }

    /// How many aggregates each call so far has read, of those that read several.
    #[must_use]
    pub fn reads(&self) -> Vec<usize> {
        self.calls().reads.clone()
    }

    /// How many views each call so far was to save, of those that save several.
    #[must_use]
    pub fn saves_together(&self) -> Vec<usize> {
        self.calls().saves_together.clone()
    }

    fn is_refused(&self, item: &Attributes) -> bool {
        let is_refused = matches!(
            (item.get(view::ID), &self.calls().refused),
            (Some(Attribute::Text(id)), Some(refused)) if id == refused
        );
        is_refused && item.get(view::SEQUENCE) != Some(&Attribute::number(0))
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next write's fault; another writer's change is made here.
    fn fault(&self) -> Option<Fault> {
        let fault = self.calls().faults.pop_front()?;
        if let Some(Fault::Overtaken(change)) = fault {
            change(&mut self.items());
        }
        fault
    }
}

impl ReadModel for &MemoryReadModel {
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        if self.calls().unavailable.iter().any(|id| id == aggregate) {
            return Err(lost_call());
        }
        Ok(self.items().views.get(aggregate).cloned())
    }

    /// # Panics
    /// If the call is over `BatchGetItem`'s limit, or names an aggregate twice.
    async fn read_views(&self, aggregates: &[&str]) -> Result<Views, ServiceError> {
        assert!(aggregates.len() <= 100, "a call reads too many items");
        let mut calls = self.calls();
        calls.reads.push(aggregates.len());
        let items = self.items();
        let mut views = Views::default();
        for aggregate in aggregates {
            let id = (*aggregate).to_owned();
            if calls.unavailable.contains(&id) {
                views.unprocessed.push(id);
            } else if let Some(item) = items.views.get(&id) {
                let before = views.found.insert(id, item.clone());
                assert_eq!(before, None, "a call names an aggregate twice");
            }
        }
        Ok(views)
    }

    /// # Panics
    /// If the call is over one of `BatchWriteItem`'s limits.
    async fn put_history(
        &self,
        mut items: Vec<Attributes>,
    ) -> Result<Vec<Attributes>, ServiceError> {
        assert!(items.len() <= 25, "a call puts too many items");
        let sent: usize = items.iter().map(request_size).sum();
        assert!(sent <= 16_000_000, "a call has {sent} bytes");
        assert!(items.iter().all(|item| item_size(item) <= 409_600));
        let fault = self.fault();
        let unprocessed = match fault {
            Some(Fault::Lost) => return Err(lost_call()),
            Some(Fault::CutShort(stored)) => items.split_off(stored.min(items.len())),
            Some(Fault::Ambiguous | Fault::Overtaken(_)) | None => Vec::new(),
        };
        self.calls().puts.push(items.len());
        self.items().put_history(items);
        match fault {
            Some(Fault::Ambiguous) => Err(lost_call()),
            _ => Ok(unprocessed),
        }
    }

    /// # Panics
    /// If the item is too large.
    async fn save_view(
        &self,
        item: Attributes,
        read: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        assert!(item_size(&item) <= 409_600);
        let fault = self.fault();
        if matches!(fault, Some(Fault::Lost)) {
            return Err(lost_call());
        }
        if self.is_refused(&item) {
            return Err(ServiceError::permanent("a call", "ValidationException"));
        }
        let saved = self.items().save_view(item, read);
        if saved == Saved::Stored {
            self.calls().saves += 1;
            if matches!(fault, Some(Fault::Ambiguous)) {
                return Err(lost_call());
            }
        }
        Ok(saved)
    }

    /// # Panics
    /// If the call is over `BatchExecuteStatement`'s limit, or an item is too large.
    async fn save_views(&self, saves: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        assert!(saves.len() <= 25, "a call saves too many items");
        assert!(saves.iter().all(|save| item_size(&save.item) <= 409_600));
        self.calls().saves_together.push(saves.len());
        let fault = self.fault();
        if matches!(fault, Some(Fault::Lost)) {
            return Err(lost_call());
        }
        let stored = match fault {
            Some(Fault::CutShort(stored)) => stored,
            _ => saves.len(),
        };
        let is_stored = saves.into_iter().enumerate().map(|(index, save)| {
            index < stored && !self.is_refused(&save.item) && self.items().save_together(save)
        });
        let is_stored: Vec<bool> = is_stored.collect();
        self.calls().saves += is_stored.iter().filter(|stored| **stored).count();
        match fault {
            Some(Fault::Ambiguous) => Err(lost_call()),
            _ => Ok(is_stored),
        }
    }

    async fn set_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        let fault = self.fault();
        if matches!(fault, Some(Fault::Lost)) {
            return Err(lost_call());
        }
        let saved = self.items().set_stale(aggregate, attributes, read);
        match fault {
            Some(Fault::Ambiguous) => Err(lost_call()),
            _ => Ok(saved),
        }
    }
}

/// An item's bytes in a request, in `DynamoDB`'s JSON, worked out apart from the code under test.
fn request_size(item: &Attributes) -> usize {
    let request = serde_json::json!({ "PutRequest": { "Item": request_members(item) } });
    request.to_string().len() + 1
}

fn request_members(item: &Attributes) -> serde_json::Value {
    let members = item
        .iter()
        .map(|(name, value)| (name.clone(), request_value(value)));
    serde_json::Value::Object(members.collect())
}

fn request_value(value: &Attribute) -> serde_json::Value {
    match value {
        Attribute::Text(text) => serde_json::json!({ "S": text }),
        Attribute::Number(number) => serde_json::json!({ "N": number }),
        Attribute::Bool(bool) => serde_json::json!({ "BOOL": bool }),
        Attribute::Null => serde_json::json!({ "NULL": true }),
        Attribute::List(elements) => {
            let elements: Vec<_> = elements.iter().map(request_value).collect();
            serde_json::json!({ "L": elements })
        }
        Attribute::Map(members) => serde_json::json!({ "M": request_members(members) }),
        Attribute::Other(name) => panic!("no domain writes a value of type {name}"),
    }
}
