//! `millrace rebuild`: brings a read model in line with the events.
//!
//! Each aggregate is folded from the events table and compared with what the read model has of it;
//! what differs is replaced. A view is one item, replaced by one write that is conditional on the
//! revision that was read. History items are put by their sequence, below the view that says how many
//! there are. So a reader sees an aggregate as it was or as it is, and the projector continues
//! throughout.
//!
//! Every aggregate has an outcome of its own. What is right is left alone, so a run that was killed
//! can be started again, and then reads everything again.

use std::collections::{BTreeSet, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::stream::{self, StreamExt as _};
use millrace_core::decode::field_names;
use millrace_core::view::{self, ViewOf};
use millrace_core::{Attribute, Attributes, EncodeError, HistoryEntry, Project, Sequence, View};
use millrace_local_stack::progress::Progress;
use millrace_projector::adapters::dynamodb::Tables;
use millrace_projector::history;
use millrace_projector::ports::{REVISION, Saved};
use millrace_projector::stale::Stale;
use millrace_runtime::{Ambient, Backoff, Chain, ServiceError, System};
use millrace_translator::adapters::dynamodb::EventsTable;
use serde_json::json;

use super::deployment::Deployment;
use super::fold::{Damage, Fold};
use super::ports::{EventLog, ReadModelRepair};
use super::roles::{self, Role};
use super::verify::NOT_WELL;
use super::{CONCURRENCY, aggregates};
use crate::args::{Model, Rebuild};
use crate::output::Output;

/// How often an aggregate's view is compared again because the projector changed it meanwhile.
const MAX_TRIES: u32 = 20;
/// How often an aggregate is tried again after a service error.
const MAX_RETRIES: u32 = 4;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// How many of the newest views of a fold are kept, to compare one that the projector saved meanwhile.
const KEPT_VIEWS: usize = 1_000;
/// How many history items are put at once.
const CHUNK: usize = 100;

/// The services that a read model is rebuilt with.
#[derive(Debug, Clone)]
pub struct Rebuilder<D, L, M, A> {
    /// The domain.
    pub domain: D,
    /// The events table.
    pub events: L,
    /// The read models.
    pub model: M,
    /// Time, ids and randomness.
    pub ambient: A,
}

/// How rebuilding an aggregate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The read model is the fold of the events 1 to `through`.
    Right {
        /// The last event that it includes.
        through: Sequence,
        /// How many items were written or removed.
        changed: usize,
    },
    /// The aggregate has no events; so many items were removed.
    Removed(usize),
    /// An event can't be read. The read model is right up to `through`, the event before it; what it
    /// has of later events was left as it was.
    Damaged {
        /// The last event that could be read.
        through: Sequence,
        /// What is wrong with the next.
        damage: Damage,
    },
    /// It isn't known to be right: a service failed, or the projector changed it every time.
    Incomplete(String),
}

/// Why an attempt to rebuild an aggregate ended early.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// A service failed; the aggregate is tried again.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The domain's type of a view or a history entry has no form; a retry fails in the same way.
    #[error("an item can't be encoded: {0}")]
    Encode(#[from] EncodeError),
}

/// How a run over many aggregates ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Aggregates that were tried.
    pub aggregates: usize,
    /// Those of them that are right now, the removed ones included.
    pub right: usize,
    /// Those of them of which something was written or removed.
    pub changed: usize,
    /// Those of them that had no events.
    pub removed: usize,
}

impl Summary {
    /// Whether every aggregate is right.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.right == self.aggregates
    }

    fn count(&mut self, outcome: &Outcome) {
        self.aggregates += 1;
        match outcome {
            Outcome::Right { changed, .. } => {
                self.right += 1;
                self.changed += usize::from(*changed > 0);
            }
            Outcome::Removed(items) => {
                self.right += 1;
                self.removed += 1;
                self.changed += usize::from(*items > 0);
            }
            Outcome::Damaged { .. } | Outcome::Incomplete(_) => {}
        }
    }
}

