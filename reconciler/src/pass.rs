//! The slow pass over all aggregates: compares the newest row with the cursor, and the cursor with the view.
//!
//! A run examines a bounded number of aggregates and stores its position, so that the next run
//! continues. What the pass finds and can't repair is stored, and examined again in every run until it is
//! resolved.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use millrace_core::ids::is_reserved_id;
use millrace_core::{Attribute, Attributes, DecodeError, Sequence, Timestamp, row};
use millrace_projector::ports::REVISION;
use millrace_projector::stale::Stale;
use millrace_runtime::{Ambient, Budget, Chain, ServiceError};
use millrace_translator::cursor::{Block, Cursor, Suspension};
use millrace_translator::ports::CursorStore;

use crate::ports::{Publishes, SEGMENTS, Services};
use crate::report::{Finding, Pass, number, time};
use crate::service::{Found, Permitted, Reconciler, share};
use crate::state::{self, Position, SegmentPosition};
use crate::suspended::TOGETHER;
use crate::views::sequence_of;

/// How old an aggregate's newest event has to be before a missing publication or projection is reported: a
/// younger one may still be delivered. In milliseconds.
const GRACE_MILLIS: i64 = 5 * 60 * 1000;

/// How many aggregates of a segment a run examines without success, because a service failed, before it
/// leaves the rest of the segment to the next run.
const MAX_FAILURES: u32 = 3;

/// The aggregates that the indices list.
pub(crate) struct Listed {
    pub(crate) suspended: BTreeSet<String>,
    pub(crate) stale: BTreeSet<String>,
}

/// An aggregate's view, cursor and newest row. They are read in this order, so that a concurrent write never
/// makes the view look ahead of the cursor, or the cursor ahead of the rows.
struct Standing {
    view: Option<Attributes>,
    cursor: Result<Option<Cursor>, DecodeError>,
    /// The sequence of the newest row, if its version can be read.
    events: Option<Sequence>,
    newest: Option<Timestamp>,
}

/// The result of examining an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The pass has nothing to do for the aggregate.
    Fine,
    /// The aggregate's pending events have to be published.
    Lagging,
    /// The cursor is ahead of the events table.
    Ahead,
    /// The view lacks published events and isn't marked as stale.
    ViewLagging,
}

impl Standing {
    fn published_through(&self) -> Sequence {
        match &self.cursor {
            Ok(Some(cursor)) => cursor.published_through,
            _ => Sequence::NONE,
        }
    }

    fn suspension(&self) -> Option<&Suspension> {
        self.cursor.as_ref().ok()?.as_ref()?.suspended.as_ref()
    }

    fn verdict(&self, now: Timestamp) -> Verdict {
        // A suspended aggregate is reported as such.
        if self.suspension().is_some() {
            return Verdict::Fine;
        }
        let published = self.published_through();
        let Some(events) = self.events else {
            // The newest row's version can't be read; publishing decides whether it blocks the aggregate.
            return if self.is_young(now) {
                Verdict::Fine
            } else {
                Verdict::Lagging
            };
        };
        if self.cursor.is_ok() && published > events {
            return Verdict::Ahead;
        }
        if self.is_young(now) {
            return Verdict::Fine;
        }
        if self.cursor.is_err() || published < events {
            return Verdict::Lagging;
        }
        let is_stale = self
            .view
            .as_ref()
            .is_some_and(|view| Stale::read(view).is_some());
        match sequence_of(self.view.as_ref()) {
            Some(reached) if reached < published && !is_stale => Verdict::ViewLagging,
            _ => Verdict::Fine,
        }
    }

    /// Whether the newest event may still be delivered. An event with a time in the future isn't waited for.
    fn is_young(&self, now: Timestamp) -> bool {
        self.newest.is_some_and(|newest| {
            let age = now.unix_millis() - newest.unix_millis();
            (0..GRACE_MILLIS).contains(&age)
        })
    }
}

