//! Projects a batch of domain events: updates each aggregate's view and history, several aggregates
//! concurrently.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use millrace_core::view::{self, HistoryEntryOf, ViewOf};
use millrace_core::{
    Attribute, Attributes, DecodeError, EncodeError, Envelope, Project, Sequence, SequenceGate,
    Timestamp, View,
};
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::{
    Ambient, Backoff, Budget, Chain, ConcurrentCalls, ServiceError, isolated, isolated_future,
};
use tracing::{Instrument as _, info_span};

use crate::history;
use crate::ports::{REVISION, ReadModel, Saved};
use crate::stale::Stale;

/// How many aggregates are projected concurrently. One that waits for its retry isn't counted.
const CONCURRENCY: usize = 16;
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
        let delivered = by_aggregate::<D>(records);
        let aggregates = delivered.len();
        let calls = ConcurrentCalls::new(CONCURRENCY);
        let results: Vec<(usize, Option<Completed>)> = delivered
            .into_iter()
            .map(async |delivered| {
                let span = info_span!("aggregate", position = delivered.first);
                let completed = self
                    .project_aggregate(&delivered, &calls, budget)
                    .instrument(span)
                    .await;
                (delivered.first, completed)
            })
            .collect::<FuturesUnordered<_>>()
            .collect()
            .await;
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
        let now = self.ambient.now();
        let change = apply_all::<D>(view, before.clone(), &delivered.events, now);
        let completed = Completed {
            is_stale: change.stale.is_some(),
            applied: change.history.len(),
            oldest: change.history.iter().map(|item| item.time).min(),
        };
        if change.history.is_empty() && change.stale == before {
            return Ok(completed);
        }
        if before.is_none() && change.stale.is_some() {
            tracing::warn!("a view is stale");
        }
        if !change.history.is_empty() {
            let items = change.history.into_iter().map(|history| history.item);
            history::put_all(&self.model, &self.ambient, items.collect()).await?;
        }
        let view = change.view.map(|view| view.item);
        let mut item = view.unwrap_or_else(|| item_without_view(aggregate));
        let stale = change.stale.iter();
        item.extend(stale.flat_map(|stale| stale.to_attributes(aggregate)));
        item.insert(REVISION.to_owned(), self.revision());
        match self.model.save_view(item, stored.as_ref()).await? {
            Saved::Stored => Ok(completed),
            Saved::Moved => Err(conflict()),
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

/// Another writer has changed the view: the next attempt reads it again.
fn conflict() -> ServiceError {
    ServiceError::new(ACTION, "another writer has changed the view")
}

/// Groups a batch's records by aggregate; each aggregate's stay in the stream's order.
fn by_aggregate<D: Project>(records: Vec<KinesisRecord<'_>>) -> Vec<Delivered<D::PublicEvent>> {
    let mut aggregates: BTreeMap<Cow<'_, str>, Delivered<D::PublicEvent>> = BTreeMap::new();
    for record in records {
        let event = event_of::<D>(&record);
        aggregates
            .entry(record.partition_key)
            .or_insert_with_key(|aggregate| Delivered {
                aggregate: aggregate.to_string(),
                first: record.position,
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
