//! Projects a batch of domain events: updates each aggregate's view and history.
//!
//! Most aggregates are projected together: one call reads the views of up to 100 aggregates, and a few calls
//! write the history items and the views of up to 25. An aggregate is projected alone, with calls of its own,
//! if its view is stale or can't be read, if its events don't follow on the view, if the domain's code panics,
//! or if the calls for several aggregates didn't store its view, whatever the reason. Only an aggregate that is
//! projected alone is retried, and becomes stale.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use millrace_consumer::KinesisRecord;
use millrace_core::view::{self, HistoryEntryOf, ViewOf};
use millrace_core::{
    Attribute, Attributes, DecodeError, EncodeError, Envelope, Project, Sequence, SequenceGate,
    Timestamp, TraceId, TraceParent, View, envelope,
};
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_runtime::{
    Ambient, Backoff, Budget, Chain, ConcurrentCalls, ServiceError, isolated, isolated_future,
};
use tracing::{Instrument as _, field, info_span};

use crate::history;
use crate::ports::{MAX_SAVES, MAX_VIEWS, REVISION, ReadModel, Saved, ViewSave};
use crate::stale::Stale;

/// How many aggregates, or groups of aggregates, are written concurrently. One that waits for its retry isn't
/// counted.
const CONCURRENCY: usize = 16;
/// How many calls that read several views are in flight at the same time. A response has up to 16 MB
/// ([BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
const CONCURRENT_READS: usize = 4;
/// The most bytes of a view that is saved together with others. It bounds the call and the memory of a batch.
const MAX_BYTES_TOGETHER: usize = 32 * 1024;
/// The action that an error of a whole attempt names.
const ACTION: &str = "projecting the aggregate";
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// The bytes of a view's item that are reserved for its stale attributes and revision. They have at most
/// 2,300 bytes.
const RESERVED: usize = 4 * 1024;
/// The most bytes of a view.
const MAX_VIEW_BYTES: usize = MAX_ITEM_BYTES - RESERVED;

/// The projector with its services.
#[derive(Debug, Clone)]
pub struct Projector<D, M, A> {
    /// The domain. Projecting depends on none of its settings.
    pub domain: PhantomData<D>,
    /// The read models.
    pub model: M,
    /// Time and randomness.
    pub ambient: A,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The position of the first record of an incomplete aggregate; from there Lambda has to deliver
    /// the batch again. `None`: all aggregates are completed.
    pub resume_at: Option<usize>,
    /// How many aggregates the batch has events of.
    pub aggregates: usize,
    /// How many of their views are stale now.
    pub stale: usize,
    /// How many events were applied.
    pub applied: usize,
    /// From the oldest applied event's time until now; `None` if none was applied.
    pub lag_millis: Option<u64>,
}

/// How a completed aggregate ended.
#[derive(Debug, Clone, Copy)]
struct Completed {
    is_stale: bool,
    applied: usize,
    oldest: Option<Timestamp>,
}

impl Completed {
    /// Nothing was applied, because the view can't be updated.
    const STALE: Self = Self {
        is_stale: true,
        applied: 0,
        oldest: None,
    };
}

/// An aggregate's records of a batch, in the stream's order.
struct Delivered<P> {
    aggregate: String,
    /// The first record's position in the batch.
    first: usize,
    /// The first record's trace, for the log.
    trace_id: Option<TraceId>,
    /// Each record's event, or why it contains none that could be applied.
    events: Vec<Result<Envelope<P>, String>>,
}

/// A view with its item, which has neither stale attributes nor a revision.
struct Encoded<V> {
    view: View<V>,
    item: Attributes,
}

/// What an aggregate's events change.
struct Change<V> {
    view: Option<Encoded<V>>,
    history: Vec<HistoryItem>,
    stale: Option<Stale>,
}

/// What is written after an aggregate's events.
struct Next {
    completed: Completed,
    history: Vec<Attributes>,
    /// The view's item with a fresh revision; `None` if nothing changes.
    item: Option<Attributes>,
}

/// How an aggregate is projected.
enum Plan {
    /// Nothing changes.
    Completed(Completed),
    /// Its items are written together with those of other aggregates.
    Together(Write),
    Alone,
}

