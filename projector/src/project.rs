//! What is done with a batch of domain events: each aggregate's view and history, side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use millrace_domain::{Attribute, Attributes, Envelope, RowError, Sequence, Timestamp, View, view};
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_runtime::{Ambient, Backoff, Budget, Chain, ServiceError};

use crate::gate::{Gate, gate};
use crate::history;
use crate::model::{REVISION, ReadModel, Saved};
use crate::stale::Stale;
use millrace_runtime::kinesis::KinesisRecord;

/// How many aggregates are projected side by side.
const CONCURRENCY: usize = 16;
/// How often an aggregate is taken up in one invocation; after that Lambda delivers it again.
const MAX_TRIES: u32 = 5;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(2),
};

/// What is kept back of a view's item for its stale mark and revision, in bytes. They have some
/// hundred.
const RESERVED: usize = 4 * 1024;
/// The most bytes of a view.
const MAX_VIEW_BYTES: usize = MAX_ITEM_BYTES - RESERVED;

/// The projector with its services.
#[derive(Debug, Clone)]
pub struct Projector<M, A> {
    /// The read models.
    pub model: M,
    /// Time and randomness.
    pub ambient: A,
}

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The place of the first record whose aggregate isn't through; from there the batch is to be
    /// delivered again. `None`: all are through.
    pub resume_at: Option<usize>,
    /// How many aggregates the batch told of.
    pub aggregates: usize,
    /// How many of their views are marked stale now.
    pub stale: usize,
    /// How many events were applied.
    pub applied: usize,
    /// From the oldest applied event's time until now; `None` where none was applied.
    pub lag_millis: Option<u64>,
}

/// What an aggregate that is through came to.
#[derive(Debug, Clone, Copy)]
struct Through {
    stale: bool,
    applied: usize,
    oldest: Option<Timestamp>,
}

/// What a batch tells of one aggregate, in the stream's order.
struct News {
    aggregate: String,
    first: usize,
    events: Vec<Result<Envelope, String>>,
}

/// What is to be written for one aggregate.
struct Change {
    view: Option<View>,
    lines: Vec<Line>,
    stale: Option<Stale>,
}

/// A history item, and its event's time.
struct Line {
    item: Attributes,
    time: Timestamp,
}

/// Why an aggregate isn't through yet.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("the view was moved by another invocation")]
    Moved,
    #[error("the invocation's time is over")]
    OutOfTime,
}

impl<M: ReadModel, A: Ambient> Projector<M, A> {
    /// Projects a batch.
    ///
    /// An aggregate is through once its view includes every event of the batch that follows without
    /// a hole, and is marked stale if one doesn't. Service errors and a spent budget leave
    /// aggregates behind, each on its own; the batch is taken up again at the first record of the
    /// first of them. Repeats change nothing.
    pub async fn project(&self, records: Vec<KinesisRecord>, budget: Budget) -> Outcome {
        let news = by_aggregate(records);
        let aggregates = news.len();
        let results: Vec<(usize, Option<Through>)> = stream::iter(news)
            .map(async |news| (news.first, self.take_up(&news, budget).await))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let through = || results.iter().filter_map(|(_, through)| *through);
        let now = self.ambient.now().unix_millis();
        Outcome {
            resume_at: results
                .iter()
                .filter(|(_, through)| through.is_none())
                .map(|(first, _)| *first)
                .min(),
            aggregates,
            stale: through().filter(|through| through.stale).count(),
            applied: through().map(|through| through.applied).sum(),
            lag_millis: through()
                .filter_map(|through| through.oldest)
                .min()
                .and_then(|oldest| u64::try_from(now - oldest.unix_millis()).ok()),
        }
    }

