//! Examines one aggregate: compares its events, cursor, view and history, and reports the differences as
//! findings.
//!
//! View and cursor are read first, then history and events in parallel. So the events that were read include
//! all events that view, cursor and history can include: a view at sequence n is compared with the fold of
//! the events 1 to n, and a history item after the last event is wrong. A view or cursor that lacks events
//! may only be lagging; [`Standing::is_lagging`] says so.
//!
//! Each cause is one finding: a blocked aggregate isn't also reported as unpublished, and its view isn't
//! reported as lagging.

use millrace_core::view::ViewOf;
use millrace_core::{
    Attribute, Data, DecodeError, HistoryEntry, Project, Sequence, Timestamp, View,
};
use millrace_projector::stale::Stale;
use millrace_runtime::ServiceError;
use millrace_translator::cursor::{Cursor, Parked};
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use super::fold::{Damage, Fold, Folded};
use crate::application::{Words, events, plural};

use super::ports::{CursorRepair, EventLog, ReadModelRepair};
use super::rebuild::{Items, sequence_of};

/// The services that examine aggregates.
#[derive(Debug, Clone)]
pub struct Examiner<D, L, C, M> {
    /// The domain.
    pub domain: D,
    /// The events table.
    pub events: L,
    /// The publication cursors.
    pub cursors: C,
    /// The read models.
    pub model: M,
}

/// The state of an aggregate in the tables, and its findings.
#[derive(Debug)]
pub struct Standing<V> {
    /// The aggregate's id.
    pub id: String,
    /// The sequence of the last event that can be read.
    pub through: Sequence,
    /// The cursor; without a stored one, the cursor before the first event.
    pub cursor: Result<Cursor, DecodeError>,
    /// The view; `None` if none is stored.
    pub view: Result<Option<View<V>>, DecodeError>,
    /// The view's stale mark.
    pub stale: Option<Stale>,
    /// The correct view after the last event.
    pub expected: Option<View<V>>,
    /// The sequence of the last published event before the time `settled_before` of [`Examiner::examine`].
    pub settled: Sequence,
    /// The problems of the aggregate, one per cause.
    pub findings: Vec<Finding>,
    /// Whether a finding may be caused by events that are still being processed.
    pub is_lagging: bool,
}

/// One problem of an aggregate or of the deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind, which determines the command that repairs the cause.
    pub kind: Kind,
    /// A description of the problem, for a person.
    pub detail: String,
}

/// The kinds of findings, each with one command that repairs the cause.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// Publication is suspended at a row.
    Blocked,
    /// More events are pending than one invocation publishes; the reconciler publishes them.
    Parked,
    /// A row can't be decoded or is missing, and publication isn't suspended there.
    Row,
    /// A snapshot isn't the fold of the events before it.
    Snapshot,
    /// The cursor lags the events.
    Unpublished,
    /// The cursor is ahead of the events.
    CursorAhead,
    /// The cursor can't be read.
    CursorUnreadable,
    /// The view lags the published events, or is missing.
    #[serde(rename = "view-behind")]
    #[strum(serialize = "view-behind")]
    ViewLagging,
    /// The view includes every event, but is marked stale.
    ViewStale,
    /// The view isn't the fold of the events, or can't be read.
    ViewDiffers,
    /// A view of an aggregate that has no events.
    ViewWithoutEvents,
    /// History items are missing.
    HistoryMissing,
    /// History items differ from the events.
    HistoryDiffers,
    /// History items belong to no event.
    HistoryStray,
    /// Events are missing in the lake.
    Lake,
    /// A mapping isn't enabled.
    MappingDisabled,
    /// A function has no mapping on its stream.
    MappingMissing,
    /// A mapping reports errors.
    MappingFailing,
    /// A discarded batch is open.
    Batch,
    /// The reconciler hasn't reported in time.
    Reconciler,
}

/// What an operator must do before a finding's command can repair the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beforehand {
    /// Nothing: run the command.
    Nothing,
    /// An operator repairs a row of the events table.
    RepairRow,
    /// An operator removes the cause.
    RemoveCause,
}