/// An aggregate's items that are written together with those of others.
struct Write {
    completed: Completed,
    history: Vec<Attributes>,
    save: ViewSave,
}

/// The plans of several aggregates.
struct Planned<P> {
    completed: Vec<Projected>,
    /// Aggregates that are written together, at most [`MAX_SAVES`] in a group.
    groups: Vec<Vec<(Delivered<P>, Write)>>,
    alone: Vec<Delivered<P>>,
}

impl<P> Planned<P> {
    const fn alone(delivered: Vec<Delivered<P>>) -> Self {
        Self {
            completed: Vec::new(),
            groups: Vec::new(),
            alone: delivered,
        }
    }

    fn add(&mut self, delivered: Delivered<P>, plan: Plan) {
        match plan {
            Plan::Completed(completed) => self.completed.push((delivered.first, Some(completed))),
            Plan::Together(write) => match self.groups.last_mut() {
                Some(group) if group.len() < MAX_SAVES => group.push((delivered, write)),
                Some(_) | None => self.groups.push(vec![(delivered, write)]),
            },
            Plan::Alone => self.alone.push(delivered),
        }
    }
}

/// The position of an aggregate's first record, and how the aggregate ended; `None` if it is incomplete.
type Projected = (usize, Option<Completed>);

/// The limits of concurrency of a batch.
struct Places {
    /// Of calls that read several views.
    reads: ConcurrentCalls,
    /// Of writes of groups, and of aggregates that are projected alone.
    calls: ConcurrentCalls,
}

/// A history item, and its event's time.
struct HistoryItem {
    item: Attributes,
    time: Timestamp,
}

impl<D: Project, M: ReadModel, A: Ambient> Projector<D, M, A> {
    /// Projects a batch.
    ///
    /// An aggregate is completed once its view includes every event of the batch that follows without
    /// a gap, and is stale if one doesn't, or if its code panics or the service refuses its items. Other
    /// service errors are retried until the budget is spent; then the aggregate is incomplete, whatever
    /// the others are, and Lambda delivers the batch again from the first record of the first of them.
    /// Duplicates change nothing.
    pub async fn project(&self, records: Vec<KinesisRecord<'_>>, budget: Budget) -> Outcome {
        let mut delivered = by_aggregate::<D>(records);
        let aggregates = delivered.len();
        let places = Places {
            reads: ConcurrentCalls::new(CONCURRENT_READS),
            calls: ConcurrentCalls::new(CONCURRENCY),
        };
        let mut parts = Vec::new();
        while !delivered.is_empty() {
            let rest = delivered.split_off(delivered.len().min(MAX_VIEWS));
            parts.push(delivered);
            delivered = rest;
        }
        let results: Vec<Vec<Projected>> = parts
            .into_iter()
            .map(|part| self.project_part(part, &places, budget))
            .collect::<FuturesUnordered<_>>()
            .collect()
            .await;
        let results = results.concat();
        let completed = || results.iter().filter_map(|(_, completed)| *completed);
        let now = self.ambient.now().unix_millis();
        Outcome {
            resume_at: results
                .iter()
                .filter(|(_, completed)| completed.is_none())
                .map(|(first, _)| *first)
                .min(),
            aggregates,
            stale: completed().filter(|completed| completed.is_stale).count(),
            applied: completed().map(|completed| completed.applied).sum(),
            lag_millis: completed()
                .filter_map(|completed| completed.oldest)
                .min()
                .and_then(|oldest| u64::try_from(now - oldest.unix_millis()).ok()),
        }
    }

    /// Projects the events of at most [`MAX_VIEWS`] aggregates.
    async fn project_part(
        &self,
        delivered: Vec<Delivered<D::PublicEvent>>,
        places: &Places,
        budget: Budget,
    ) -> Vec<Projected> {
        let planned = places.reads.run(self.plan_all(delivered, budget)).await;
        let groups = planned.groups.into_iter();
        let groups = groups.map(|group| self.project_group(group, places, budget));
        let groups: FuturesUnordered<_> = groups.collect();
        let (groups, alone) = tokio::join!(
            groups.collect::<Vec<_>>(),
            self.project_each(planned.alone, places, budget),
        );
        let mut results = planned.completed;
        results.extend(groups.into_iter().flatten());
        results.extend(alone);
        results
    }