impl<T: Publishes, S: Services> Reconciler<T, S> {
    /// Examines the aggregates that are open from earlier runs, and continues the pass.
    pub(crate) async fn continue_pass(
        &self,
        permitted: Permitted,
        listed: &Listed,
        budget: Budget,
        found: &mut Found,
    ) -> Pass {
        let open = match self.open_aggregates().await {
            Ok(open) => Some(open),
            Err(error) => {
                found.service_failed("the open aggregates", &error);
                None
            }
        };
        let mut position = match self.services.item(state::PROGRESS, state::PASS).await {
            Ok(item) => Position::read(&item.unwrap_or_default(), SEGMENTS),
            Err(error) => {
                found.service_failed("the pass's position", &error);
                found.gauges.views_stale = None;
                return Pass::default();
            }
        };
        let mut unfinished: BTreeMap<String, Verdict> = BTreeMap::new();
        for id in open.iter().flatten() {
            unfinished.insert(id.clone(), Verdict::Fine);
        }
        let enumerating = share(budget, 0.5);
        position.started_at = position.started_at.or_else(|| Some(self.now()));
        let examined = {
            let segments = position.segments.iter_mut().zip(0..);
            join_all(segments.map(async |(segment, index)| {
                self.examine_segment(index, segment, listed, enumerating)
                    .await
            }))
            .await
        };
        for outcome in examined {
            position.aggregates += outcome.aggregates;
            unfinished.extend(outcome.verdicts);
            for error in &outcome.errors {
                found.service_failed("the pass over all aggregates", error);
            }
        }
        let is_known = open.is_some();
        let mut open = open.unwrap_or_default();
        if position.is_completed() {
            position = position.next_pass(self.now());
        }
        // Stored before the repairs: a run that is killed meanwhile has advanced the pass.
        self.store_progress(&unfinished, &mut open, &position, found)
            .await;
        self.repair(&unfinished, permitted, share(budget, 0.7), found)
            .await;
        self.settle(unfinished, &open, listed, budget, found).await;
        if !is_known {
            (found.gauges.aggregates_lagging, found.gauges.views_stale) = (None, None);
        }
        Pass {
            started_at: position.started_at.map(time),
            aggregates: position.aggregates,
            completed_passes: position.completed,
            last_completed_at: position.last_completed_at.map(time),
            last_aggregates: position.last_aggregates,
        }
    }

    /// Stores the aggregates that the next run has to examine again, and then the position. If an aggregate
    /// could not be stored, the position is not stored either, so that the next run finds it again.
    async fn store_progress(
        &self,
        unfinished: &BTreeMap<String, Verdict>,
        open: &mut BTreeSet<String>,
        position: &Position,
        found: &mut Found,
    ) {
        let new: Vec<&String> = unfinished.keys().filter(|id| !open.contains(*id)).collect();
        for together in new.chunks(TOGETHER) {
            let puts = join_all(together.iter().map(|id| self.put_open(id))).await;
            for (id, put) in together.iter().zip(puts) {
                match put {
                    Ok(()) => {
                        open.insert((*id).clone());
                    }
                    Err(error) => {
                        found.service_failed("storing an open aggregate", &error);
                        return;
                    }
                }
            }
        }
        let put = self
            .services
            .put_item(state::PROGRESS, state::PASS, position.to_item());
        if let Err(error) = put.await {
            found.service_failed("storing the pass's position", &error);
        }
    }

    async fn open_aggregates(&self) -> Result<BTreeSet<String>, ServiceError> {
        let mut open = BTreeSet::new();
        loop {
            let after = open.last().map(String::as_str);
            let page = self.services.items(state::OPEN, after).await?;
            let is_last = !page.more || page.items.is_empty();
            open.extend(page.items.into_iter().map(|(id, _)| id));
            if is_last {
                return Ok(open);
            }
        }
    }

    async fn examine_segment(
        &self,
        index: u32,
        position: &mut SegmentPosition,
        listed: &Listed,
        budget: Budget,
    ) -> Examined {
        let (mut examined, mut failures) = (Examined::default(), 0);
        for _ in 0..self.pass_aggregates.div_ceil(SEGMENTS) {
            if *position == SegmentPosition::Ended || budget.left().is_zero() {
                break;
            }
            let after = match position {
                SegmentPosition::After(id) => Some(id.as_str()),
                SegmentPosition::Beginning | SegmentPosition::Ended => None,
            };
            let next = match self.services.next_id(index, after).await {
                Ok(next) => next,
                Err(error) => {
                    examined.errors.push(error);
                    break;
                }
            };
            let Some(id) = next else {
                *position = SegmentPosition::Ended;
                break;
            };
            if !is_reserved_id(&id) {
                match self.examine(&id, listed).await {
                    Ok(verdict) => {
                        examined.aggregates += 1;
                        if verdict != Verdict::Fine {
                            examined.verdicts.insert(id.clone(), verdict);
                        }
                    }
                    // It is examined again in every run, and the pass continues with the next one.
                    Err(error) if error.is_permanent() || failures < MAX_FAILURES => {
                        failures += u32::from(!error.is_permanent());
                        examined.verdicts.insert(id.clone(), Verdict::Fine);
                        examined.errors.push(error);
                    }
                    Err(error) => {
                        examined.errors.push(error);
                        break;
                    }
                }
            }
            *position = SegmentPosition::After(id);
        }
        examined
    }