impl Kind {
    /// All kinds, in the order of the runbook's table.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The kind's name in the output and in the runbook, such as `view-behind`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What a finding of this kind means, as in the runbook's table.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Blocked => {
                "publication is suspended, usually at a row that can't be decoded or is missing"
            }
            Self::Parked => "more events are pending than one invocation publishes",
            Self::Row => {
                "a row can't be decoded or is missing, and publication isn't suspended there"
            }
            Self::Snapshot => "a snapshot isn't the state after the events before it",
            Self::Unpublished => "the cursor lags: some events are not published",
            Self::CursorAhead => "the cursor is ahead of the events",
            Self::CursorUnreadable => "the cursor can't be read",
            Self::ViewLagging => "the view lacks published events",
            Self::ViewStale => "the view includes every event, but is marked stale",
            Self::ViewDiffers => "the view isn't the fold of the events, or can't be read",
            Self::ViewWithoutEvents => "there is a view, but there are no events",
            Self::HistoryMissing => "history items of events that the view includes are missing",
            Self::HistoryDiffers => "history items differ from the events",
            Self::HistoryStray => "history items belong to no event",
            Self::Lake => "events are missing in the lake",
            Self::MappingDisabled => "an event source mapping isn't enabled",
            Self::MappingMissing => "a function has no mapping on its stream",
            Self::MappingFailing => {
                "a mapping has reported an error in two consecutive runs of the reconciler"
            }
            Self::Batch => "a batch that Lambda discarded is not repaired yet",
            Self::Reconciler => "there is no recent report of the reconciler",
        }
    }

    /// Whether findings of this kind concern the deployment, not one aggregate. They may be the causes of
    /// aggregates' findings.
    #[must_use]
    pub const fn is_of_the_deployment(self) -> bool {
        matches!(
            self,
            Self::MappingDisabled
                | Self::MappingMissing
                | Self::MappingFailing
                | Self::Batch
                | Self::Reconciler
        )
    }

    /// The arguments of the command that repairs all aggregates with findings of this kind; `None` if there
    /// is only the [`command`](Self::command) for one.
    #[must_use]
    pub fn command_for_all(self, words: Words) -> Option<String> {
        match self {
            Self::Blocked => Some("redrive --blocked".to_owned()),
            Self::Parked | Self::Unpublished => Some("redrive --lagging".to_owned()),
            Self::ViewStale | Self::ViewDiffers | Self::ViewWithoutEvents => {
                Some(format!("rebuild {}", words.collection))
            }
            Self::HistoryMissing | Self::HistoryDiffers | Self::HistoryStray => {
                Some(format!("rebuild {}", words.history))
            }
            Self::Row
            | Self::Snapshot
            | Self::CursorAhead
            | Self::CursorUnreadable
            | Self::ViewLagging
            | Self::Lake
            | Self::MappingDisabled
            | Self::MappingMissing
            | Self::MappingFailing
            | Self::Batch
            | Self::Reconciler => None,
        }
    }

    /// The command that repairs the cause, for the aggregate or the mapping `ID`.
    /// [`beforehand`](Self::beforehand) says what an operator does first.
    #[must_use]
    pub fn command(self, words: Words) -> String {
        let Words {
            command,
            noun,
            collection,
            history,
            ..
        } = words;
        match self {
            Self::Blocked | Self::Parked | Self::Row | Self::Snapshot | Self::Unpublished => {
                format!("{command} redrive --{noun} ID")
            }
            Self::CursorAhead | Self::CursorUnreadable => {
                format!("{command} redrive --{noun} ID --reset-cursor")
            }
            Self::ViewLagging | Self::Lake => format!("{command} republish --{noun} ID"),
            Self::ViewStale | Self::ViewDiffers | Self::ViewWithoutEvents => {
                format!("{command} rebuild {collection} --{noun} ID")
            }
            Self::HistoryMissing | Self::HistoryDiffers | Self::HistoryStray => {
                format!("{command} rebuild {history} --{noun} ID")
            }
            Self::MappingDisabled => {
                "aws lambda update-event-source-mapping --uuid ID --enabled".to_owned()
            }
            Self::MappingMissing => "npx cdk deploy".to_owned(),
            Self::MappingFailing | Self::Batch | Self::Reconciler => {
                format!("{command} reconcile")
            }
        }
    }

    /// What an operator must do, as the runbook describes, before the command can repair the cause.
    #[must_use]
    pub const fn beforehand(self) -> Beforehand {
        match self {
            Self::Blocked | Self::Row | Self::Snapshot => Beforehand::RepairRow,
            Self::MappingFailing | Self::Batch => Beforehand::RemoveCause,
            Self::Parked
            | Self::Unpublished
            | Self::CursorAhead
            | Self::CursorUnreadable
            | Self::ViewLagging
            | Self::ViewStale
            | Self::ViewDiffers
            | Self::ViewWithoutEvents
            | Self::HistoryMissing
            | Self::HistoryDiffers
            | Self::HistoryStray
            | Self::Lake
            | Self::MappingDisabled
            | Self::MappingMissing
            | Self::Reconciler => Beforehand::Nothing,
        }
    }
}

/// The differences of the history: for each kind, the number of items and the first of them.
#[derive(Debug, Default)]
struct History {
    missing: Option<(usize, Sequence)>,
    differing: Option<(usize, Sequence)>,
    stray: Option<(usize, String)>,
}