impl<D: Project, L: EventLog, M: ReadModelRepair, A: Ambient> Rebuilder<D, L, M, A> {
    /// Rebuilds many aggregates, several at once, and reports each one's outcome as it ends.
    ///
    /// # Errors
    /// Those of `report`; they end the run.
    pub async fn rebuild_all(
        &self,
        model: Model,
        aggregates: &BTreeSet<String>,
        mut report: impl FnMut(&str, &Outcome) -> Result<()>,
    ) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut outcomes = std::pin::pin!(
            stream::iter(aggregates)
                .map(async |id| (id, self.rebuild(model, id).await))
                .buffer_unordered(CONCURRENCY)
        );
        while let Some((id, outcome)) = outcomes.next().await {
            summary.count(&outcome);
            report(id, &outcome)?;
        }
        Ok(summary)
    }

    /// Rebuilds one aggregate. Service errors are retried.
    pub async fn rebuild(&self, model: Model, aggregate: &str) -> Outcome {
        let mut retry = 0;
        loop {
            let outcome = match model {
                Model::Views => self.view(aggregate).await,
                Model::History => self.history(aggregate).await,
            };
            match outcome {
                Ok(outcome) => return outcome,
                Err(Failed::Service(_)) if retry < MAX_RETRIES => {
                    tokio::time::sleep(BACKOFF.delay(retry, &self.ambient)).await;
                }
                Err(error) => return Outcome::Incomplete(Chain(&error).to_string()),
            }
            retry += 1;
        }
    }

    /// Replaces the view unless it is the fold of its events. The item is read before the last event
    /// is, so events that the fold lacks are no explanation of an item that is ahead of it, nor of a
    /// stale mark.
    async fn view(&self, aggregate: &str) -> Result<Outcome, Failed> {
        let mut fold = Fold::new(&self.domain, &self.events, aggregate);
        let mut newest: VecDeque<ViewOf<D>> = VecDeque::new();
        let mut removed = 0;
        for attempt in 0..MAX_TRIES {
            let live = self.model.view(aggregate).await?;
            fold.look_again();
            fold.finish(|folded| {
                if newest.len() == KEPT_VIEWS {
                    newest.pop_front();
                }
                newest.push_back(folded.view.clone());
            })
            .await?;
            let through = fold.through();
            let read = live.as_ref().map_or(Ok(None), View::read);
            let stale = live.as_ref().and_then(Stale::read);
            let Some(right) = fold.view() else {
                match (fold.damage(), live) {
                    (Some(damage), _) => return Ok(damaged(through, damage)),
                    (None, None) => return Ok(Outcome::Removed(removed)),
                    (None, Some(item)) => {
                        // The next attempt restores it if events have come since they were read.
                        if self.model.delete_view(aggregate, &item).await? == Saved::Stored {
                            removed += 1;
                        }
                    }
                }
                continue;
            };
            // Events after the damaged row may have been applied before it was damaged.
            let is_ahead = matches!(&read, Ok(Some(view)) if view.sequence > through);
            let kept = stale.filter(|stale| fold.damage().is_some() && stale.until > through);
            let is_right = match &read {
                Ok(Some(view)) if attempt == 0 => view == right,
                // The projector has updated the view correctly.
                Ok(Some(view)) => newest.contains(view),
                _ => false,
            };
            let is_marked = live.as_ref().and_then(Stale::read) != kept;
            if (is_right && !is_marked) || (is_ahead && fold.damage().is_some()) {
                return Ok(outcome(&fold, 0, read.ok().flatten()));
            }
            let is_behind = match &read {
                Ok(Some(view)) => view.sequence < through,
                _ => true,
            };
            if is_behind {
                // The projector skips what the view includes, so the history has to have it first.
                if let incomplete @ Outcome::Incomplete(_) = self.history(aggregate).await? {
                    return Ok(incomplete);
                }
            }
            let mut item = right.to_item()?;
            item.insert(
                REVISION.to_owned(),
                Attribute::text(self.ambient.unique_id()),
            );
            item.extend(kept.iter().flat_map(|stale| stale.to_attributes(aggregate)));
            if self.model.save_view(item, live.as_ref()).await? == Saved::Stored {
                let right = right.clone();
                return Ok(outcome(&fold, 1, Some(right)));
            }
        }
        Ok(Outcome::Incomplete(
            "the view changed before each attempt to replace it".to_owned(),
        ))
    }

    /// Puts history items that are missing or wrong, and removes those that belong to no event. Reads
    /// the history again until a pass changes nothing.
    async fn history(&self, aggregate: &str) -> Result<Outcome, Failed> {
        let mut changed = 0;
        let mut upto = None;
        for _ in 0..MAX_TRIES {
            let pass = self.history_pass(aggregate, upto).await?;
            changed += pass.changed;
            upto.get_or_insert(pass.through);
            if pass.changed == 0 {
                let through = upto.unwrap_or(pass.through);
                return Ok(match pass.damage {
                    Some(damage) => damaged(pass.through, &damage),
                    None if through == Sequence::NONE => Outcome::Removed(changed),
                    None => Outcome::Right { through, changed },
                });
            }
        }
        Ok(Outcome::Incomplete(
            "the history differed from the events in each attempt".to_owned(),
        ))
    }

    /// Goes through the history and the events once, side by side; up to the event `upto` where that
    /// is given.
    async fn history_pass(&self, aggregate: &str, upto: Option<Sequence>) -> Result<Pass, Failed> {
        let mut fold = Fold::new(&self.domain, &self.events, aggregate);
        let mut items = Items::new(&self.model, aggregate);
        let mut item = items.next().await?;
        let mut event = fold.next().await?;
        let mut put = Vec::new();
        let (mut changed, mut has_deleted) = (0, false);
        loop {
            if event.is_none() && fold.damage().is_none() && (item.is_some() || has_deleted) {
                // The events are read again after the item and after the last removal: a new event
                // may explain the item.
                has_deleted = false;
                fold.look_again();
                event = fold.next().await?;
            }
            let is_beyond = |sequence| upto.is_some_and(|upto| sequence > upto);
            match (&item, &event) {
                (None, None) => break,
                (None, Some(folded)) if is_beyond(folded.entry.sequence) => break,
                (None, Some(folded)) => {
                    put.push(folded.entry.to_item()?);
                    event = fold.next().await?;
                }
                (Some(read), next) => {
                    let here = sequence_of(read);
                    let next = next.as_ref().map(|folded| &folded.entry);
                    match (here, next) {
                        (Some(here), Some(entry)) if here == entry.sequence => {
                            if HistoryEntry::read(read).as_ref() != Ok(entry) {
                                put.push(entry.to_item()?);
                            }
                            item = items.next().await?;
                            event = fold.next().await?;
                        }
                        (Some(here), Some(entry)) if here > entry.sequence => {
                            put.push(entry.to_item()?);
                            event = fold.next().await?;
                        }
                        // The item may belong to an event after the one that can't be read.
                        (Some(here), None) if fold.damage().is_some() && here > fold.through() => {
                            break;
                        }
                        _ => {
                            // Not removed if the projector changed it meanwhile: the next pass reads
                            // it.
                            let columns = field_names::<D::Entry>();
                            self.model.delete_history(read, columns).await?;
                            (changed, has_deleted) = (changed + 1, true);
                            item = items.next().await?;
                        }
                    }
                }
            }
            if put.len() == CHUNK {
                changed += put.len();
                history::put_all(&self.model, &self.ambient, std::mem::take(&mut put)).await?;
            }
        }
        changed += put.len();
        history::put_all(&self.model, &self.ambient, put).await?;
        Ok(Pass {
            through: fold.through(),
            damage: fold.damage().cloned(),
            changed,
        })
    }
}