    /// Examines an aggregate. A marker that the index doesn't list is written again: a previous release
    /// has written it without the index's attributes.
    async fn examine(&self, id: &str, listed: &Listed) -> Result<Verdict, ServiceError> {
        let standing = self.standing(id).await?;
        if let Some(Suspension::Blocked(block)) = standing.suspension()
            && !listed.suspended.contains(id)
        {
            self.translator.cursors().mark(id, block).await?;
        }
        if let Some(item) = &standing.view
            && let Some(stale) = Stale::read(item)
            && !listed.stale.contains(id)
        {
            let mut attributes = stale.to_attributes(id);
            let revision = self.translator.ambient().unique_id();
            attributes.insert(REVISION.to_owned(), Attribute::text(revision));
            // If another writer has changed the item, it has written the attributes itself.
            self.services.mark_stale(id, attributes, item).await?;
        }
        Ok(standing.verdict(self.now()))
    }

    async fn standing(&self, id: &str) -> Result<Standing, ServiceError> {
        let view = self.services.view(id).await?;
        let ids = [id.to_owned()].into();
        let budget = Budget::lasting(std::time::Duration::from_secs(10));
        let mut cursors = self.cursors(&ids, budget).await?;
        let newest = self.services.newest_row(id).await?;
        Ok(Standing {
            view,
            cursor: cursors.remove(id).transpose(),
            events: newest.as_ref().map_or(Some(Sequence::NONE), |row| {
                row::version(row).ok().map(millrace_core::Version::sequence)
            }),
            newest: newest.and_then(|row| match row.get(row::TIMESTAMP)? {
                Attribute::Text(text) => Timestamp::parse(text).ok(),
                _ => None,
            }),
        })
    }

    /// Publishes pending events, projects missing ones, and blocks aggregates, according to the verdicts.
    async fn repair(
        &self,
        unfinished: &BTreeMap<String, Verdict>,
        permitted: Permitted,
        budget: Budget,
        found: &mut Found,
    ) {
        let lagging = |verdict: &Verdict| matches!(verdict, Verdict::Lagging | Verdict::Fine);
        let ids: BTreeSet<String> = unfinished
            .iter()
            .filter(|(_, verdict)| lagging(verdict))
            .map(|(id, _)| id.clone())
            .collect();
        if permitted.publish {
            self.publish_all(&ids, share(budget, 0.6)).await;
        }
        for (id, verdict) in self.rotated(unfinished.iter().collect()) {
            if budget.left().is_zero() {
                return;
            }
            let repaired = match verdict {
                Verdict::Ahead => self.block_ahead(id).await,
                Verdict::ViewLagging | Verdict::Fine if permitted.project => {
                    self.project_missing(id, budget).await
                }
                _ => Ok(()),
            };
            if let Err(error) = repaired {
                found.service_failed("repairing an aggregate", &error);
            }
        }
    }

    /// Blocks an aggregate whose cursor is ahead of the events table. Only an operator resets it.
    async fn block_ahead(&self, id: &str) -> Result<(), ServiceError> {
        let standing = self.standing(id).await?;
        let Ok(Some(cursor)) = &standing.cursor else {
            return Ok(());
        };
        if standing.verdict(self.now()) != Verdict::Ahead {
            return Ok(());
        }
        tracing::error!("a cursor is ahead of the events table; its aggregate is blocked");
        let block = Block::cursor_ahead(cursor.published_through, self.now());
        let blocked = Cursor {
            suspended: Some(Suspension::Blocked(block)),
            ..cursor.clone()
        };
        // If another invocation has changed the cursor, the next pass examines it again.
        let saved = self.translator.cursors().save(id, &blocked, cursor).await;
        saved.map(|_| ())
    }