    /// Projects one aggregate's news, again and again where a service fails. `None` when it isn't
    /// through.
    async fn take_up(&self, news: &News, budget: Budget) -> Option<Through> {
        for retry in 0..MAX_TRIES {
            let attempt = tokio::time::timeout(budget.left(), self.attempt(news)).await;
            let trouble = match attempt.unwrap_or(Err(Trouble::OutOfTime)) {
                Ok(through) => return Some(through),
                Err(trouble) => trouble,
            };
            tracing::warn!(retry, error = %Chain(&trouble), "an aggregate is not through");
            let wait = BACKOFF.delay(retry, &self.ambient);
            if !budget.allows(wait) {
                return None;
            }
            tokio::time::sleep(wait).await;
        }
        None
    }

    async fn attempt(&self, news: &News) -> Result<Through, Trouble> {
        let item = self.model.view(&news.aggregate).await?;
        let view = match &item {
            None => None,
            Some(item) => match View::read(item) {
                Ok(view) => view,
                Err(error) => return self.mark_damaged(&news.aggregate, item, &error).await,
            },
        };
        let before = item.as_ref().and_then(Stale::read);
        let change = apply(view.clone(), before.clone(), &news.events, &self.ambient);
        let stale = change.stale.is_some();
        let through = Through {
            stale,
            applied: change.lines.len(),
            oldest: change.lines.iter().map(|line| line.time).min(),
        };
        if change.lines.is_empty() && change.stale == before {
            return Ok(through);
        }
        log_stale(before.as_ref(), change.stale.as_ref());
        if !change.lines.is_empty() {
            let items = change.lines.into_iter().map(|line| line.item);
            history::put_all(&self.model, &self.ambient, items.collect()).await?;
        }
        let mut after = view_item(&news.aggregate, change.view.as_ref(), change.stale.as_ref());
        after.insert(REVISION.to_owned(), self.revision());
        match self.model.save_view(after, item.as_ref()).await? {
            Saved::Stored => Ok(through),
            Saved::Moved => Err(Trouble::Moved),
        }
    }

    /// A view that can't be understood can't be moved either. It is marked, and left for people.
    async fn mark_damaged(
        &self,
        aggregate: &str,
        item: &Attributes,
        error: &RowError,
    ) -> Result<Through, Trouble> {
        if Stale::read(item).is_none() {
            tracing::error!(reason = %error, "a view can't be read");
            let mark = Stale {
                until: Sequence::NONE,
                reason: format!("the view can't be read: {error}"),
                since: self.ambient.now(),
            };
            let mut attributes = mark.to_attributes();
            attributes.insert(REVISION.to_owned(), self.revision());
            if self.model.mark(aggregate, attributes, item).await? == Saved::Moved {
                return Err(Trouble::Moved);
            }
        }
        Ok(Through {
            stale: true,
            applied: 0,
            oldest: None,
        })
    }

    fn revision(&self) -> Attribute {
        Attribute::text(self.ambient.unique_id())
    }
}

fn log_stale(before: Option<&Stale>, now: Option<&Stale>) {
    if before.is_none() && now.is_some() {
        tracing::warn!("a view is stale");
    }
}

/// Groups the records by aggregate; each aggregate's stay in the stream's order.
fn by_aggregate(records: Vec<KinesisRecord>) -> Vec<News> {
    let mut news: BTreeMap<String, News> = BTreeMap::new();
    for record in records {
        let event = read(&record);
        news.entry(record.partition_key.clone())
            .or_insert_with(|| News {
                aggregate: record.partition_key,
                first: record.position,
                events: Vec::new(),
            })
            .events
            .push(event);
    }
    news.into_values().collect()
}

/// The event in a record, or why there is none that could be applied. Order holds per partition key,
/// so an event under another's key can't be trusted to come in order.
fn read(record: &KinesisRecord) -> Result<Envelope, String> {
    let envelope = Envelope::parse(&record.data)
        .map_err(|error| format!("a record can't be read: {}", without_values(&error)))?;
    if envelope.subject.as_str() == record.partition_key {
        Ok(envelope)
    } else {
        Err("a record's subject is not its partition key".to_owned())
    }
}