impl<D: Project, L: EventLog, C: CursorRepair, M: ReadModelRepair> Examiner<D, L, C, M> {
    /// Examines an aggregate. Cursor and view must include the events up to `at_least`, or without it, all
    /// events. `settled_before` determines [`Standing::settled`].
    ///
    /// # Errors
    /// [`ServiceError`]: something could not be read, and the aggregate isn't examined.
    pub async fn examine(
        &self,
        id: &str,
        at_least: Option<Sequence>,
        settled_before: Timestamp,
    ) -> Result<Standing<D::View>, ServiceError> {
        let item = self.model.view(id).await?;
        let stored = self.cursors.stored(id).await?;
        let view = item.as_ref().map_or(Ok(None), View::read);
        let cursor = stored
            .map_or_else(|| Ok(Cursor::default()), |stored| stored.cursor)
            .and_then(Cursor::with_readable_context::<D>);
        let published = cursor
            .as_ref()
            .map_or(Sequence::NONE, |cursor| cursor.published_through);
        let viewed = view
            .as_ref()
            .ok()
            .map(|view| view.as_ref().map_or(Sequence::NONE, |view| view.sequence));
        let (mut view_then, mut settled): (Option<ViewOf<D>>, _) = (None, Sequence::NONE);
        let mut fold = Fold::new(&self.domain, &self.events, id);
        let history = self
            .history(id, &mut fold, viewed, |folded| {
                let sequence = folded.entry.sequence;
                if Some(sequence) == viewed {
                    view_then = Some(folded.view.clone());
                }
                if sequence <= published && folded.envelope.time < settled_before {
                    settled = sequence;
                }
            })
            .await?;
        let mut standing = Standing {
            id: id.to_owned(),
            through: fold.through(),
            cursor,
            stale: item.as_ref().and_then(Stale::read),
            view,
            expected: fold.view().cloned(),
            settled,
            findings: Vec::new(),
            is_lagging: false,
        };
        let wanted = at_least.map_or(fold.through(), |least| least.min(fold.through()));
        standing.judge_cursor(fold.damage(), wanted);
        if let Some(version) = fold.wrong_snapshot() {
            let detail = format!("row {version} is not the state after the events before it");
            standing.find(Kind::Snapshot, detail);
        }
        let has_item = item.is_some();
        standing.judge_view(
            has_item,
            view_then.as_ref(),
            fold.damage().is_some(),
            wanted,
        );
        standing.judge_history(history);
        Ok(standing)
    }

    /// Compares the history with the events, in parallel by sequence, and reads both to their ends. If the
    /// view can be read, an item is reported as missing only up to the view's sequence, because the projector
    /// may still be writing later items. Otherwise, it is reported only if a later item exists.
    async fn history(
        &self,
        id: &str,
        fold: &mut Fold<'_, D, L>,
        viewed: Option<Sequence>,
        mut each: impl FnMut(&Folded<D>) + Send,
    ) -> Result<History, ServiceError> {
        let mut history = History::default();
        let mut items = Items::new(&self.model, id);
        let mut item = items.next().await?;
        let mut event = fold.next().await?;
        loop {
            if event.is_none() && fold.damage().is_none() && item.is_some() {
                // Read the events again: the item may belong to an event that was appended after their end
                // was reached.
                fold.look_again();
                event = fold.next().await?;
            }
            let here = item.as_ref().map(sequence_of);
            match (here, &event) {
                (None, None) => return Ok(history),
                (Some(Some(here)), None) if fold.damage().is_some() && here > fold.through() => {
                    // The item may belong to an event after the one that can't be read.
                    item = items.next().await?;
                }
                (Some(Some(here)), Some(folded)) if here == folded.entry.sequence => {
                    let read = item.as_ref().map(HistoryEntry::read);
                    if read != Some(Ok(folded.entry.clone())) {
                        history.differing.get_or_insert((0, here)).0 += 1;
                    }
                    each(folded);
                    item = items.next().await?;
                    event = fold.next().await?;
                }
                (here, Some(folded))
                    if here.is_none()
                        || here
                            .flatten()
                            .is_some_and(|here| here > folded.entry.sequence) =>
                {
                    let sequence = folded.entry.sequence;
                    let is_due = viewed.map_or(here.is_some(), |viewed| sequence <= viewed);
                    if is_due {
                        history.missing.get_or_insert((0, sequence)).0 += 1;
                    }
                    each(folded);
                    event = fold.next().await?;
                }
                _ => {
                    let shown = || match item.as_ref().and_then(|item| item.get("Sequence")) {
                        Some(Attribute::Number(number)) => number.clone(),
                        _ => "of another type".to_owned(),
                    };
                    history.stray.get_or_insert_with(|| (0, shown())).0 += 1;
                    item = items.next().await?;
                }
            }
        }
    }
}