    async fn project_missing(&self, id: &str, budget: Budget) -> Result<(), ServiceError> {
        let standing = self.standing(id).await?;
        if standing.verdict(self.now()) != Verdict::ViewLagging {
            return Ok(());
        }
        let repaired = self.repair_view(id, standing.view.as_ref(), budget).await;
        if let Err(error) = repaired {
            tracing::warn!(error = %Chain(&error), "a view could not be repaired; the next run retries it");
        }
        Ok(())
    }

    /// Examines these aggregates again, until the budget is spent; reports those that aren't resolved, and
    /// removes the others from the open ones.
    async fn settle(
        &self,
        unfinished: BTreeMap<String, Verdict>,
        open: &BTreeSet<String>,
        listed: &Listed,
        budget: Budget,
        found: &mut Found,
    ) {
        let (mut lagging, mut views_lagging, mut is_read) = (0, 0, true);
        let unfinished = self.rotated(unfinished.into_iter().collect());
        let count = unfinished.len();
        for (examined, (id, before)) in unfinished.into_iter().enumerate() {
            if budget.left().is_zero() {
                is_read = false;
                found.out_of_time("the open aggregates", examined, count);
                break;
            }
            let standing = match self.standing(&id).await {
                Ok(standing) => standing,
                Err(error) => {
                    is_read = false;
                    found.service_failed("an open aggregate", &error);
                    continue;
                }
            };
            let published = standing.published_through();
            let stored = match standing.verdict(self.now()) {
                // The cursor can't be read. It is reported as blocked once the index lists it.
                Verdict::Lagging if standing.cursor.is_err() && listed.suspended.contains(&id) => {
                    self.delete_open(&id, open).await
                }
                Verdict::Lagging => {
                    lagging += 1;
                    let oldest = self.first_unpublished(&id, published).await;
                    found.unpublished.extend(oldest.or(standing.newest));
                    found.findings.push(Finding::Lagging {
                        id: id.clone(),
                        published_through: number(published),
                        events: standing.events.map_or(0, number),
                    });
                    match &standing.cursor {
                        Ok(_) => Ok(()),
                        Err(error) => self.mark_unreadable(&id, error).await,
                    }
                }
                // The projector gets the events that were just published from the stream. The next run
                // examines whether it did.
                Verdict::ViewLagging if before == Verdict::Lagging => {
                    found.repaired.published += 1;
                    Ok(())
                }
                Verdict::ViewLagging => {
                    views_lagging += 1;
                    found.findings.push(Finding::ViewLagging {
                        id: id.clone(),
                        sequence: sequence_of(standing.view.as_ref()).map_or(0, number),
                        published_through: number(published),
                    });
                    Ok(())
                }
                // The block is found by its marker from now on.
                Verdict::Ahead | Verdict::Fine => {
                    found.repaired.published += usize::from(before == Verdict::Lagging);
                    found.repaired.views_repaired += usize::from(before == Verdict::ViewLagging);
                    self.delete_open(&id, open).await
                }
            };
            if let Err(error) = stored {
                found.service_failed("storing the result of an open aggregate", &error);
            }
        }
        if is_read {
            found.gauges.aggregates_lagging = Some(lagging);
            found.gauges.views_stale = found.gauges.views_stale.map(|stale| stale + views_lagging);
        } else {
            found.gauges.views_stale = None;
        }
    }

    async fn mark_unreadable(&self, id: &str, error: &DecodeError) -> Result<(), ServiceError> {
        let block = Block {
            sequence: Sequence::NONE,
            row: None,
            reason: format!("the cursor can't be read: {error}"),
            since: self.now(),
        };
        self.translator.cursors().mark(id, &block).await
    }

    async fn put_open(&self, id: &str) -> Result<(), ServiceError> {
        let item = [("At".to_owned(), Attribute::text(self.now()))].into();
        self.services.put_item(state::OPEN, id, item).await
    }

    async fn delete_open(&self, id: &str, open: &BTreeSet<String>) -> Result<(), ServiceError> {
        if open.contains(id) {
            self.services.delete_item(state::OPEN, id).await
        } else {
            Ok(())
        }
    }
}

/// The progress of the pass in a segment in one run.
#[derive(Default)]
struct Examined {
    aggregates: u64,
    verdicts: BTreeMap<String, Verdict>,
    errors: Vec<ServiceError>,
}