    /// Reads the aggregates' views in one call, and works out how each aggregate is projected. All are
    /// projected alone if the call fails.
    async fn plan_all(
        &self,
        delivered: Vec<Delivered<D::PublicEvent>>,
        budget: Budget,
    ) -> Planned<D::PublicEvent> {
        let ids: Vec<&str> = delivered.iter().map(|it| it.aggregate.as_str()).collect();
        let Some(mut views) = together(budget, self.model.read_views(&ids)).await else {
            return Planned::alone(delivered);
        };
        let mut planned = Planned::alone(Vec::new());
        for delivered in delivered {
            let read = views.found.remove(&delivered.aggregate);
            let plan = if views.unprocessed.contains(&delivered.aggregate) {
                Plan::Alone
            } else {
                isolated(|| self.plan(&delivered, read)).unwrap_or(Plan::Alone)
            };
            planned.add(delivered, plan);
        }
        planned
    }

    fn plan(&self, delivered: &Delivered<D::PublicEvent>, read: Option<Attributes>) -> Plan {
        let Ok(view) = read.as_ref().map_or(Ok(None), read_view::<D>) else {
            return Plan::Alone;
        };
        let before = read.as_ref().and_then(Stale::read);
        let next = self.next(delivered, view, before.as_ref());
        let Some(item) = next.item else {
            return Plan::Completed(next.completed);
        };
        let has_revision =
            |read: &Attributes| matches!(read.get(REVISION), Some(Attribute::Text(_)));
        let is_plain = before.is_none()
            && !next.completed.is_stale
            && read.as_ref().is_none_or(has_revision)
            && item_size(&item) <= MAX_BYTES_TOGETHER;
        if is_plain {
            Plan::Together(Write {
                completed: next.completed,
                history: next.history,
                save: ViewSave { item, read },
            })
        } else {
            Plan::Alone
        }
    }

    /// Writes the history items and the views of a group. An aggregate whose view isn't stored is projected
    /// alone afterwards.
    async fn project_group(
        &self,
        group: Vec<(Delivered<D::PublicEvent>, Write)>,
        places: &Places,
        budget: Budget,
    ) -> Vec<Projected> {
        let (delivered, writes): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let completed: Vec<Completed> = writes.iter().map(|write| write.completed).collect();
        let writing = together(budget, self.write(writes));
        let is_stored = places.calls.run(writing).await.unwrap_or_default();
        let mut is_stored = is_stored.into_iter();
        let (mut results, mut alone) = (Vec::new(), Vec::new());
        for (delivered, completed) in delivered.into_iter().zip(completed) {
            if is_stored.next().unwrap_or_default() {
                results.push((delivered.first, Some(completed)));
            } else {
                alone.push(delivered);
            }
        }
        results.extend(self.project_each(alone, places, budget).await);
        results
    }

    /// Returns which views are stored. A view is saved only after all history items of the group are stored.
    async fn write(&self, mut writes: Vec<Write>) -> Result<Vec<bool>, ServiceError> {
        let history = writes
            .iter_mut()
            .flat_map(|write| std::mem::take(&mut write.history));
        history::put_all(&self.model, &self.ambient, history.collect()).await?;
        let saves = writes.into_iter().map(|write| write.save);
        self.model.save_views(saves.collect()).await
    }

    /// Projects each aggregate alone.
    async fn project_each(
        &self,
        delivered: Vec<Delivered<D::PublicEvent>>,
        places: &Places,
        budget: Budget,
    ) -> Vec<Projected> {
        let each = delivered.into_iter().map(async |delivered| {
            let span = info_span!(
                "aggregate",
                position = delivered.first,
                trace_id = delivered.trace_id.map(field::display)
            );
            let projecting = self.project_aggregate(&delivered, &places.calls, budget);
            (delivered.first, projecting.instrument(span).await)
        });
        each.collect::<FuturesUnordered<_>>().collect().await
    }

