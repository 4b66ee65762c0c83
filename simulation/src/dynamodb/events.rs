//! The events table.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use millrace_core::{Attribute, Attributes, row};

use crate::event_filter::EventFilter;
use crate::expected::Aggregate;
use crate::functions::table_record;
use crate::world::Change;

/// The events table. Its stream is sharded by aggregate, or by item, as if DynamoDB had spread a hot aggregate over
/// several partitions.
pub(crate) struct EventsTable {
    rows: BTreeMap<(String, u64), Attributes>,
    /// The fold of each aggregate's rows, cached for the checks.
    folds: RefCell<BTreeMap<String, Arc<Aggregate>>>,
    is_sharded_by_item: bool,
    /// The filter of the translator's event source mapping.
    filter: EventFilter,
    /// The time at which the last change of each item arrives on the stream.
    pub(crate) last_arrival: BTreeMap<String, u64>,
}

/// The reserved id of the item that contains the deployment's settings. No aggregate can have this id.
const SETTINGS_ID: &str = "\u{1}millrace";

/// The string or number of a row's attribute as text; for another type, the type's name.
pub(crate) fn text(row: &Attributes, name: &str) -> String {
    match row.get(name) {
        Some(Attribute::Text(text) | Attribute::Number(text)) => text.clone(),
        Some(other) => other.type_name().to_owned(),
        None => String::new(),
    }
}

/// A version as a sort key, in halves, because another writer may write a row between two versions.
pub(crate) fn halves(version: &str) -> u64 {
    let (whole, half) = version
        .strip_suffix(".5")
        .map_or((version, 0), |whole| (whole, 1));
    2 * whole.parse::<u64>().expect("a version in halves") + half
}

impl EventsTable {
    pub(crate) fn new(is_sharded_by_item: bool, filter: EventFilter) -> Self {
        Self {
            rows: BTreeMap::new(),
            folds: RefCell::default(),
            is_sharded_by_item,
            filter,
            last_arrival: BTreeMap::new(),
        }
    }

    fn key(row: &Attributes) -> (String, u64) {
        (text(row, row::ID), halves(&text(row, row::VERSION)))
    }

    fn change(&self, name: &'static str, key: (String, u64), row: Attributes) -> Change {
        let (aggregate, halves) = key;
        Change {
            name,
            item: format!("{aggregate}/{halves}"),
            aggregate,
            passes_filter: self.filter.passes(&table_record(name, &row, 0)),
            row,
        }
    }

    /// Puts a row, which replaces an existing one of its version.
    pub(crate) fn put(&mut self, row: Attributes) -> Change {
        let key = Self::key(&row);
        self.forget(&key.0, key.1);
        let before = self.rows.insert(key.clone(), row.clone());
        let name = if before.is_none() { "INSERT" } else { "MODIFY" };
        self.change(name, key, row)
    }

    pub(crate) fn remove(&mut self, id: &str, version: &str) -> Option<Change> {
        let key = (id.to_owned(), halves(version));
        let row = self.rows.remove(&key)?;
        self.forget(&key.0, key.1);
        Some(self.change("REMOVE", key, row))
    }

    pub(crate) fn get(&self, id: &str, version: &str) -> Option<&Attributes> {
        self.rows.get(&(id.to_owned(), halves(version)))
    }

    /// An aggregate's rows, oldest first.
    pub(crate) fn of<'a>(
        &'a self,
        id: &'a str,
    ) -> impl DoubleEndedIterator<Item = (u64, &'a Attributes)> + 'a {
        self.from(id, 0)
    }

    /// An aggregate's rows from a number of halves on, oldest first.
    pub(crate) fn from<'a>(
        &'a self,
        id: &'a str,
        halves: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &'a Attributes)> + 'a {
        self.rows
            .range((id.to_owned(), halves)..=(id.to_owned(), u64::MAX))
            .map(|((_, halves), row)| (*halves, row))
    }

    /// Drops the aggregate's cached fold if it includes this row, which is about to change.
    fn forget(&mut self, id: &str, halves: u64) {
        let folds = self.folds.get_mut();
        if folds.get(id).is_some_and(|fold| fold.through >= halves) {
            folds.remove(id);
        }
    }

    /// An aggregate's fold, to which `fold` has added the rows that the cached one didn't include.
    pub(crate) fn folded(
        &self,
        id: &str,
        fresh: impl FnOnce() -> Aggregate,
        fold: impl FnOnce(&mut Aggregate, &mut dyn Iterator<Item = (u64, &Attributes)>),
    ) -> Arc<Aggregate> {
        let mut folds = self.folds.borrow_mut();
        let aggregate = folds
            .entry(id.to_owned())
            .or_insert_with(|| Arc::new(fresh()));
        let from = (id.to_owned(), aggregate.through + 1);
        let rows = self.rows.range(from..=(id.to_owned(), u64::MAX));
        let mut rows = rows.map(|((_, halves), row)| (*halves, row));
        if let Some(first) = rows.next() {
            let mut rows = std::iter::once(first).chain(rows);
            fold(Arc::make_mut(aggregate), &mut rows);
        }
        Arc::clone(aggregate)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Attributes> {
        self.rows.values()
    }

    /// The ids of all aggregates.
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self.rows.keys().map(|(id, _)| id);
        let mut ids: Vec<String> = ids.filter(|id| *id != SETTINGS_ID).cloned().collect();
        ids.dedup();
        ids
    }

    /// The ids after `after`, each once, in order.
    pub(crate) fn ids_after(&self, after: Option<&str>) -> impl Iterator<Item = &String> {
        let mut from = after.map(|id| (id.to_owned(), u64::MAX));
        std::iter::from_fn(move || {
            let from_key = from.take().map_or(Bound::Unbounded, Bound::Excluded);
            let ((id, _), _) = self.rows.range((from_key, Bound::Unbounded)).next()?;
            from = Some((id.clone(), u64::MAX));
            Some(id)
        })
    }

    pub(crate) fn shard_key(&self, change: &Change) -> String {
        if self.is_sharded_by_item {
            change.item.clone()
        } else {
            change.aggregate.clone()
        }
    }
}