impl<V: Data> Standing<V> {
    /// The view; `None` if none is stored, or if it can't be decoded.
    pub(crate) fn readable_view(&self) -> Option<&View<V>> {
        self.view.as_ref().ok()?.as_ref()
    }

    fn find(&mut self, kind: Kind, detail: String) {
        self.findings.push(Finding { kind, detail });
    }

    fn judge_cursor(&mut self, damage: Option<&Damage>, wanted: Sequence) {
        let cursor = match &self.cursor {
            Ok(cursor) => cursor,
            Err(error) => {
                let detail = format!("the cursor can't be read: {error}");
                self.find(Kind::CursorUnreadable, detail);
                if let Some(damage) = damage {
                    self.find(Kind::Row, damage.to_string());
                }
                return;
            }
        };
        let (published, through) = (cursor.published_through, self.through);
        if let Some(block) = cursor.blocked() {
            let (sequence, since, reason) = (block.sequence, block.since, &block.reason);
            let (kind, detail) = if block.is_cursor_ahead() {
                (Kind::CursorAhead, format!("since {since}: {reason}"))
            } else if block.is_reset() {
                (Kind::Unpublished, format!("since {since}: {reason}"))
            } else {
                let detail = format!("at event {sequence} since {since}: {reason}");
                (Kind::Blocked, detail)
            };
            self.find(kind, detail);
        } else if let Some(damage) = damage {
            self.find(Kind::Row, damage.to_string());
            // The translator may block the aggregate at this row soon.
            self.is_lagging |= published <= through;
        } else if published > through {
            let detail = format!(
                "the cursor is at event {published}, but there are only {}",
                events(through.get())
            );
            self.find(Kind::CursorAhead, detail);
        } else if let Some(Parked { through, since }) = cursor.parked() {
            let detail = format!(
                "published through event {published} of {through} since {since}; the reconciler \
                 publishes the others"
            );
            self.find(Kind::Parked, detail);
            self.is_lagging = true;
        } else if published < wanted {
            let detail =
                format!("published through event {published}, but the last event is {through}");
            self.find(Kind::Unpublished, detail);
            self.is_lagging = true;
        }
    }

    fn judge_view(
        &mut self,
        has_item: bool,
        then: Option<&View<V>>,
        is_damaged: bool,
        wanted: Sequence,
    ) {
        if self.through == Sequence::NONE && !is_damaged {
            if has_item {
                self.find(Kind::ViewWithoutEvents, "there are no events".to_owned());
            }
            return;
        }
        let view = match &self.view {
            Ok(view) => view.as_ref(),
            Err(error) => {
                let detail = format!("the view can't be read: {error}");
                return self.find(Kind::ViewDiffers, detail);
            }
        };
        let at = view.map_or(Sequence::NONE, |view| view.sequence);
        let marked = self.stale.as_ref().map_or_else(String::new, |stale| {
            format!("; stale since {}: {}", stale.since, stale.reason)
        });
        // If the cursor can't be read, all events in the table count as published.
        let published = match &self.cursor {
            Ok(cursor) => cursor.published_through.min(wanted),
            Err(_) => wanted,
        };
        if at > self.through {
            if !is_damaged {
                let detail = format!(
                    "the view is at event {at}, but there are only {}",
                    events(self.through.get())
                );
                self.find(Kind::ViewDiffers, detail);
            }
        } else if view != then {
            let detail = format!("the view at event {at} is not the fold of the events");
            self.find(Kind::ViewDiffers, detail);
        } else if at < published {
            self.is_lagging |= self.stale.is_none();
            let detail = format!(
                "the view is at event {at}, but events are published through {published}{marked}"
            );
            self.find(Kind::ViewLagging, detail);
        } else if let Some(stale) = &self.stale {
            let detail = format!("since {}: {}", stale.since, stale.reason);
            self.find(Kind::ViewStale, detail);
        }
    }

    fn judge_history(&mut self, history: History) {
        let History {
            missing,
            differing,
            stray,
        } = history;
        if let Some((count, first)) = missing {
            let items = plural(count, "item is", "items are");
            let detail = format!("{items} missing, the first at sequence {first}");
            self.find(Kind::HistoryMissing, detail);
        }
        if let Some((count, first)) = differing {
            let items = plural(count, "item differs", "items differ");
            let detail = format!("{items} from the events, the first at sequence {first}");
            self.find(Kind::HistoryDiffers, detail);
        }
        if let Some((count, first)) = stray {
            let items = plural(count, "item belongs", "items belong");
            let detail = format!("{items} to no event, the first at {first}");
            self.find(Kind::HistoryStray, detail);
        }
    }
}
