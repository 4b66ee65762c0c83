//! Publishes events from the events table, for `millrace redrive` and `millrace republish`.
//!
//! Both run the translator's own code, so order, retries and cursor rules are those of the live translator,
//! and both can run at the same time. The translator reads an aggregate's pending events from the table. To
//! republish, it starts from a cursor of the run (`republish_cursors`); the stored cursor changes only when publishing
//! passes it.
//!
//! Every aggregate has its own outcome. A service error, a block or an unusable cursor ends only the work on
//! that aggregate.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{self, StreamExt as _};
use millrace_core::{Attributes, DecodeError, Domain, Sequence};
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use millrace_translator::cursor::{Block, Cursor, load_all};
use millrace_translator::ports::{CursorStore, Publisher};
use millrace_translator::service::{PendingOutcome, Translator};

use super::ports::{AggregateIds, CursorRepair, EventLog, Reset, RunProgress, StoredCursor};
use super::republish_cursors::RepublishCursors;
use super::{CONCURRENCY, aggregates};

/// How long an aggregate may go without an acknowledged event before its outcome is `Incomplete`.
const PATIENCE: Duration = Duration::from_mins(10);

/// The services that publish events.
#[derive(Debug, Clone)]
pub struct Publication<D, L, C, P, A> {
    /// The domain, with its settings.
    pub domain: D,
    /// The events table.
    pub events: L,
    /// The publication cursors.
    pub cursors: C,
    /// The domain stream.
    pub publisher: P,
    /// The clock, and the source of random numbers.
    pub ambient: A,
}

/// Why publishing can't continue from a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorFault {
    /// The cursor's item can't be decoded.
    #[error("the cursor can't be read: {0}")]
    Unreadable(DecodeError),
    /// The events table has fewer events than the cursor says are published: the cursor is wrong, or
    /// the table was restored to an earlier state. New events up to the cursor's sequence would be
    /// skipped as duplicates.
    #[error("the cursor is at event {cursor}, but the events table has only {events} events")]
    Ahead {
        /// The cursor's sequence.
        cursor: Sequence,
        /// The highest sequence in the events table.
        events: Sequence,
    },
    /// The translator found the cursor ahead of the events table. Events that were appended since may
    /// have reached it, so its position alone no longer shows that they were never published.
    #[error("the cursor was ahead of the events table when it was last used: {0}")]
    WasAhead(String),
    /// The aggregate is blocked because the row of an announced event is missing, and no later row exists.
    /// It is a fault only if the row was deleted on purpose, so only `--reset-cursor` ends it.
    #[error("an event was announced, but its row is missing in the events table: {0}")]
    AnnouncedRowMissing(String),
}

/// The outcome of publishing an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every event in the table is acknowledged. Contains the highest sequence.
    Published(Sequence),
    /// The aggregate's publication is blocked.
    Blocked(Block),
    /// A service failed or was too slow. Some events may have been published.
    Incomplete(String),
    /// Nothing was published, because the cursor can't be used.
    CursorFault(CursorFault),
    /// Nothing was published, because the aggregate has only this many events, fewer than the
    /// sequence from which they were to be published again.
    TooFewEvents(Sequence),
}

/// The outcome of `redrive` for an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The fault because of which the cursor was reset; `None` if it wasn't reset.
    pub reset: Option<CursorFault>,
    /// The outcome of publishing.
    pub outcome: Outcome,
}

/// The result of a run over many aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The number of aggregates in the run.
    pub aggregates: usize,
    /// The number of those whose events are all published.
    pub published: usize,
}

/// Which aggregates `redrive` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Select those that are blocked.
    pub blocked: bool,
    /// Select those whose cursor isn't at their last event: it lags, is ahead, or is unreadable.
    pub lagging: bool,
}

/// An aggregate's cursor, and its newest row that is no snapshot. The cursor was read first. So if it is
/// ahead of the row, an event that was appended between the two reads can't be the reason.
#[derive(Debug)]
pub struct Position<I> {
    stored: Option<StoredCursor<I>>,
    newest: Option<Attributes>,
}

impl Outcome {
    /// Whether all events are published.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Published(_))
    }
}

impl Summary {
    /// Whether every aggregate is published.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.published == self.aggregates
    }

    fn count(&mut self, outcome: &Outcome) {
        self.aggregates += 1;
        self.published += usize::from(outcome.is_complete());
    }
}