    /// Projects one aggregate's events, in as many attempts as the budget allows. `None` if it is
    /// incomplete after the last one.
    async fn project_aggregate(
        &self,
        delivered: &Delivered<D::PublicEvent>,
        calls: &ConcurrentCalls,
        budget: Budget,
    ) -> Option<Completed> {
        let attempt = || async {
            let attempt = isolated_future(self.attempt(delivered)).await;
            attempt.unwrap_or_else(|_| Err(ServiceError::permanent(ACTION, "the code panicked")))
        };
        let mut result = calls.retry(budget, &self.ambient, BACKOFF, attempt).await;
        if let Err(error) = &result
            && error.is_permanent()
        {
            let reason = Chain(error).to_string();
            let mark = || self.set_stale(delivered, &reason);
            result = calls.retry(budget, &self.ambient, BACKOFF, mark).await;
        }
        if let Err(error) = &result {
            tracing::error!(error = %Chain(error), "an aggregate is incomplete; the batch will be retried");
        }
        result.ok()
    }

    async fn attempt(
        &self,
        delivered: &Delivered<D::PublicEvent>,
    ) -> Result<Completed, ServiceError> {
        let aggregate = &delivered.aggregate;
        let stored = self.model.view(aggregate).await?;
        let view = match &stored {
            None => None,
            Some(item) => match read_view::<D>(item) {
                Ok(view) => view,
                Err(reason) => return self.set_unreadable(aggregate, item, reason).await,
            },
        };
        let before = stored.as_ref().and_then(Stale::read);
        let next = self.next(delivered, view, before.as_ref());
        let Some(item) = next.item else {
            return Ok(next.completed);
        };
        if next.completed.is_stale && before.is_none() {
            tracing::warn!("a view is stale");
        }
        if !next.history.is_empty() {
            history::put_all(&self.model, &self.ambient, next.history).await?;
        }
        match self.model.save_view(item, stored.as_ref()).await? {
            Saved::Stored => Ok(next.completed),
            Saved::Moved => Err(conflict()),
        }
    }

    /// What the events change in a view, which was stale for the reason `before`.
    fn next(
        &self,
        delivered: &Delivered<D::PublicEvent>,
        view: Option<Encoded<D::View>>,
        before: Option<&Stale>,
    ) -> Next {
        let now = self.ambient.now();
        let change = apply_all::<D>(view, before.cloned(), &delivered.events, now);
        let completed = Completed {
            is_stale: change.stale.is_some(),
            applied: change.history.len(),
            oldest: change.history.iter().map(|item| item.time).min(),
        };
        let is_changed = !change.history.is_empty() || change.stale.as_ref() != before;
        let item = is_changed.then(|| {
            let aggregate = &delivered.aggregate;
            let view = change.view.map(|view| view.item);
            let mut item = view.unwrap_or_else(|| item_without_view(aggregate));
            let stale = change.stale.iter();
            item.extend(stale.flat_map(|stale| stale.to_attributes(aggregate)));
            item.insert(REVISION.to_owned(), self.revision());
            item
        });
        let history = change.history.into_iter().map(|history| history.item);
        Next {
            completed,
            history: history.collect(),
            item,
        }
    }

    /// Marks the view stale after an attempt that would fail again, and leaves the rest of its item as it
    /// is. It is stale until it includes the last event that was delivered.
    async fn set_stale(
        &self,
        delivered: &Delivered<D::PublicEvent>,
        reason: &str,
    ) -> Result<Completed, ServiceError> {
        let aggregate = &delivered.aggregate;
        tracing::error!(reason, "a view can't be updated; it is stale");
        let stored = self.model.view(aggregate).await?;
        let sequences = delivered
            .events
            .iter()
            .flatten()
            .map(|event| event.sequence);
        let until = sequences.max().unwrap_or(Sequence::FIRST);
        let stale = Stale::new(until, reason.to_owned(), self.ambient.now());
        let stale = stale.added_to(stored.as_ref().and_then(Stale::read));
        let mut attributes = stale.to_attributes(aggregate);
        attributes.insert(REVISION.to_owned(), self.revision());
        let saved = if let Some(stored) = &stored {
            self.model.set_stale(aggregate, attributes, stored).await?
        } else {
            attributes.extend(item_without_view(aggregate));
            self.model.save_view(attributes, None).await?
        };
        match saved {
            Saved::Stored => Ok(Completed::STALE),
            Saved::Moved => Err(conflict()),
        }
    }