struct Pass {
    through: Sequence,
    damage: Option<Damage>,
    changed: usize,
}

fn damaged(through: Sequence, damage: &Damage) -> Outcome {
    Outcome::Damaged {
        through,
        damage: damage.clone(),
    }
}

fn outcome<D: Project, L: EventLog>(
    fold: &Fold<'_, D, L>,
    changed: usize,
    view: Option<ViewOf<D>>,
) -> Outcome {
    match fold.damage() {
        Some(damage) => damaged(fold.through(), damage),
        None => Outcome::Right {
            through: view.map_or(fold.through(), |view| view.sequence),
            changed,
        },
    }
}

/// The sequence in a history item's key; `None` where it can be no event's.
pub(super) fn sequence_of(item: &Attributes) -> Option<Sequence> {
    let number = item.get(view::SEQUENCE)?.as_integer()?;
    u64::try_from(number)
        .ok()
        .and_then(Sequence::new)
        .filter(|sequence| *sequence != Sequence::NONE)
}

/// An aggregate's history items, page by page.
pub(super) struct Items<'a, M> {
    model: &'a M,
    aggregate: &'a str,
    page: VecDeque<Attributes>,
    last: Option<Attributes>,
    more: bool,
}

impl<'a, M: ReadModelRepair> Items<'a, M> {
    pub(super) const fn new(model: &'a M, aggregate: &'a str) -> Self {
        Self {
            model,
            aggregate,
            page: VecDeque::new(),
            last: None,
            more: true,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Attributes>, ServiceError> {
        while self.page.is_empty() && self.more {
            let page = self.model.history_page(self.aggregate, self.last.as_ref());
            let page = page.await?;
            self.page = page.items.into();
            self.more = page.last.is_some();
            self.last = page.last;
        }
        Ok(self.page.pop_front())
    }
}

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    rebuild: &Rebuild,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let collection = output.words.collection;
    let (written, table) = match rebuild.model {
        // The history has to include what a view includes, so it is repaired too.
        Model::Views => (
            &[Role::Views, Role::History][..],
            &deployment.names.view_table,
        ),
        Model::History => (&[Role::History][..], &deployment.names.history_table),
    };
    roles::check(deployment, &[Role::Events]).await?;
    roles::check(deployment, written).await?;
    let ids: BTreeSet<String> = if let Some(id) = &rebuild.id {
        [id.to_string()].into()
    } else {
        let step = progress.start(format!("Listing {collection}"));
        let mut ids = aggregates::all(deployment, &step).await?;
        ids.extend(aggregates::ids(&deployment.clients.dynamodb, table, &step).await?);
        step.done();
        ids
    };
    if rebuild.dry_run {
        output.result(
            format_args!(
                "would compare {} {collection} with their events, and replace what differs",
                ids.len()
            ),
            &json!({ (collection): ids.len() }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let step = progress.start("Rebuilding");
    let (total, mut done) = (ids.len(), 0);
    let rebuilder = deployment.rebuilder();
    let summary = rebuilder
        .rebuild_all(rebuild.model, &ids, |id, outcome| {
            done += 1;
            step.counted(done, total);
            print(id, outcome, output)
        })
        .await?;
    step.done();
    print_summary(summary, output).context("could not print the summary")
}

impl<D: Project + Clone> Deployment<D> {
    fn rebuilder(&self) -> Rebuilder<D, EventsTable, Tables, System> {
        Rebuilder {
            domain: self.domain(),
            events: self.events(),
            model: self.read_models(),
            ambient: System,
        }
    }
}

fn print(id: &str, outcome: &Outcome, output: Output) -> Result<()> {
    match outcome {
        Outcome::Right { changed: 0, .. } | Outcome::Removed(0) => Ok(()),
        Outcome::Right { through, changed } => output.result(
            format_args!("✓ {id}: rebuilt through event {through}; {changed} items changed"),
            &json!({ (output.words.noun): id, "through": through, "changed": changed }),
        ),
        Outcome::Removed(items) => output.result(
            format_args!("✓ {id}: it has no events; {items} items removed"),
            &json!({ (output.words.noun): id, "removed": items }),
        ),
        Outcome::Damaged { through, damage } => output.result(
            format_args!("✗ {id}: correct through event {through}, but {damage}"),
            &json!({ (output.words.noun): id, "through": through, "damage": damage.to_string() }),
        ),
        Outcome::Incomplete(reason) => output.result(
            format_args!("✗ {id}: incomplete: {reason}"),
            &json!({ (output.words.noun): id, "incomplete": true, "reason": reason }),
        ),
    }
}

fn print_summary(summary: Summary, output: Output) -> Result<ExitCode> {
    let Summary {
        aggregates,
        right,
        changed,
        removed,
    } = summary;
    let collection = output.words.collection;
    let verdict = if summary.is_complete() {
        "Parity"
    } else {
        "No parity"
    };
    output.result(
        format_args!(
            "{verdict}: {right} of {aggregates} {collection} are the fold of their events; {changed} \
             were changed, {removed} without events removed."
        ),
        &json!({
            "parity": summary.is_complete(), (collection): aggregates, "right": right,
            "changed": changed, "removed": removed,
        }),
    )?;
    Ok(if summary.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Words;
    use crate::output::Format;

    #[test]
    fn a_summary_counts_what_is_right_changed_and_removed() {
        let right = |changed| Outcome::Right {
            through: Sequence::FIRST,
            changed,
        };
        let mut summary = Summary::default();
        for outcome in [
            right(0),
            right(1),
            right(2),
            Outcome::Removed(0),
            Outcome::Removed(3),
            Outcome::Removed(4),
        ] {
            summary.count(&outcome);
        }
        let expected = Summary {
            aggregates: 6,
            right: 6,
            changed: 4,
            removed: 3,
        };
        assert_eq!(summary, expected);
        assert!(summary.is_complete());
        summary.count(&Outcome::Incomplete("a reason".to_owned()));
        assert_eq!((summary.aggregates, summary.right), (7, 6));
        assert!(!summary.is_complete());
    }

    #[test]
    fn a_run_that_left_an_aggregate_wrong_fails() {
        let output = Output {
            format: Format::Json,
            words: Words::ACCOUNT,
        };
        for (right, code) in [(2, ExitCode::SUCCESS), (1, ExitCode::from(NOT_WELL))] {
            let summary = Summary {
                aggregates: 2,
                right,
                ..Summary::default()
            };
            assert_eq!(print_summary(summary, output).expect("printed"), code);
        }
    }
}