impl<I> Position<I> {
    /// Whether the aggregate has neither events nor a cursor.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.stored.is_none() && self.newest.is_none()
    }

    /// The fault of the cursor; `None` if publishing can continue from it.
    #[must_use]
    pub fn fault(&self) -> Option<CursorFault> {
        match &self.stored.as_ref()?.cursor {
            Err(error) => Some(CursorFault::Unreadable(error.clone())),
            Ok(cursor) => ahead(cursor.published_through, self.newest.as_ref())
                .or_else(|| was_ahead(cursor.blocked())),
        }
    }

    /// The fault of a cursor that is blocked because an announced row is missing, if the row is still
    /// missing.
    fn missing_row(&self) -> Option<CursorFault> {
        let cursor = self.stored.as_ref()?.cursor.as_ref().ok()?;
        let block = cursor.blocked()?;
        let events = self
            .newest
            .as_ref()
            .map_or(Some(Sequence::NONE), aggregates::sequence_of)?;
        let is_missing = block.is_announced_row_missing() && events < block.sequence;
        is_missing.then(|| CursorFault::AnnouncedRowMissing(block.reason.clone()))
    }

    /// Whether the cursor is readable and at the last event.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        let events = match &self.newest {
            None => Some(Sequence::NONE),
            Some(newest) => aggregates::sequence_of(newest),
        };
        match self.stored.as_ref().map(|stored| &stored.cursor) {
            None => events == Some(Sequence::NONE),
            Some(Ok(cursor)) => events == Some(cursor.published_through),
            Some(Err(_)) => false,
        }
    }
}

/// The fault of a cursor whose block says that the cursor was ahead.
fn was_ahead(blocked: Option<&Block>) -> Option<CursorFault> {
    let block = blocked.filter(|block| block.is_cursor_ahead())?;
    Some(CursorFault::WasAhead(block.reason.clone()))
}

/// The fault of a cursor that is ahead of the newest row, which was read after the cursor; `None` if the
/// row's version can't be read, because then its sequence isn't known.
fn ahead(cursor: Sequence, newest: Option<&Attributes>) -> Option<CursorFault> {
    let events = newest.map_or(Some(Sequence::NONE), aggregates::sequence_of)?;
    (cursor > events).then_some(CursorFault::Ahead { cursor, events })
}

