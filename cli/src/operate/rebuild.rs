//! `millrace rebuild`: compares a read model with the events table, and replaces the items that differ.
//! [`Rebuilder`] does the same with any [`Source`] of events.
//!
//! Each aggregate is folded from the events table and compared with its items in the read model. A view is
//! one item, which is replaced by one write on the condition that its revision is still the one that was
//! read. History items are put by their sequence. Queries read the history only up to the view's sequence, so
//! a query returns an aggregate either as it was before or as it is after the rebuild. The projector
//! continues during the rebuild.
//!
//! Every aggregate has its own outcome. Correct items aren't written. A run that was killed can be started
//! again; it then compares all aggregates again.

use std::collections::{BTreeSet, VecDeque};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
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
use super::fold::{Damage, Fold, Source};
use super::ports::ReadModelRepair;
use super::roles::{self, Role};
use super::{CONCURRENCY, aggregates, outcome};
use crate::application::plural;
use crate::args::{Model, Rebuild};
use crate::output::{self, Output};

/// The maximum number of comparisons of an aggregate's view or history, if the projector changes it during
/// each.
const MAX_TRIES: u32 = 20;
/// The maximum number of retries of an aggregate after service errors.
const MAX_RETRIES: u32 = 4;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
/// The number of the newest views of a fold that are kept, to compare them with a view that the projector
/// saved during the fold.
const KEPT_VIEWS: usize = 1_000;
/// The number of history items per put.
const CHUNK: usize = 100;

/// The services that rebuild a read model.
#[derive(Debug, Clone)]
pub struct Rebuilder<D, S, M, A> {
    /// The domain.
    pub domain: D,
    /// The source of the events.
    pub events: S,
    /// The read models.
    pub model: M,
    /// The clock, and the source of ids and random numbers.
    pub ambient: A,
}

/// The outcome of the rebuild of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The read model is the fold of the events 1 to `through`.
    Right {
        /// The sequence of the last event that it includes.
        through: Sequence,
        /// The number of items that were written or removed.
        changed: usize,
    },
    /// The source has no events of the aggregate. Contains the number of removed items. If the source doesn't
    /// have all events, no item is removed.
    Removed(usize),
    /// An event can't be read. The read model is correct up to `through`, the event before it. Items of later
    /// events were not changed.
    Damaged {
        /// The sequence of the last event that could be read.
        through: Sequence,
        /// Why the next event can't be read.
        damage: Damage,
    },
    /// The read model may differ from the events: a service failed, or the projector changed it in each
    /// attempt.
    Incomplete(String),
}

/// Why an attempt to rebuild an aggregate ended early.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// A service failed. The attempt is retried.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A view or a history entry can't be encoded as an item. A retry would fail in the same way.
    #[error("an item can't be encoded: {0}")]
    Encode(#[from] EncodeError),
}

/// The result of a run over many aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The number of aggregates in the run.
    pub aggregates: usize,
    /// The number of aggregates whose read model is correct now: the fold of the events, or removed if there
    /// are none.
    pub right: usize,
    /// The number of aggregates of which items were written or removed.
    pub changed: usize,
    /// The number of aggregates without events.
    pub removed: usize,
}

impl Summary {
    /// Whether every aggregate's read model is correct.
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

/// What happens to items that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Differing {
    Replace,
    /// They stay as they are.
    Count,
}