/// An error's text without what JSON's own errors quote of the record.
fn without_values(error: &millrace_domain::envelope::EnvelopeError) -> String {
    use millrace_domain::envelope::EnvelopeError;
    match error {
        EnvelopeError::Json(_) => "it is no domain event in JSON".to_owned(),
        EnvelopeError::Member { .. } => error.to_string(),
    }
}

/// Applies what comes next, skips what is a repeat, and marks what can't be applied.
fn apply(
    mut view: Option<View>,
    mut stale: Option<Stale>,
    events: &[Result<Envelope, String>],
    ambient: &impl Ambient,
) -> Change {
    let mut lines = Vec::new();
    for event in events {
        let applied = view.as_ref().map_or(Sequence::NONE, |view| view.sequence);
        let (until, reason) = match event {
            Err(reason) => (applied.next(), reason.clone()),
            Ok(envelope) => match gate(applied, envelope.sequence) {
                Gate::Repeat => continue,
                Gate::Next => match next(view.as_ref(), envelope) {
                    Ok((after, line)) => {
                        view = Some(after);
                        lines.push(line);
                        continue;
                    }
                    Err(reason) => (envelope.sequence, reason),
                },
                Gate::Gap { missing } => (
                    envelope.sequence,
                    format!(
                        "event {missing} is missing, and event {} came",
                        envelope.sequence
                    ),
                ),
            },
        };
        let more = Stale {
            until,
            reason,
            since: ambient.now(),
        };
        stale = Some(Stale::also(stale, more));
    }
    let reached = view.as_ref().map_or(Sequence::NONE, |view| view.sequence);
    Change {
        stale: stale.filter(|stale| stale.until > reached),
        view,
        lines,
    }
}

/// The view and the history item that the event leads to; or, where one of them can't be stored, why.
fn next(view: Option<&View>, event: &Envelope) -> Result<(View, Line), String> {
    let (after, entry) = View::apply(view, event);
    let time = entry.time;
    let item = entry.to_attributes();
    check_sizes(&item, &after.to_attributes())
        .map_err(|reason| format!("event {} leads to {reason}", event.sequence))?;
    Ok((after, Line { item, time }))
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

fn view_item(aggregate: &str, view: Option<&View>, stale: Option<&Stale>) -> Attributes {
    let mut item = view.map_or_else(
        || {
            [
                (view::ID.to_owned(), Attribute::text(aggregate)),
                (view::SEQUENCE.to_owned(), Attribute::number(0)),
            ]
            .into()
        },
        View::to_attributes,
    );
    item.extend(stale.map(Stale::to_attributes).unwrap_or_default());
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Attributes {
        [("A".to_owned(), Attribute::text("x".repeat(bytes - 1)))].into()
    }

    #[test]
    fn a_view_leaves_room_for_its_stale_mark() {
        let largest = item(MAX_VIEW_BYTES);
        assert_eq!(check_sizes(&item(MAX_ITEM_BYTES), &largest), Ok(()));
        let larger = check_sizes(&item(9), &item(MAX_VIEW_BYTES + 1));
        let reason = "a view of 405505 bytes, and the limit is 405504";
        assert_eq!(larger, Err(reason.to_owned()));
        let larger = check_sizes(&item(MAX_ITEM_BYTES + 1), &item(9));
        let reason = "a history item of 409601 bytes, and the limit is 409600";
        assert_eq!(larger, Err(reason.to_owned()));

        let mark = Stale {
            until: Sequence::new((1 << 53) - 1).expect("valid"),
            reason: "x".repeat(2_000),
            since: Timestamp::from_unix_millis(0).expect("valid"),
        };
        let mut marked = largest;
        marked.extend(mark.to_attributes());
        marked.insert(REVISION.to_owned(), Attribute::text("x".repeat(36)));
        assert!(item_size(&marked) <= MAX_ITEM_BYTES);
    }
}