    /// A view that can't be read can't be updated either: it becomes stale, and the rest of its item
    /// is left for an operator.
    async fn set_unreadable(
        &self,
        aggregate: &str,
        item: &Attributes,
        reason: String,
    ) -> Result<Completed, ServiceError> {
        if Stale::read(item).is_none() {
            tracing::error!(reason, "a view can't be read; it is stale");
            let stale = Stale::new(Sequence::NONE, reason, self.ambient.now());
            let mut attributes = stale.to_attributes(aggregate);
            attributes.insert(REVISION.to_owned(), self.revision());
            if self.model.set_stale(aggregate, attributes, item).await? == Saved::Moved {
                return Err(conflict());
            }
        }
        Ok(Completed::STALE)
    }

    fn revision(&self) -> Attribute {
        Attribute::text(self.ambient.unique_id())
    }
}

/// The result of calls for several aggregates; `None` if they failed or panicked, or did not end within the
/// budget.
async fn together<T>(
    budget: Budget,
    calls: impl Future<Output = Result<T, ServiceError>>,
) -> Option<T> {
    let result = tokio::time::timeout(budget.left(), isolated_future(calls)).await;
    match result.ok()?.ok()? {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "a call for several aggregates failed; each will be projected alone");
            None
        }
    }
}

/// Another writer has changed the view: the next attempt reads it again.
fn conflict() -> ServiceError {
    ServiceError::new(ACTION, "another writer has changed the view")
}

/// Groups a batch's records by aggregate; each aggregate's stay in the stream's order.
fn by_aggregate<D: Project>(records: Vec<KinesisRecord<'_>>) -> Vec<Delivered<D::PublicEvent>> {
    let mut aggregates: BTreeMap<Cow<'_, str>, Delivered<D::PublicEvent>> = BTreeMap::new();
    for record in records {
        let event = event_of::<D>(&record);
        let trace_id = match &event {
            Ok(event) => event.trace_parent.map(TraceParent::trace_id),
            Err(_) => envelope::trace_id(&record.data),
        };
        aggregates
            .entry(record.partition_key)
            .or_insert_with_key(|aggregate| Delivered {
                aggregate: aggregate.to_string(),
                first: record.position,
                trace_id,
                events: Vec::new(),
            })
            .events
            .push(event);
    }
    aggregates.into_values().collect()
}

/// A record's event, or why the record contains none that could be applied. Order holds per partition
/// key, so an event with another aggregate's key may come in any order.
fn event_of<D: Project>(record: &KinesisRecord<'_>) -> Result<Envelope<D::PublicEvent>, String> {
    let envelope = isolated(|| Envelope::parse::<D>(&record.data))
        .map_err(|_| "reading a record panicked")?
        .map_err(|error| format!("a record can't be read: {}", parse_problem(&error)))?;
    if envelope.subject.as_str() == record.partition_key {
        Ok(envelope)
    } else {
        Err("a record's subject is not its partition key".to_owned())
    }
}

fn parse_problem(error: &DecodeError) -> String {
    if error.path().is_empty() {
        "it is no domain event in JSON".to_owned()
    } else {
        error.to_string()
    }
}

/// The view of a stored item; `None` if the item has stale attributes only.
fn read_view<D: Project>(item: &Attributes) -> Result<Option<Encoded<D::View>>, String> {
    let view = isolated(|| View::read(item))
        .map_err(|_| "reading the view panicked")?
        .map_err(|error| format!("the view can't be read: {error}"))?;
    let encode = |view: ViewOf<D>| {
        let item = view.to_item()?;
        Ok(Encoded { view, item })
    };
    isolated(|| view.map(encode).transpose())
        .map_err(|_| "writing the view again panicked")?
        .map_err(|error: EncodeError| format!("the view can't be written again: {error}"))
}

