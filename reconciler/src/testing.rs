//! The reconciler's services in memory (feature `testing`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_core::{Attributes, Domain, Timestamp, spread};
use millrace_projector::ports::{ReadModel as _, Saved};
use millrace_projector::stale::Stale;
use millrace_projector::testing::MemoryReadModel;
use millrace_runtime::ServiceError;
use millrace_runtime::testing::lost_call;
use millrace_translator::testing::TestServices;
use serde_json::{Value, json};

use crate::ports::{
    FailureBucket, Functions, Mapping, MarkedPage, Marker, ObjectInfo, ObjectPage, SEGMENTS,
    Source, Store, StoredPage, Tables, Views,
};

/// What the services contain besides tables, and how they fail.
#[derive(Debug, Default)]
pub struct Contents {
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// The failure bucket's objects, with the time at which each was written.
    pub objects: BTreeMap<String, (Timestamp, Vec<u8>)>,
    /// The reconciler table, by kind and name.
    pub items: BTreeMap<(String, String), Attributes>,
    /// The lease's owner, and when the lease ends.
    pub lease: Option<(String, Timestamp)>,
    /// The invocations so far: function and payload.
    pub invocations: Vec<(String, Value)>,
    /// Aggregates that no index lists, because a previous release has marked them.
    pub unlisted: Vec<String>,
    /// Aggregates whose newest row can't be read, and with which error.
    pub unreadable: BTreeMap<String, fn() -> ServiceError>,
    /// How long it takes to read a view or a newest row.
    pub latency: Duration,
    /// The names of the methods whose calls fail.
    pub failing: Vec<&'static str>,
    /// The aggregates that the pass has enumerated, in order.
    pub enumerated: Vec<String>,
    /// The most items of a page.
    pub page_items: usize,
}

/// The reconciler's services in memory, which use those of the translator and the projector. The test
/// provides the functions: `invoke` gets a function's name and a payload, and returns the response.
pub struct MemoryServices<'a, D, F> {
    /// Events, cursors and domain stream.
    pub translator: &'a TestServices<D>,
    /// The views.
    pub model: &'a MemoryReadModel,
    contents: &'a Mutex<Contents>,
    invoke: F,
}

impl<'a, D, F> MemoryServices<'a, D, F> {
    /// The services with these contents.
    pub const fn new(
        translator: &'a TestServices<D>,
        model: &'a MemoryReadModel,
        contents: &'a Mutex<Contents>,
        invoke: F,
    ) -> Self {
        Self {
            translator,
            model,
            contents,
            invoke,
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, method: &str) -> Result<MutexGuard<'_, Contents>, ServiceError> {
        let contents = self.contents();
        if contents.failing.contains(&method) {
            return Err(lost_call());
        }
        Ok(contents)
    }
}