impl<D: Project, S: Source<D>, M: ReadModelRepair, A: Ambient> Rebuilder<D, S, M, A> {
    /// Rebuilds many aggregates, several of them concurrently, and calls `report` with each outcome.
    ///
    /// # Errors
    /// The errors of `report`, which end the run.
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
        self.with_retries(model, aggregate, Differing::Replace)
            .await
    }

    /// Compares one aggregate as [`rebuild`](Self::rebuild) does, and writes nothing. The outcome contains the
    /// number of items that differ. Service errors are retried.
    pub async fn compare(&self, model: Model, aggregate: &str) -> Outcome {
        self.with_retries(model, aggregate, Differing::Count).await
    }

    async fn with_retries(&self, model: Model, aggregate: &str, differing: Differing) -> Outcome {
        let mut retry = 0;
        loop {
            let outcome = match model {
                Model::Views => self.view(aggregate, differing).await,
                Model::History => self.history(aggregate, differing).await,
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

    /// Replaces the view unless it is the fold of its events. The item is read before the last event is. So
    /// if the item is ahead of the fold, or is marked stale, an event that was appended after the fold isn't
    /// the reason.
    async fn view(&self, aggregate: &str, differing: Differing) -> Result<Outcome, Failed> {
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
                    (None, Some(_)) if fold.may_continue() => return Ok(Outcome::Removed(0)),
                    (None, Some(_)) if differing == Differing::Count => {
                        return Ok(Outcome::Removed(1));
                    }
                    (None, None) => return Ok(Outcome::Removed(removed)),
                    (None, Some(item)) => {
                        // If events have been appended since the read, the next attempt writes the view
                        // again.
                        if self.model.delete_view(aggregate, &item).await? == Saved::Stored {
                            removed += 1;
                        }
                    }
                }
                continue;
            };
            // The view may include events after the unreadable row, applied while the row was still readable, or
            // events that the source doesn't have.
            let is_ahead = matches!(&read, Ok(Some(view)) if view.sequence > through);
            let kept = stale.filter(|stale| fold.may_continue() && stale.until > through);
            let is_right = match &read {
                Ok(Some(view)) if attempt == 0 => view == right,
                // In later attempts, the projector may have saved an earlier view of the fold.
                Ok(Some(view)) => newest.contains(view),
                _ => false,
            };
            let is_marked = live.as_ref().and_then(Stale::read) != kept;
            if (is_right && !is_marked) || (is_ahead && fold.may_continue()) {
                return Ok(outcome(&fold, 0, read.ok().flatten()));
            }
            if differing == Differing::Count {
                return Ok(outcome(&fold, 1, Some(right.clone())));
            }
            let is_behind = match &read {
                Ok(Some(view)) => view.sequence < through,
                _ => true,
            };
            if is_behind {
                // The projector skips events that the view includes, so the history must include them first.
                let history = self.history(aggregate, Differing::Replace).await?;
                if let incomplete @ Outcome::Incomplete(_) = history {
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

    /// Puts history items that are missing or wrong, and removes those that belong to no event. It repeats
    /// the pass over the history until a pass changes nothing.
    async fn history(&self, aggregate: &str, differing: Differing) -> Result<Outcome, Failed> {
        let mut changed = 0;
        let mut upto = None;
        for _ in 0..MAX_TRIES {
            let pass = self.history_pass(aggregate, upto, differing).await?;
            changed += pass.changed;
            upto.get_or_insert(pass.through);
            if pass.changed == 0 || differing == Differing::Count {
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

    /// Reads the history and the events once, in parallel by sequence, and repairs the history, up to the
    /// event `upto` if it is given.
    async fn history_pass(
        &self,
        aggregate: &str,
        upto: Option<Sequence>,
        differing: Differing,
    ) -> Result<Pass, Failed> {
        let mut fold = Fold::new(&self.domain, &self.events, aggregate);
        let mut items = Items::new(&self.model, aggregate);
        let mut item = items.next().await?;
        let mut event = fold.next().await?;
        let mut put = Vec::new();
        let (mut changed, mut has_deleted) = (0, false);
        loop {
            if event.is_none() && fold.damage().is_none() && (item.is_some() || has_deleted) {
                // Read the events again, after the item and after the last removal: the item may belong to a
                // new event.
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
                        (Some(here), None) if fold.may_continue() && here > fold.through() => {
                            break;
                        }
                        _ => {
                            // The item isn't removed if the projector has changed it since the read. The next
                            // pass reads it again.
                            if differing == Differing::Replace {
                                let columns = field_names::<D::Entry>();
                                self.model.delete_history(read, columns).await?;
                                has_deleted = true;
                            }
                            changed += 1;
                            item = items.next().await?;
                        }
                    }
                }
            }
            if put.len() == CHUNK {
                changed += put.len();
                self.put(std::mem::take(&mut put), differing).await?;
            }
        }
        changed += put.len();
        self.put(put, differing).await?;
        Ok(Pass {
            through: fold.through(),
            damage: fold.damage().cloned(),
            changed,
        })
    }

    async fn put(&self, items: Vec<Attributes>, differing: Differing) -> Result<(), ServiceError> {
        match differing {
            Differing::Replace => history::put_all(&self.model, &self.ambient, items).await,
            Differing::Count => Ok(()),
        }
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

fn outcome<D: Project, S: Source<D>>(
    fold: &Fold<'_, D, S>,
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

/// The sequence in a history item's key; `None` if it isn't a valid sequence of an event.
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
        // The history must include all events of a view, so it is repaired too.
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
                "would compare {} with the events, and replace what differs",
                output.words.count(ids.len())
            ),
            &json!({ (collection): ids.len() }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let step = progress.start("Rebuilding");
    let (total, mut done) = (ids.len(), 0);
    let rebuilder = deployment.rebuilder();
    let width = output::width(&ids);
    let summary = rebuilder
        .rebuild_all(rebuild.model, &ids, |id, outcome| {
            done += 1;
            step.counted(done, total);
            print(id, width, outcome, output)
        })
        .await?;
    step.done();
    print_summary(summary, &repeat(rebuild, output), output)
}

/// The command that rebuilds what this run could not rebuild.
fn repeat(rebuild: &Rebuild, output: Output) -> String {
    let model = match rebuild.model {
        Model::Views => output.words.collection,
        Model::History => output.words.history,
    };
    match &rebuild.id {
        Some(id) => format!("rebuild {model} --{} {id}", output.words.noun),
        None => format!("rebuild {model}"),
    }
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

fn print(id: &str, width: usize, outcome: &Outcome, output: Output) -> Result<()> {
    let noun = output.words.noun;
    let items = |number| plural(number, "item", "items");
    match outcome {
        Outcome::Right { changed: 0, .. } | Outcome::Removed(0) => Ok(()),
        Outcome::Right { through, changed } => output.outcome(
            '✓',
            id,
            width,
            format_args!(
                "rebuilt through event {through}; {} changed",
                items(*changed)
            ),
            &json!({ (noun): id, "through": through, "changed": changed }),
        ),
        Outcome::Removed(removed) => output.outcome(
            '✓',
            id,
            width,
            format_args!("has no events; {} removed", items(*removed)),
            &json!({ (noun): id, "removed": removed }),
        ),
        Outcome::Damaged { through, damage } => output.outcome(
            '✗',
            id,
            width,
            format_args!("correct through event {through}, but {damage}"),
            &json!({ (noun): id, "through": through, "damage": damage.to_string() }),
        ),
        Outcome::Incomplete(reason) => output.outcome(
            '✗',
            id,
            width,
            format_args!("incomplete: {reason}"),
            &json!({ (noun): id, "incomplete": true, "reason": reason }),
        ),
    }
}

/// Prints the summary of a run and the next command. `repeat` is the command that rebuilds what this run could
/// not rebuild.
fn print_summary(summary: Summary, repeat: &str, output: Output) -> Result<ExitCode> {
    let Summary {
        aggregates,
        right,
        changed,
        removed,
    } = summary;
    let sign = if summary.is_complete() { '✓' } else { '✗' };
    output.line(
        format_args!(
            "{sign} {right} of {} equal to the fold of the events: {changed} changed, {removed} without \
             events removed",
            output.words.count(aggregates)
        ),
        &json!({
            "parity": summary.is_complete(), (output.words.collection): aggregates, "right": right,
            "changed": changed, "removed": removed,
        }),
    )?;
    if summary.is_complete() {
        return Ok(ExitCode::SUCCESS);
    }
    outcome::advise_repeating(repeat, output)
}

#[cfg(test)]
mod tests {
    use super::super::verify::NOT_WELL;
    use super::*;
    use crate::output::Format;

    #[test]
    fn a_summary_counts_the_correct_changed_and_removed_aggregates() {
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
        let output = Output::of(Format::Json);
        for (right, code) in [(2, ExitCode::SUCCESS), (1, ExitCode::from(NOT_WELL))] {
            let summary = Summary {
                aggregates: 2,
                right,
                ..Summary::default()
            };
            let printed = print_summary(summary, "rebuild accounts", output);
            assert_eq!(printed.expect("printed"), code);
        }
    }
}