/// Applies each event that comes next and skips duplicates. An event that can't be applied makes the
/// view stale.
fn apply_all<D: Project>(
    mut view: Option<Encoded<D::View>>,
    mut stale: Option<Stale>,
    events: &[Result<Envelope<D::PublicEvent>, String>],
    now: Timestamp,
) -> Change<D::View> {
    let mut history = Vec::new();
    for event in events {
        let applied = through(view.as_ref());
        let (until, reason) = match event {
            Err(reason) => (applied.next(), reason.clone()),
            Ok(event) => match SequenceGate::check(applied, event.sequence) {
                SequenceGate::Duplicate => continue,
                SequenceGate::Next => match apply_next::<D>(view.as_ref(), event) {
                    Ok((after, item)) => {
                        view = Some(after);
                        history.push(item);
                        continue;
                    }
                    Err(reason) => (event.sequence, reason),
                },
                SequenceGate::Gap { missing } => (
                    event.sequence,
                    format!(
                        "event {missing} is missing, and event {} came",
                        event.sequence
                    ),
                ),
            },
        };
        stale = Some(Stale::new(until, reason, now).added_to(stale));
    }
    let reached = through(view.as_ref());
    Change {
        stale: stale.filter(|stale| stale.until > reached),
        view,
        history,
    }
}

fn through<V>(view: Option<&Encoded<V>>) -> Sequence {
    view.map_or(Sequence::NONE, |encoded| encoded.view.sequence)
}

/// The view and the history item that the event leads to; or, if one of them can't be stored, why.
fn apply_next<D: Project>(
    before: Option<&Encoded<D::View>>,
    event: &Envelope<D::PublicEvent>,
) -> Result<(Encoded<D::View>, HistoryItem), String> {
    let before = before.map(|encoded| &encoded.view);
    let sequence = event.sequence;
    let (view, history) = isolated(|| encode_next::<D>(before, event))
        .map_err(|_| format!("applying event {sequence} panicked"))?
        .map_err(|error| {
            format!("event {sequence} leads to an item that can't be encoded: {error}")
        })?;
    check_sizes(&history.item, &view.item)
        .map_err(|reason| format!("event {sequence} leads to {reason}"))?;
    Ok((view, history))
}

fn encode_next<D: Project>(
    before: Option<&ViewOf<D>>,
    event: &Envelope<D::PublicEvent>,
) -> Result<(Encoded<D::View>, HistoryItem), EncodeError> {
    let (view, entry): (ViewOf<D>, HistoryEntryOf<D>) = view::apply::<D>(before, event)?;
    let history = HistoryItem {
        item: entry.to_item()?,
        time: entry.time,
    };
    let item = view.to_item()?;
    Ok((Encoded { view, item }, history))
}

fn check_sizes(history: &Attributes, view: &Attributes) -> Result<(), String> {
    for (what, item, limit) in [
        ("a history item", history, MAX_ITEM_BYTES),
        ("a view", view, MAX_VIEW_BYTES),
    ] {
        let bytes = item_size(item);
        if bytes > limit {
            return Err(format!("{what} of {bytes} bytes, and the limit is {limit}"));
        }
    }
    Ok(())
}

/// The item of an aggregate of which no event is applied, at sequence 0. Readers treat it as no view.
fn item_without_view(aggregate: &str) -> Attributes {
    [
        (view::ID, Attribute::text(aggregate)),
        (view::SEQUENCE, Attribute::number(0)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Attributes {
        [("A".to_owned(), Attribute::text("x".repeat(bytes - 1)))].into()
    }

    #[test]
    fn a_view_leaves_room_for_its_stale_attributes() {
        let largest = item(MAX_VIEW_BYTES);
        assert_eq!(check_sizes(&item(MAX_ITEM_BYTES), &largest), Ok(()));
        let larger = check_sizes(&item(9), &item(MAX_VIEW_BYTES + 1));
        let reason = "a view of 405505 bytes, and the limit is 405504";
        assert_eq!(larger, Err(reason.to_owned()));
        let larger = check_sizes(&item(MAX_ITEM_BYTES + 1), &item(9));
        let reason = "a history item of 409601 bytes, and the limit is 409600";
        assert_eq!(larger, Err(reason.to_owned()));

        let until = Sequence::new((1 << 53) - 1).expect("valid");
        let since = Timestamp::from_unix_millis(0).expect("valid");
        let stale = Stale::new(until, "€".repeat(10_000), since);
        let mut marked = largest;
        marked.extend(stale.to_attributes("a"));
        marked.insert(REVISION.to_owned(), Attribute::text("x".repeat(36)));
        assert!(item_size(&marked) <= MAX_ITEM_BYTES);
    }
}