impl<D, F> MemoryServices<'_, D, F>
where
    Self: Sync,
{
    async fn wait(&self) {
        let latency = self.contents().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}

/// The page of a sorted list that follows `after`, and whether more follows.
fn page<T: Clone>(list: &[T], is_after: impl Fn(&T) -> bool, limit: usize) -> (Vec<T>, bool) {
    let rest: Vec<&T> = list.iter().filter(|item| is_after(item)).collect();
    let taken = rest.iter().take(limit).map(|&item| item.clone()).collect();
    (taken, rest.len() > limit)
}

impl<D, F> Tables for MemoryServices<'_, D, F>
where
    D: Domain + Clone,
    F: Send + Sync,
{
    async fn marked(
        &self,
        marker: Marker,
        partition: u8,
        after: Option<&Attributes>,
    ) -> Result<MarkedPage, ServiceError> {
        let (unlisted, limit) = {
            let contents = self.call("marked")?;
            (contents.unlisted.clone(), contents.page_items)
        };
        let mut ids: Vec<String> = match marker {
            Marker::Blocked | Marker::Parked => {
                let world = self.translator.world();
                let suspended = world.cursors.iter().filter(|(id, cursor)| match cursor {
                    Err(_) => marker == Marker::Blocked && world.marks.contains_key(*id),
                    Ok(cursor) if marker == Marker::Blocked => cursor.blocked().is_some(),
                    Ok(cursor) => cursor.parked().is_some(),
                });
                suspended.map(|(id, _)| id.clone()).collect()
            }
            Marker::Stale => {
                let items = self.model.items();
                let views = items.views.iter();
                let stale = views.filter(|(_, view)| Stale::read(view).is_some());
                stale.map(|(id, _)| id.clone()).collect()
            }
        };
        ids.retain(|id| spread::partition(id) == partition && !unlisted.contains(id));
        ids.sort();
        let after = after.and_then(|key| key.get("Id").cloned());
        let after = after.map(|id| match id {
            millrace_core::Attribute::Text(id) => id,
            other => panic!("{other:?} is no key"),
        });
        let (ids, more) = page(
            &ids,
            |id| after.as_ref().is_none_or(|after| id > after),
            limit,
        );
        let last = ids.last().filter(|_| more);
        let after = last.map(|id| {
            let id = millrace_core::Attribute::text(id);
            [("Id".to_owned(), id)].into()
        });
        Ok(MarkedPage { ids, after })
    }

    async fn next_id(
        &self,
        segment: u32,
        after: Option<&str>,
    ) -> Result<Option<String>, ServiceError> {
        drop(self.call("next_id")?);
        let world = self.translator.world();
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
        let mut ids = world.table.range((from, Bound::Unbounded));
        let in_segment = |id: &String| u32::from(spread::partition(id)) % SEGMENTS == segment;
        let next = ids.find_map(|(id, _)| in_segment(id).then(|| id.clone()));
        drop(world);
        self.contents().enumerated.extend(next.clone());
        Ok(next)
    }

    async fn newest_row(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        self.wait().await;
        if let Some(error) = self.call("newest_row")?.unreadable.get(aggregate) {
            return Err(error());
        }
        let world = self.translator.world();
        let rows = world.table.get(aggregate);
        Ok(rows.and_then(|rows| rows.values().next_back().cloned()))
    }
}

impl<D, F> Views for MemoryServices<'_, D, F>
where
    D: Domain,
    F: Send + Sync,
{
    async fn view(&self, aggregate: &str) -> Result<Option<Attributes>, ServiceError> {
        self.wait().await;
        drop(self.call("view")?);
        self.model.view(aggregate).await
    }

    async fn mark_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> Result<Saved, ServiceError> {
        self.contents().unlisted.retain(|id| id != aggregate);
        self.model.set_stale(aggregate, attributes, read).await
    }
}

impl<D, F, T> Functions for MemoryServices<'_, D, F>
where
    D: Domain,
    F: Fn(String, Value) -> T + Send + Sync,
    T: Future<Output = Option<Value>> + Send,
{
    async fn mappings(&self, source: Source) -> Result<Vec<Mapping>, ServiceError> {
        let contents = self.call("mappings")?;
        let mappings = contents.mappings.iter();
        Ok(mappings
            .filter(|mapping| mapping.source == source)
            .cloned()
            .collect())
    }

    async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, ServiceError> {
        let invocation = (function.to_owned(), payload.clone());
        self.call("invoke")?.invocations.push(invocation);
        let response = (self.invoke)(function.to_owned(), payload.clone());
        response.await.ok_or_else(lost_call)
    }
}

impl<D, F> FailureBucket for MemoryServices<'_, D, F>
where
    D: Domain,
    F: Send + Sync,
{
    async fn objects(&self, after: Option<&str>) -> Result<ObjectPage, ServiceError> {
        let contents = self.call("objects")?;
        let objects: Vec<ObjectInfo> = contents
            .objects
            .iter()
            .map(|(key, (written, _))| ObjectInfo {
                key: key.clone(),
                written: *written,
            })
            .collect();
        let is_after = |object: &ObjectInfo| after.is_none_or(|after| object.key.as_str() > after);
        let (objects, more) = page(&objects, is_after, contents.page_items);
        let last = objects.last().map(|object| object.key.clone());
        Ok(ObjectPage {
            after: last.filter(|_| more),
            objects,
        })
    }

    async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, ServiceError> {
        let contents = self.call("object")?;
        Ok(contents
            .objects
            .get(key)
            .map(|(_, content)| content.clone()))
    }
}

impl<D, F> Store for MemoryServices<'_, D, F>
where
    D: Domain,
    F: Send + Sync,
{
    async fn acquire(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, ServiceError> {
        let mut contents = self.call("acquire")?;
        let is_held = contents
            .lease
            .as_ref()
            .is_some_and(|(holder, ends)| holder != owner && *ends > now);
        if !is_held {
            contents.lease = Some((owner.to_owned(), until));
        }
        Ok(!is_held)
    }

    async fn release(&self, owner: &str) -> Result<(), ServiceError> {
        let mut contents = self.call("release")?;
        contents.lease.take_if(|(holder, _)| holder == owner);
        Ok(())
    }

    async fn item(&self, kind: &str, name: &str) -> Result<Option<Attributes>, ServiceError> {
        let contents = self.call("item")?;
        Ok(contents
            .items
            .get(&(kind.to_owned(), name.to_owned()))
            .cloned())
    }

    async fn put_item(
        &self,
        kind: &str,
        name: &str,
        attributes: Attributes,
    ) -> Result<(), ServiceError> {
        let mut contents = self.call("put_item")?;
        let key = (kind.to_owned(), name.to_owned());
        contents.items.insert(key, attributes);
        Ok(())
    }

    async fn delete_item(&self, kind: &str, name: &str) -> Result<(), ServiceError> {
        let mut contents = self.call("delete_item")?;
        contents.items.remove(&(kind.to_owned(), name.to_owned()));
        Ok(())
    }

    async fn items(&self, kind: &str, after: Option<&str>) -> Result<StoredPage, ServiceError> {
        let contents = self.call("items")?;
        let of_kind: Vec<(String, Attributes)> = contents
            .items
            .iter()
            .filter(|((of, _), _)| of == kind)
            .map(|((_, name), item)| (name.clone(), item.clone()))
            .collect();
        let is_after =
            |(name, _): &(String, Attributes)| after.is_none_or(|after| name.as_str() > after);
        let (items, more) = page(&of_kind, is_after, contents.page_items);
        Ok(StoredPage { items, more })
    }
}

/// The response of a function that completes every record.
#[must_use]
pub fn completed() -> Value {
    json!({ "batchItemFailures": [] })
}