impl<D, L, C, P, A> Publication<D, L, C, P, A>
where
    D: Domain + Clone,
    L: EventLog + Clone,
    C: CursorRepair + Clone,
    P: Publisher + Clone,
    A: Ambient + Clone,
{
    /// Reads an aggregate's cursor, and then its newest row.
    ///
    /// # Errors
    /// [`ServiceError`] if one of them could not be read.
    pub async fn position(&self, aggregate: &str) -> Result<Position<C::Item>, ServiceError> {
        let stored = self.cursors.stored(aggregate).await?;
        let stored = stored.map(|StoredCursor { item, cursor }| StoredCursor {
            item,
            cursor: cursor.and_then(Cursor::with_readable_context::<D>),
        });
        let newest = self.events.newest_event_row(aggregate).await?;
        Ok(Position { stored, newest })
    }

    /// Selects the aggregates to redrive: those of `all` that aren't caught up, and those of `blocked`, as
    /// `selection` says. An aggregate whose position can't be read is selected too, and reported when it is
    /// redriven.
    ///
    /// # Errors
    /// [`ServiceError`] if the aggregates could not be listed.
    pub async fn select(
        &self,
        selection: Selection,
        all: &impl AggregateIds,
        blocked: &impl AggregateIds,
        examined: impl Fn(usize, usize) + Send + Sync,
    ) -> Result<BTreeSet<String>, ServiceError> {
        let mut selected = BTreeSet::new();
        if selection.blocked {
            selected = aggregates::list(blocked, |_| ()).await?;
        }
        if selection.lagging {
            let all = aggregates::list(all, |_| ()).await?;
            let (total, mut done) = (all.len(), 0);
            let mut positions = std::pin::pin!(
                stream::iter(all)
                    .map(async |id| (self.position(&id).await, id))
                    .buffer_unordered(CONCURRENCY)
            );
            while let Some((position, id)) = positions.next().await {
                done += 1;
                examined(done, total);
                if !position.is_ok_and(|position| position.is_caught_up()) {
                    selected.insert(id);
                }
            }
        }
        Ok(selected)
    }

    /// Publishes an aggregate's pending events. If the cursor is unreadable or ahead of the events table, the
    /// outcome is the fault, and nothing is published. With `reset_cursor`, such a cursor, and one that is
    /// blocked at a missing announced row, is reset, and all events are published from the first one on.
    pub async fn redrive(&self, aggregate: &str, reset_cursor: bool) -> Redriven {
        let mut reset = None;
        let outcome = self.try_redrive(aggregate, reset_cursor, &mut reset).await;
        Redriven {
            reset,
            outcome: outcome.unwrap_or_else(|error| incomplete(&error)),
        }
    }

    /// Redrives many aggregates, several of them concurrently, and calls `report` with each outcome.
    ///
    /// # Errors
    /// The errors of `report`, which end the run.
    pub async fn redrive_all(
        &self,
        aggregates: &BTreeSet<String>,
        reset_cursor: bool,
        mut report: impl FnMut(&str, &Redriven) -> Result<()>,
    ) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut outcomes = std::pin::pin!(
            stream::iter(aggregates.iter().cloned())
                .map(async |id| (self.redrive(&id, reset_cursor).await, id))
                .buffer_unordered(CONCURRENCY)
        );
        while let Some((redriven, id)) = outcomes.next().await {
            summary.count(&redriven.outcome);
            report(&id, &redriven)?;
        }
        Ok(summary)
    }

    /// Publishes an aggregate's events again, starting at the sequence `from`, or after the sequence that
    /// `progress` has recorded. Events before `from` that were never published are published too.
    pub async fn republish(
        &self,
        aggregate: &str,
        from: Sequence,
        progress: &impl RunProgress,
    ) -> Outcome {
        let outcome = self.try_republish(aggregate, from, progress).await;
        outcome.unwrap_or_else(|error| incomplete(&error))
    }

    /// Republishes many aggregates, several of them concurrently, and calls `report` with each outcome.
    ///
    /// # Errors
    /// The errors of `report`, which end the run.
    pub async fn republish_all(
        &self,
        aggregates: &BTreeSet<String>,
        from: Sequence,
        progress: &impl RunProgress,
        mut report: impl FnMut(&str, &Outcome) -> Result<()>,
    ) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut outcomes = std::pin::pin!(
            stream::iter(aggregates.iter().cloned())
                .map(async |id| (self.republish(&id, from, progress).await, id))
                .buffer_unordered(CONCURRENCY)
        );
        while let Some((outcome, id)) = outcomes.next().await {
            summary.count(&outcome);
            report(&id, &outcome)?;
        }
        Ok(summary)
    }

    async fn try_redrive(
        &self,
        aggregate: &str,
        reset_cursor: bool,
        reset: &mut Option<CursorFault>,
    ) -> Result<Outcome, ServiceError> {
        let position = self.position(aggregate).await?;
        let missing = || position.missing_row().filter(|_| reset_cursor);
        if let Some(fault) = position.fault().or_else(missing) {
            let Some(stored) = position.stored.filter(|_| reset_cursor) else {
                return Ok(Outcome::CursorFault(fault));
            };
            let block = Block::after_reset(self.ambient.now());
            let block = position.newest.is_some().then_some(&block);
            match self.cursors.reset(aggregate, &stored.item, block).await? {
                Reset::Done => *reset = Some(fault),
                Reset::Changed => {
                    let reason =
                        "the cursor changed before it could be reset; run the command again";
                    return Ok(Outcome::Incomplete(reason.to_owned()));
                }
            }
        }
        self.publish(aggregate, self.cursors.clone()).await
    }

    async fn try_republish(
        &self,
        aggregate: &str,
        from: Sequence,
        progress: &impl RunProgress,
    ) -> Result<Outcome, ServiceError> {
        let position = self.position(aggregate).await?;
        if let Some(fault) = position.fault() {
            return Ok(Outcome::CursorFault(fault));
        }
        let events = match &position.newest {
            None => Some(Sequence::NONE),
            Some(newest) => aggregates::sequence_of(newest),
        };
        if let Some(events) = events.filter(|events| *events < from) {
            progress.complete(aggregate)?;
            return Ok(Outcome::TooFewEvents(events));
        }
        let before = Sequence::new(from.get() - 1).unwrap_or(Sequence::NONE);
        let cursors = RepublishCursors::new(self.cursors.clone(), before, progress);
        let outcome = self.publish(aggregate, cursors).await?;
        if outcome.is_complete() {
            progress.complete(aggregate)?;
        }
        Ok(outcome)
    }

    /// Publishes until a consistent read after the last acknowledged put finds no newer event. Events that
    /// are committed after that read are published later, by the live translator. So a consumer that ignored
    /// a live event because of a gap receives the event again.
    async fn publish<S: CursorStore>(
        &self,
        aggregate: &str,
        cursors: S,
    ) -> Result<Outcome, ServiceError> {
        let translator = Translator {
            domain: self.domain.clone(),
            rows: self.events.clone(),
            cursors,
            publisher: self.publisher.clone(),
            ambient: self.ambient.clone(),
        };
        let mut announced = None;
        let mut cursor = match load(&translator.cursors, aggregate, &self.ambient).await? {
            Ok(cursor) => cursor,
            Err(error) => return Ok(Outcome::CursorFault(CursorFault::Unreadable(error))),
        };
        loop {
            let before = cursor.published_through;
            let was_suspended = cursor.suspended.is_some();
            let newest = self.events.newest_event_row(aggregate).await?;
            if let Some(fault) = ahead(before, newest.as_ref()) {
                return Ok(Outcome::CursorFault(fault));
            }
            let Some(newest) = newest else {
                return Ok(Outcome::Published(before));
            };
            let target = aggregates::sequence_of(&newest);
            let is_known = announced == Some(target);
            if is_known && Some(before) >= target && cursor.suspended.is_none() {
                return Ok(Outcome::Published(before));
            }
            announced = Some(target);
            let ids = vec![aggregate.to_owned()];
            let publishing = translator.publish_pending(ids, Budget::lasting(PATIENCE));
            let outcome = publishing.await.remove(aggregate);
            cursor = match load(&translator.cursors, aggregate, &self.ambient).await? {
                Ok(cursor) => cursor,
                Err(error) => return Ok(Outcome::CursorFault(CursorFault::Unreadable(error))),
            };
            let has_ended = was_suspended && cursor.suspended.is_none();
            if cursor.published_through > before || has_ended {
                continue;
            }
            match outcome {
                Some(PendingOutcome::Blocked(block)) => return Ok(Outcome::Blocked(block)),
                Some(PendingOutcome::CursorUnreadable(error)) => {
                    return Ok(Outcome::CursorFault(CursorFault::Unreadable(error)));
                }
                Some(PendingOutcome::Published(_)) if !is_known => {}
                Some(
                    PendingOutcome::Published(_)
                    | PendingOutcome::Unfinished
                    | PendingOutcome::Failed(_),
                )
                | None => {
                    let reason = format!("a service failed or was too slow after event {before}");
                    return Ok(Outcome::Incomplete(reason));
                }
            }
        }
    }
}

async fn load(
    cursors: &impl CursorStore,
    aggregate: &str,
    ambient: &impl Ambient,
) -> Result<Result<Cursor, DecodeError>, ServiceError> {
    let budget = Budget::lasting(PATIENCE);
    let mut loaded = load_all(cursors, &[aggregate], budget, ambient).await?;
    Ok(loaded
        .remove(aggregate)
        .unwrap_or_else(|| Ok(Cursor::default())))
}

fn incomplete(error: &ServiceError) -> Outcome {
    Outcome::Incomplete(Chain(error).to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::checkpoint::{Checkpoint, Earlier, Scope};
    use super::super::memory::{AMBIENT, Ids, Memory, at};
    use super::super::ports::NotKept;
    use super::*;
    use millrace_core::Attribute;
    use millrace_translator::cursor::Suspension;

    const EVERY: Selection = Selection {
        blocked: true,
        lagging: true,
    };

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    fn unreadable() -> DecodeError {
        DecodeError::new("PublishedThrough", "is not a whole number")
    }

    fn scope() -> Scope {
        Scope {
            events_table: "events".to_owned(),
            table_id: None,
            stream: "stream".to_owned(),
            from: 1,
            aggregate: None,
        }
    }

    fn checkpoint(folder: &tempfile::TempDir, earlier: Earlier) -> Checkpoint {
        Checkpoint::open(folder.path(), &scope(), earlier, AMBIENT.now()).expect("opened")
    }

    async fn redrive_all(memory: &Memory, reset: bool) -> (Summary, BTreeMap<String, Redriven>) {
        let publication = memory.publication();
        let (all, mut ended) = (memory.ids().0.into_iter().collect(), BTreeMap::new());
        let summary = is_send(publication.redrive_all(&all, reset, |id, redriven| {
            ended.insert(id.to_owned(), redriven.clone());
            Ok(())
        }));
        (summary.await.expect("every outcome is reported"), ended)
    }

    /// The simulation spawns these futures, so they must be `Send`.
    fn is_send<T: Send>(future: T) -> T {
        future
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_cursor_or_a_failing_service_ends_nothing_for_the_others() {
        let memory = Memory::default();
        for id in ["damaged", "lost", "unavailable", "well"] {
            memory.add(id, 11, 0);
        }
        memory.add("well", 11, 11);
        memory
            .world()
            .cursors
            .insert("damaged".to_owned(), Err(unreadable()));
        memory.world().unavailable.insert("unavailable".to_owned());
        let (summary, ended) = redrive_all(&memory, false).await;
        assert_eq!((summary.aggregates, summary.published), (4, 2));
        assert!(!summary.is_complete());
        let all_published = Summary {
            aggregates: 2,
            published: 2,
        };
        assert!(all_published.is_complete());
        let outcome = |id: &str| ended[id].outcome.clone();
        assert_eq!(outcome("lost"), Outcome::Published(sequence(11)));
        assert_eq!(outcome("well"), Outcome::Published(sequence(11)));
        assert_eq!(
            outcome("damaged"),
            Outcome::CursorFault(CursorFault::Unreadable(unreadable()))
        );
        let Outcome::Incomplete(reason) = outcome("unavailable") else {
            panic!("{:?}", outcome("unavailable"));
        };
        assert!(reason.contains("unavailable"), "{reason}");
        assert_eq!(memory.stream("lost"), (1..=11).collect::<Vec<_>>());
        assert_eq!(memory.published_through("lost"), 11);
        assert!(memory.stream("well").is_empty() && memory.stream("damaged").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_whose_context_cannot_be_read_is_reset_as_an_unreadable_one() {
        let memory = Memory::default();
        memory.add("a", 3, 3);
        let cursor = Cursor {
            context: Some([("Currency".to_owned(), Attribute::number(1))].into()),
            ..at(3)
        };
        memory.world().cursors.insert("a".to_owned(), Ok(cursor));
        let publication = memory.publication();
        let redriven = publication.redrive("a", false).await;
        let Outcome::CursorFault(CursorFault::Unreadable(error)) = redriven.outcome else {
            panic!("{redriven:?}");
        };
        assert_eq!(error.path(), "Currency");
        let redriven = publication.redrive("a", true).await;
        assert_eq!(redriven.outcome, Outcome::Published(sequence(3)));
        assert_eq!(memory.stream("a"), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn republishing_all_tries_every_account_too() {
        let memory = Memory::default();
        for id in ["ahead", "damaged", "well"] {
            memory.add(id, 3, 3);
        }
        memory.world().cursors.insert("ahead".to_owned(), Ok(at(4)));
        let damaged = Err(unreadable());
        memory.world().cursors.insert("damaged".to_owned(), damaged);
        let publication = memory.publication();
        let all = memory.ids().0.into_iter().collect();
        let mut ended = BTreeMap::new();
        let report = |id: &str, outcome: &Outcome| {
            ended.insert(id.to_owned(), outcome.clone());
            Ok(())
        };
        let run = is_send(publication.republish_all(&all, sequence(1), &NotKept, report));
        let summary = run.await.expect("every outcome is reported");
        assert_eq!((summary.aggregates, summary.published), (3, 1));
        assert_eq!(ended["well"], Outcome::Published(sequence(3)));
        assert!(matches!(ended["damaged"], Outcome::CursorFault(_)));
        assert!(matches!(ended["ahead"], Outcome::CursorFault(_)));
        assert_eq!(memory.stream("well"), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_ahead_of_the_events_table_is_reported_and_reset_only_when_asked() {
        let memory = Memory::default();
        memory.add("a", 11, 999);
        let ahead = CursorFault::Ahead {
            cursor: sequence(999),
            events: sequence(11),
        };
        let publication = memory.publication();
        let redriven = publication.redrive("a", false).await;
        assert_eq!(redriven.reset, None);
        assert_eq!(redriven.outcome, Outcome::CursorFault(ahead.clone()));
        assert_eq!(memory.published_through("a"), 999);
        assert!(memory.stream("a").is_empty());

        let redriven = publication.redrive("a", true).await;
        assert_eq!(redriven.reset, Some(ahead));
        assert_eq!(redriven.outcome, Outcome::Published(sequence(11)));
        assert_eq!(memory.published_through("a"), 11);
        assert_eq!(memory.stream("a"), (1..=11).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_that_was_ahead_is_a_fault_although_new_events_have_reached_it() {
        let memory = Memory::default();
        memory.add("a", 15, 13);
        let mut cursor = at(13);
        cursor.suspended = Some(Suspension::Blocked(Block {
            sequence: Sequence::NONE,
            row: Some("15".to_owned()),
            reason: "why".to_owned(),
            since: millrace_core::Timestamp::from_unix_millis(0).expect("valid"),
        }));
        memory.world().cursors.insert("a".to_owned(), Ok(cursor));
        let was_ahead = CursorFault::WasAhead("why".to_owned());
        let publication = memory.publication();
        let redriven = publication.redrive("a", false).await;
        assert_eq!(redriven.outcome, Outcome::CursorFault(was_ahead.clone()));
        assert!(memory.stream("a").is_empty());

        let redriven = publication.redrive("a", true).await;
        assert_eq!(redriven.reset, Some(was_ahead));
        assert_eq!(redriven.outcome, Outcome::Published(sequence(15)));
        assert_eq!(memory.stream("a"), (1..=15).collect::<Vec<_>>());
    }

    /// An operator deleted the newest row on purpose: it stays missing unless the aggregate gets another
    /// event.
    #[tokio::test(start_paused = true)]
    async fn a_block_at_a_deleted_row_ends_only_when_a_reset_is_asked_for() {
        for (count, events, is_missing) in [(11_usize, 11, true), (12, 12, false)] {
            let memory = Memory::default();
            memory.add("a", count, 11);
            let mut cursor = at(11);
            cursor.suspended = Some(Suspension::Blocked(Block {
                sequence: sequence(12),
                row: None,
                reason: "row 14 is missing".to_owned(),
                since: millrace_core::Timestamp::from_unix_millis(0).expect("valid"),
            }));
            memory.world().cursors.insert("a".to_owned(), Ok(cursor));
            let publication = memory.publication();
            if is_missing {
                let redriven = publication.redrive("a", false).await;
                assert!(
                    matches!(redriven.outcome, Outcome::Blocked(_)),
                    "{redriven:?}"
                );
                assert!(memory.stream("a").is_empty());
            }
            let redriven = publication.redrive("a", true).await;
            assert_eq!(redriven.reset.is_some(), is_missing);
            assert_eq!(redriven.outcome, Outcome::Published(sequence(events)));
            assert_eq!(memory.published_through("a"), events);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_cursor_is_reset_when_asked() {
        let memory = Memory::default();
        memory.add("a", 3, 0);
        memory
            .world()
            .cursors
            .insert("a".to_owned(), Err(unreadable()));
        let redriven = is_send(memory.publication().redrive("a", true)).await;
        assert_eq!(redriven.reset, Some(CursorFault::Unreadable(unreadable())));
        assert_eq!(redriven.outcome, Outcome::Published(sequence(3)));
        assert_eq!(memory.stream("a"), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_cursor_stays_blocked_until_everything_is_published() {
        let memory = Memory::default();
        memory.add("a", 3, 9);
        memory.world().puts_left = Some(2);
        let redriven = memory.publication().redrive("a", true).await;
        assert!(redriven.reset.is_some());
        let Outcome::Incomplete(_) = redriven.outcome else {
            panic!("{:?}", redriven.outcome);
        };
        let stored = |memory: &Memory| memory.world().cursors["a"].clone().expect("readable");
        let block = stored(&memory).blocked().cloned().expect("it is reported");
        assert!(block.is_reset() && !block.is_cursor_ahead());
        assert_eq!(memory.published_through("a"), 2);

        memory.world().puts_left = None;
        let redriven = memory.publication().redrive("a", false).await;
        assert_eq!(redriven.reset, None);
        assert_eq!(redriven.outcome, Outcome::Published(sequence(3)));
        assert_eq!(stored(&memory).suspended, None);
        assert_eq!(memory.stream("a"), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sound_cursor_and_one_that_changed_since_it_was_read_are_not_reset() {
        let memory = Memory::default();
        memory.add("a", 3, 2);
        let redriven = memory.publication().redrive("a", true).await;
        assert_eq!(redriven.reset, None);
        assert_eq!(memory.stream("a"), [3]);

        memory.world().cursors.insert("a".to_owned(), Ok(at(9)));
        memory.world().saved_before_reset = Some(("a".to_owned(), at(3)));
        let redriven = memory.publication().redrive("a", true).await;
        assert_eq!(redriven.reset, None);
        assert!(matches!(redriven.outcome, Outcome::Incomplete(_)));
        assert_eq!(memory.published_through("a"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_of_an_account_without_events_can_be_reset() {
        let memory = Memory::default();
        memory
            .world()
            .cursors
            .insert("without-events".to_owned(), Ok(at(5)));
        let publication = memory.publication();
        let is_unknown = async |id: &str| {
            let position = publication.position(id).await;
            position.expect("read").is_unknown()
        };
        assert!(is_unknown("unknown").await && !is_unknown("without-events").await);
        memory.add("unpublished", 1, 0);
        assert!(!is_unknown("unpublished").await);
        let ahead = publication.redrive("without-events", false).await.outcome;
        assert!(matches!(ahead, Outcome::CursorFault(_)), "{ahead:?}");
        let reset = publication.redrive("without-events", true).await.outcome;
        assert_eq!(reset, Outcome::Published(Sequence::NONE));
        assert!(is_unknown("without-events").await);
    }

    #[tokio::test(start_paused = true)]
    async fn cursors_left_unprocessed_are_not_taken_for_none() {
        let memory = Memory::default();
        memory.add("a", 5, 5);
        memory.world().unprocessed = 2;
        let publication = memory.publication();
        let outcome = publication.republish("a", sequence(4), &NotKept).await;
        assert_eq!(outcome, Outcome::Published(sequence(5)));
        assert_eq!(memory.stream("a"), [4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_not_caught_up_are_selected() {
        let memory = Memory::default();
        memory.add("ahead", 3, 4);
        memory.add("lagging", 3, 2);
        memory.add("lost", 3, 0);
        memory.add("unavailable", 3, 3);
        for well in 0..20 {
            memory.add(&format!("well-{well}"), 3, 3);
        }
        memory.add("damaged", 3, 0);
        let damaged = Err(unreadable());
        memory.world().cursors.insert("damaged".to_owned(), damaged);
        memory.world().unavailable.insert("unavailable".to_owned());
        let publication = memory.publication();
        let blocked = Ids(vec!["blocked".to_owned()]);
        let select = async |selection| -> Vec<String> {
            let all = memory.ids();
            let examined = std::sync::Mutex::new(Vec::new());
            let selected = is_send(
                publication.select(selection, &all, &blocked, |done, total| {
                    examined.lock().expect("unpoisoned").push((done, total));
                }),
            );
            let selected = selected.await;
            let examined = examined.into_inner().expect("unpoisoned");
            assert!(
                examined.is_empty() != selection.lagging
                    && examined
                        .iter()
                        .copied()
                        .eq((1..=examined.len()).map(|done| (done, 25)))
            );
            selected.expect("listed").into_iter().collect()
        };
        let not_caught_up = ["ahead", "damaged", "lagging", "lost", "unavailable"];
        let not_blocked = Selection {
            blocked: false,
            ..EVERY
        };
        assert_eq!(select(not_blocked).await, not_caught_up);
        let only_blocked = Selection {
            lagging: false,
            ..EVERY
        };
        assert_eq!(select(only_blocked).await, ["blocked"]);
        assert_eq!(select(EVERY).await.len(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn republishing_from_beyond_the_last_event_is_no_success() {
        let memory = Memory::default();
        memory.add("a", 11, 11);
        let publication = memory.publication();
        let beyond = publication.republish("a", sequence(12), &NotKept).await;
        assert_eq!(beyond, Outcome::TooFewEvents(sequence(11)));
        assert!(memory.stream("a").is_empty());
        let last = publication.republish("a", sequence(11), &NotKept).await;
        assert_eq!(last, Outcome::Published(sequence(11)));
        assert_eq!(memory.stream("a"), [11]);
    }

    #[tokio::test(start_paused = true)]
    async fn republishing_includes_pending_events_and_moves_the_cursor_only_past_itself() {
        let memory = Memory::default();
        memory.add("a", 5, 2);
        let publication = memory.publication();
        let outcome = publication.republish("a", sequence(5), &NotKept).await;
        assert_eq!(outcome, Outcome::Published(sequence(5)));
        assert_eq!(memory.stream("a"), [3, 4, 5], "a gap would be left");
        assert_eq!(memory.published_through("a"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_account_is_republished_up_to_its_block() {
        let memory = Memory::default();
        memory.add("a", 5, 2);
        let amount = |text: &str| millrace_core::Attribute::Number(text.to_owned());
        let set_amount = |to: millrace_core::Attribute| {
            let mut world = memory.world();
            let row = world.rows.get_mut("a").and_then(|rows| rows.get_mut(&4));
            row.expect("there").insert("Amount".to_owned(), to);
        };
        set_amount(amount("1.5"));
        let publication = memory.publication();
        let Outcome::Blocked(block) = publication.redrive("a", false).await.outcome else {
            panic!("not blocked");
        };
        let stored = |memory: &Memory| memory.world().cursors["a"].clone().expect("readable");
        let before = stored(&memory);
        assert_eq!(before.blocked(), Some(&block));
        let outcome = publication.republish("a", sequence(1), &NotKept).await;
        assert_eq!(outcome, Outcome::Blocked(block));
        assert_eq!(memory.stream("a"), [1, 2]);
        assert_eq!(stored(&memory).suspended, before.suspended);
        assert_eq!(memory.published_through("a"), 2);

        set_amount(amount("5"));
        let outcome = publication.republish("a", sequence(1), &NotKept).await;
        assert_eq!(outcome, Outcome::Published(sequence(5)));
        assert_eq!(memory.stream("a"), [1, 2, 1, 2, 3, 4, 5]);
        assert_eq!(stored(&memory).suspended, None);
        assert_eq!(memory.published_through("a"), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_was_damaged_after_its_event_was_published_blocks_republishing_alone() {
        let memory = Memory::default();
        memory.add("a", 5, 5);
        let poisoned = millrace_core::Attribute::text("x");
        {
            let mut world = memory.world();
            let row = world.rows.get_mut("a").and_then(|rows| rows.get_mut(&3));
            row.expect("there").insert("Amount".to_owned(), poisoned);
        }
        let publication = memory.publication();
        let outcome = publication.republish("a", sequence(1), &NotKept).await;
        let Outcome::Blocked(block) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(block.sequence, sequence(2));
        assert_eq!(memory.stream("a"), [1]);
        let stored = memory.world().cursors["a"].clone().expect("readable");
        assert_eq!(
            (stored.published_through, stored.suspended),
            (sequence(5), None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_history_is_republished_however_long_it_takes_and_resumed_inside() {
        // At 50 ms per put, it takes twice as long as `PATIENCE`.
        const EVENTS: u64 = 24_000;
        let memory = Memory::default();
        memory.add("long", 24_000, EVENTS);
        memory.add("short", 3, 3);
        let publication = memory.publication();
        let all = memory.ids().0.into_iter().collect();
        let folder = tempfile::tempdir().expect("a folder");
        let first = checkpoint(&folder, Earlier::Refuse);
        let run = publication.republish_all(&all, sequence(1), &first, |_, _| Ok(()));
        let killed = tokio::time::timeout(PATIENCE + PATIENCE / 2, run).await;
        assert!(killed.is_err(), "it was killed");
        let before = memory.stream("long");
        assert!(before.len() > 12_000, "{}", before.len());

        let second = checkpoint(&folder, Earlier::Resume);
        assert!(second.is_completed("short"));
        let reached = second.reached("long").expect("it was begun").get();
        assert!(usize::try_from(reached).expect("small") + 2_000 > before.len());
        let outcome = publication.republish("long", sequence(1), &second).await;
        assert_eq!(outcome, Outcome::Published(sequence(EVENTS)));
        assert!(second.is_completed("long"));
        let stream = memory.stream("long");
        let resumed = &stream[before.len()..];
        assert_eq!(resumed.first(), Some(&(reached + 1)));
        assert!(resumed.iter().copied().eq(reached + 1..=EVENTS));
        assert_eq!(memory.published_through("long"), EVENTS);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_without_progress_is_incomplete_and_not_completed_in_the_checkpoint() {
        let memory = Memory::default();
        memory.add("a", 5, 5);
        memory.add("poison", 5, 2);
        let poisoned = millrace_core::Attribute::text("x");
        {
            let mut world = memory.world();
            let row = world
                .rows
                .get_mut("poison")
                .and_then(|rows| rows.get_mut(&4));
            row.expect("there").insert("Amount".to_owned(), poisoned);
            world.puts_left = Some(2);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let first = checkpoint(&folder, Earlier::Refuse);
        let publication = memory.publication();
        let outcome = publication.republish("a", sequence(1), &first).await;
        assert!(matches!(outcome, Outcome::Incomplete(_)), "{outcome:?}");
        let blocked = publication.republish("poison", sequence(3), &first).await;
        let Outcome::Blocked(block) = blocked else {
            panic!("{blocked:?}");
        };
        assert_eq!(block.sequence.get(), 3);
        assert_eq!(first.completed(), 0);
        assert_eq!(first.reached("a"), Some(sequence(2)));

        memory.world().puts_left = None;
        let second = checkpoint(&folder, Earlier::Resume);
        let outcome = publication.republish("a", sequence(1), &second).await;
        assert_eq!(outcome, Outcome::Published(sequence(5)));
        assert_eq!(memory.stream("a"), [1, 2, 3, 4, 5]);
        assert_eq!(second.completed(), 1);
    }
}
