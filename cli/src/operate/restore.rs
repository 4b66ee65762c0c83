//! `millrace restore --from lake`: rebuilds the read models from the lake alone.
//!
//! The lake's records of each aggregate are read from Athena, compared with the events table, and folded into
//! view and history, as `rebuild` folds the events table. `restore` is for the case that the events table can't
//! be read, and shows whether the lake could replace it.
//!
//! An event can be restored only if the lake has all events before it, and if no record of them contradicts
//! another record or the events table. Later events and the items of later events stay as they are: they may
//! not have reached the lake yet. If the events table has no events of an aggregate, or can't be read, the
//! aggregate is restored without a comparison.
//!
//! A run that was killed can be started again; it then compares all aggregates again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Result, bail};
use futures_util::stream::{self, Stream, StreamExt as _};
use millrace_core::{AggregateId, Project, Sequence, Timestamp, View, ViewOf};
use millrace_local_stack::progress::Progress;
use millrace_runtime::{Ambient, Chain, ServiceError, System};
use serde_json::json;

use super::athena::AthenaLake;
use super::days::Days;
use super::deployment::Deployment;
use super::lake::in_slices;
use super::ports::{EventLog, Lake, LakeRecord, Pages, ReadModelRepair};
use super::rebuild::{Outcome, Rebuilder};
use super::records::{InLake, Merged, Spool};
use super::roles::{self, Role};
use super::survey::{Kind, Survey, survey};
use super::verify::{LAKE_DELAY_MILLIS, NOT_WELL};
use super::{CONCURRENCY, aggregates, outcome};
use crate::application::plural;
use crate::args::{Model, Restore};
use crate::output::{self, Output};

/// How long an event may take to the lake of a local stack, which has no buffers.
const LOCAL_LAKE_DELAY_MILLIS: i64 = 10 * 1000;

/// The services that restore the read models.
#[derive(Debug, Clone)]
pub(crate) struct Restorer<D, L, M, A> {
    pub(crate) domain: D,
    /// The events table; `None` if it can't be read.
    pub(crate) events: Option<L>,
    pub(crate) model: M,
    pub(crate) ambient: A,
    /// Events that happened later may not have reached the lake yet.
    pub(crate) settled_before: Timestamp,
    /// Whether items are only compared.
    pub(crate) is_dry_run: bool,
}

/// The outcome of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Restored {
    pub(crate) survey: Survey,
    /// The sequence through which view and history are correct now.
    pub(crate) through: Sequence,
    /// The number of items that were written or removed, or that would be.
    pub(crate) changed: usize,
    /// Why view or history may differ from the lake.
    pub(crate) incomplete: Option<String>,
}

impl Restored {
    /// Whether the lake has all events that it must have, and view and history are the fold of them.
    fn is_right(&self) -> bool {
        self.survey.findings.is_empty() && self.incomplete.is_none()
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    aggregates: usize,
    /// The number of aggregates without findings, whose read models are the fold of their records.
    right: usize,
    /// The number of aggregates of which items were written or removed.
    changed: usize,
    /// The number of aggregates that could not be compared with the events table.
    not_compared: usize,
    /// The number of aggregates with events that are not yet in the lake.
    not_yet: usize,
    findings: BTreeMap<Kind, usize>,
}

impl Summary {
    fn count(&mut self, restored: &Restored) {
        let survey = &restored.survey;
        self.aggregates += 1;
        self.right += usize::from(restored.is_right());
        self.changed += usize::from(restored.changed > 0);
        self.not_compared += usize::from(survey.not_compared.is_some());
        self.not_yet += usize::from(survey.not_yet > 0);
        for (kind, count) in &survey.findings.count {
            *self.findings.entry(*kind).or_default() += count;
        }
    }

    const fn is_complete(&self) -> bool {
        self.right == self.aggregates
    }
}

impl<D, L, M, A> Restorer<D, L, M, A>
where
    D: Project + Clone,
    L: EventLog,
    M: ReadModelRepair + Clone,
    A: Ambient + Clone,
{
    /// Restores all aggregates that have records, and then examines the `others`, which may include the same
    /// aggregates. Several are processed concurrently. `report` is called with each outcome.
    ///
    /// # Errors
    /// If the records can't be read, and the errors of `report`.
    pub(crate) async fn restore_all<P: Pages<LakeRecord>>(
        &self,
        records: Merged<P>,
        mut others: BTreeSet<String>,
        mut report: impl FnMut(&str, &Restored) -> Result<()>,
    ) -> Result<Summary> {
        let mut summary = Summary::default();
        let read = stream::unfold(Some(records), async |records| {
            let mut records = records?;
            match records.next().await {
                Ok(Some(aggregate)) => Some((Ok(aggregate), Some(records))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let mut add = |id: &str, restored: &Restored| {
            summary.count(restored);
            report(id, restored)
        };
        self.restore_each(read, |id, restored| {
            others.remove(id);
            add(id, restored)
        })
        .await?;
        let others = others.into_iter().map(|id| Ok((id, Spool::new())));
        self.restore_each(stream::iter(others), add).await?;
        Ok(summary)
    }

    async fn restore_each(
        &self,
        aggregates: impl Stream<Item = Result<(String, Spool), ServiceError>>,
        mut report: impl FnMut(&str, &Restored) -> Result<()>,
    ) -> Result<()> {
        let mut outcomes = std::pin::pin!(
            aggregates
                .map(async |aggregate| {
                    let (id, spool) = aggregate?;
                    let restored = self.restore(&id, &spool).await?;
                    Ok::<_, ServiceError>((id, restored))
                })
                .buffer_unordered(CONCURRENCY)
        );
        while let Some(outcome) = outcomes.next().await {
            let (id, restored) = outcome?;
            report(&id, &restored)?;
        }
        Ok(())
    }

    /// Restores one aggregate from its records.
    ///
    /// # Errors
    /// [`ServiceError`]: the records can't be read. Errors of other services are part of the outcome.
    pub(crate) async fn restore(&self, id: &str, spool: &Spool) -> Result<Restored, ServiceError> {
        let events = self.events.as_ref();
        let survey = survey(&self.domain, events, id, spool, self.settled_before).await?;
        let good = survey.good;
        let mut restored = Restored {
            survey,
            through: good,
            ..Restored::default()
        };
        let rebuilder = Rebuilder {
            domain: self.domain.clone(),
            events: InLake { spool, upto: good },
            model: self.model.clone(),
            ambient: self.ambient.clone(),
        };
        // The history first: the projector skips events that the view includes.
        for model in [Model::History, Model::Views] {
            if good == Sequence::NONE {
                break;
            }
            let outcome = if self.is_dry_run {
                rebuilder.compare(model, id).await
            } else {
                rebuilder.rebuild(model, id).await
            };
            match outcome {
                Outcome::Right { through, changed } => {
                    restored.changed += changed;
                    restored.through = restored.through.max(through);
                }
                Outcome::Removed(changed) => restored.changed += changed,
                Outcome::Damaged { damage, .. } => restored.incomplete = Some(damage.to_string()),
                Outcome::Incomplete(reason) => {
                    restored.incomplete = Some(reason);
                    break;
                }
            }
        }
        let known = restored.survey.known();
        if good == Sequence::NONE || restored.through.get() > known {
            match self.view_at(id).await {
                Ok(Some((viewed, at))) => {
                    restored.through = viewed;
                    let is_recent = at >= self.settled_before;
                    restored.survey.add_viewed(viewed.get(), is_recent);
                }
                Ok(None) => {}
                Err(error) => restored.incomplete = Some(Chain(&error).to_string()),
            }
        }
        Ok(restored)
    }

    /// The sequence of the view, and the latest time of its events; `None` if there is no readable view.
    async fn view_at(&self, id: &str) -> Result<Option<(Sequence, Timestamp)>, ServiceError> {
        if AggregateId::new(id).is_err() {
            // The read models have no item with such a key.
            return Ok(None);
        }
        let item = self.model.view(id).await?;
        let view: Option<ViewOf<D>> = item.and_then(|item| View::read(&item).ok().flatten());
        Ok(view.map(|view| (view.sequence, view.updated_at)))
    }
}

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    restore: &Restore,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    roles::check(deployment, &[Role::Views, Role::History]).await?;
    let started = System.now();
    let delay = if deployment.is_local {
        LOCAL_LAKE_DELAY_MILLIS
    } else {
        LAKE_DELAY_MILLIS
    };
    let settled_before = Timestamp::from_unix_millis(started.unix_millis() - delay);
    let table = roles::check_to_read(deployment, Role::Events).await;
    if let Err(error) = &table {
        let what = "the events table";
        let reason = format!("{error:#}");
        output.line(
            format_args!("? {what}: not compared: {reason}"),
            &json!({ "notCompared": what, "reason": reason }),
        )?;
    }
    let is_compared = table.is_ok();
    let restorer = Restorer {
        domain: deployment.domain(),
        events: is_compared.then(|| deployment.events()),
        model: deployment.read_models(),
        ambient: System,
        settled_before: settled_before.unwrap_or(started),
        is_dry_run: restore.dry_run,
    };
    let ids = select(deployment, restore, is_compared, progress).await?;

    let id = restore.id.as_ref().map(AggregateId::as_str);
    let step = progress.start("Querying the lake");
    let lake = AthenaLake::of(deployment);
    let results = in_slices(&lake, Days::until(started), async |days| {
        step.detail(&days.to_string());
        lake.records(days, id).await
    });
    let records = Merged::new(results.await?);
    step.done();

    let name = if restore.dry_run {
        "Comparing"
    } else {
        "Restoring"
    };
    let step = progress.start(name);
    let (total, mut done) = (ids.len(), 0);
    let width = output::width(&ids);
    let summary = restorer
        .restore_all(records, ids, |id, restored| {
            done += 1;
            step.counted(done, total.max(done));
            let survey = &restored.survey;
            let is_unknown = restored.through == Sequence::NONE
                && survey.findings.is_empty()
                && survey.not_yet == 0
                && restored.incomplete.is_none();
            if restore.id.is_some() && is_unknown {
                let places = if is_compared {
                    "neither the lake nor the events table contains"
                } else {
                    "the lake doesn't contain"
                };
                bail!("{places} the {} {id}", output.words.noun);
            }
            print(id, width, restored, restore.dry_run, output)
        })
        .await?;
    step.done();
    print_summary(&summary, is_compared, restore, output)
}

/// The aggregates to restore. They include those that have events or a read model, but no records.
async fn select<D: Project + Clone>(
    deployment: &Deployment<D>,
    restore: &Restore,
    has_events: bool,
    progress: &Progress,
) -> Result<BTreeSet<String>> {
    if let Some(id) = &restore.id {
        return Ok([id.to_string()].into());
    }
    let (client, names) = (&deployment.clients.dynamodb, &deployment.names);
    let step = progress.start(format!("Listing {}", deployment.words.collection));
    let mut ids = aggregates::ids(client, &names.view_table, &step).await?;
    ids.extend(aggregates::ids(client, &names.history_table, &step).await?);
    if has_events {
        ids.extend(aggregates::all(deployment, &step).await?);
    }
    step.done();
    Ok(ids)
}

/// Prints an aggregate if something was found, changed or not checked.
fn print(
    id: &str,
    width: usize,
    restored: &Restored,
    is_dry_run: bool,
    output: Output,
) -> Result<()> {
    let Restored {
        survey,
        through,
        changed,
        incomplete,
    } = restored;
    let noun = output.words.noun;
    for finding in &survey.findings.listed {
        output.json(&json!({
            (noun): id, "finding": finding.kind, "sequence": finding.first, "last": finding.last,
            "event": finding.event(id), "detail": finding.text(id),
        }))?;
    }
    let is_silent = restored.is_right()
        && *changed == 0
        && survey.not_yet == 0
        && survey.not_compared.is_none();
    if is_silent {
        return Ok(());
    }
    let good = survey.good;
    let mut parts = vec![match (good, is_dry_run) {
        (Sequence::NONE, _) => "nothing can be restored from the lake".to_owned(),
        (_, false) => format!("restored through event {good}"),
        (_, true) => format!("can be restored through event {good}"),
    }];
    if *changed > 0 {
        let items = plural(*changed, "item", "items");
        let changed = if is_dry_run { "differ" } else { "changed" };
        parts.push(format!("{items} {changed}"));
    }
    if *through > good {
        let view = format!("the view is at event {through} and was not changed");
        parts.push(view);
    }
    let notes = [survey.not_yet(), incomplete.clone()];
    let not_compared = survey.not_compared.as_ref();
    let not_compared = not_compared.map(|reason| format!("not compared: {reason}"));
    parts.extend(notes.into_iter().flatten().chain(not_compared));
    let sign = match (restored.is_right(), &survey.not_compared) {
        (false, _) => '✗',
        (true, Some(_)) => '?',
        (true, None) => '✓',
    };
    output.outcome(
        sign,
        id,
        width,
        parts.join("; "),
        &json!({
            (noun): id, "through": good, "view": through, "changed": changed, "notYet": survey.not_yet,
            "findings": survey.findings.count, "notCompared": survey.not_compared,
            "incomplete": incomplete,
        }),
    )?;
    let lines = survey.findings.listed.iter();
    for line in lines.map(|finding| finding.text(id)) {
        let line = format!("    {line}");
        output.text(crate::terminal::on_one_line(&line))?;
    }
    let more = survey.findings.unlisted();
    if more > 0 {
        output.text(format_args!("    … and {more} more"))?;
    }
    Ok(())
}

fn print_summary(
    summary: &Summary,
    is_compared: bool,
    restore: &Restore,
    output: Output,
) -> Result<ExitCode> {
    let Summary {
        aggregates,
        right,
        changed,
        not_compared,
        not_yet,
        findings,
    } = summary;
    let not_compared = if is_compared {
        *not_compared
    } else {
        *aggregates
    };
    let is_checked = not_compared == 0;
    let sign = match (summary.is_complete(), is_checked) {
        (false, _) => '✗',
        (true, false) => '?',
        (true, true) => '✓',
    };
    let of = output.words.count(*aggregates);
    let (equal, changed_text) = if restore.dry_run {
        ("can be restored from the lake", "differ")
    } else {
        ("equal to the fold of the lake", "changed")
    };
    let counts = [
        (*not_yet, "with events that are not yet in the lake"),
        (not_compared, "not compared with the events table"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, what)| format!(", {count} {what}"));
    let counts: Vec<String> = counts.collect();
    let counts = counts.concat();
    output.line(
        format_args!("{sign} {right} of {of} {equal}: {changed} {changed_text}{counts}"),
        &json!({
            "parity": summary.is_complete() && is_checked, (output.words.collection): aggregates,
            "right": right, "changed": changed, "notYet": not_yet, "notCompared": not_compared,
            "findings": findings,
        }),
    )?;
    if !summary.is_complete() {
        let which = match &restore.id {
            Some(id) => format!("--{} {id}", output.words.noun),
            None => "--all".to_owned(),
        };
        return outcome::advise_repeating(&format!("restore --from lake {which}"), output);
    }
    Ok(if is_checked {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

#[cfg(test)]
mod tests {
    use millrace_core::{Attribute, Envelope};
    use millrace_domain::Accounts;
    use millrace_runtime::testing::TestAmbient;

    use super::super::fold::Fold;
    use super::super::memory::{
        AMBIENT, InPages, LakeInMemory, Memory, ModelInMemory, accounts, day,
    };
    use super::super::ports::LakeRecord;
    use super::*;
    use crate::output::Format;

    type TestRestorer = Restorer<Accounts, Memory, ModelInMemory, &'static TestAmbient>;

    /// A restorer of aggregates with these numbers of events. All events have reached the lake.
    async fn with(aggregates: &[(&str, usize)]) -> (TestRestorer, LakeInMemory) {
        let memory = Memory::default();
        let mut lake = LakeInMemory::default();
        for (id, events) in aggregates {
            memory.add(id, *events, 0);
            let domain = accounts();
            let mut fold = Fold::new(&domain, &memory, id);
            while let Some(folded) = fold.next().await.expect("no service fails") {
                let record = LakeRecord {
                    subject: (*id).to_owned(),
                    sequence: folded.envelope.sequence.get(),
                    json: json(&folded.envelope),
                };
                // Each event is on two days, the later events on later days.
                let on = i64::try_from(record.sequence).expect("small") % 15;
                for on in [on, on + 1] {
                    lake.records.push((day(on), record.clone()));
                }
            }
        }
        let restorer = Restorer {
            domain: accounts(),
            events: Some(memory),
            model: ModelInMemory::default(),
            ambient: &*AMBIENT,
            settled_before: Timestamp::from_unix_millis(AMBIENT.now().unix_millis() + 60_000)
                .expect("a time"),
            is_dry_run: false,
        };
        (restorer, lake)
    }

    fn json(envelope: &Envelope<<Accounts as millrace_core::Domain>::PublicEvent>) -> String {
        let bytes = envelope.to_bytes::<Accounts>().expect("encodes");
        String::from_utf8(bytes).expect("UTF-8")
    }

    impl TestRestorer {
        /// Restores what the lake and the events table contain.
        async fn run(&self, lake: &LakeInMemory) -> (Summary, BTreeMap<String, Restored>) {
            let days = Days {
                first: day(0),
                last: day(16),
            };
            let results = in_slices(lake, days, async |days| lake.records(days, None).await);
            let records = Merged::<InPages<LakeRecord>>::new(results.await.expect("answered"));
            let mut others: BTreeSet<String> = self.model.items().views.keys().cloned().collect();
            if let Some(events) = &self.events {
                others.extend(events.world().rows.keys().cloned());
            }
            let mut outcomes = BTreeMap::new();
            let summary = self.restore_all(records, others, |id, result| {
                let before = outcomes.insert(id.to_owned(), result.clone());
                assert_eq!(before, None, "{id} is result once");
                Ok(())
            });
            (summary.await.expect("result"), outcomes)
        }

        async fn run_one(&self, lake: &LakeInMemory) -> Restored {
            let (_, outcomes) = self.run(lake).await;
            outcomes.into_values().next().expect("one")
        }

        fn sequence_of_the_view(&self, id: &str) -> Option<Attribute> {
            let items = self.model.items();
            items.views.get(id).map(|view| view["Sequence"].clone())
        }
    }

    fn texts(result: &Restored, id: &str) -> Vec<String> {
        let findings = result.survey.findings.listed.iter();
        findings.map(|finding| finding.text(id)).collect()
    }

    /// Changes the records of an event.
    fn change(lake: &mut LakeInMemory, sequence: u64, change: impl Fn(&str) -> String) {
        for (_, record) in &mut lake.records {
            if record.sequence == sequence {
                record.json = change(&record.json);
            }
        }
    }

    fn lose(lake: &mut LakeInMemory, sequence: u64) {
        lake.records
            .retain(|(_, record)| record.sequence != sequence);
    }

    #[tokio::test(start_paused = true)]
    async fn lost_read_models_are_restored_and_right_ones_are_unchanged() {
        let (restorer, mut lake) = with(&[("a", 25), ("b", 1)]).await;
        for limit in [None, Some(12)] {
            lake.limit = limit;
            *restorer.model.items() = millrace_projector::testing::Items::default();
            let (summary, outcomes) = restorer.run(&lake).await;
            let expected = Summary {
                aggregates: 2,
                right: 2,
                changed: 2,
                ..Summary::default()
            };
            assert_eq!(summary, expected);
            assert_eq!((outcomes["a"].changed, outcomes["b"].changed), (26, 2));
            let before = restorer.model.items().clone();
            assert_eq!(before.views["a"]["Balance"], Attribute::number(24 * 5));
            assert_eq!(before.history.len(), 26);

            // What `rebuild` makes of the events table.
            let rebuilder = Rebuilder {
                domain: accounts(),
                events: restorer.events.clone().expect("there"),
                model: restorer.model.clone(),
                ambient: &*AMBIENT,
            };
            for model in [Model::Views, Model::History] {
                let compared = rebuilder.compare(model, "a").await;
                assert!(
                    matches!(compared, Outcome::Right { changed: 0, .. }),
                    "{compared:?}"
                );
            }
            let (summary, _) = restorer.run(&lake).await;
            assert_eq!((summary.right, summary.changed), (2, 0));
            assert_eq!(restorer.model.items().views, before.views);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_counts_the_items_and_writes_nothing() {
        let (mut restorer, lake) = with(&[("a", 25)]).await;
        restorer.is_dry_run = true;
        let result = restorer.run_one(&lake).await;
        assert_eq!(result.changed, 26);
        assert!(restorer.model.items().views.is_empty());
        assert!(restorer.model.items().history.is_empty());

        restorer.is_dry_run = false;
        restorer.run(&lake).await;
        let wrong = Attribute::number(1);
        let stray = {
            let mut items = restorer.model.items();
            let view = items.views.get_mut("a").expect("there");
            view.insert("Balance".to_owned(), wrong);
            items.history.remove(&("a".to_owned(), 7));
            let mut stray = items.history[&("a".to_owned(), 25)].clone();
            stray.insert("Sequence".to_owned(), Attribute::number(0));
            items.put_history(vec![stray]);
            items.clone()
        };
        restorer.is_dry_run = true;
        let result = restorer.run_one(&lake).await;
        assert_eq!(result.changed, 3, "view, missing item, stray item");
        assert_eq!(restorer.model.items().views, stray.views);
        assert_eq!(restorer.model.items().history, stray.history);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_event_is_named_and_nothing_after_it_is_restored() {
        for has_events in [true, false] {
            let (mut restorer, mut lake) = with(&[("a", 9)]).await;
            if !has_events {
                restorer.events = None;
            }
            for lost in [4, 5, 7] {
                lose(&mut lake, lost);
            }
            let result = restorer.run_one(&lake).await;
            assert_eq!(
                texts(&result, "a"),
                [
                    "events 4 to 5 (a:4 to a:5) are missing in the lake",
                    "event 7 (a:7) is missing in the lake",
                ]
            );
            assert_eq!(result.through.get(), 3);
            assert_eq!(
                restorer.sequence_of_the_view("a"),
                Some(Attribute::number(3))
            );
            assert_eq!(restorer.model.items().history.len(), 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_event_is_missing_or_too_recent() {
        let (mut restorer, mut lake) = with(&[("a", 9)]).await;
        lose(&mut lake, 9);
        lose(&mut lake, 8);
        let result = restorer.run_one(&lake).await;
        let text = "events 8 to 9 (a:8 to a:9) are missing in the lake";
        assert_eq!(texts(&result, "a"), [text]);

        restorer.settled_before = Timestamp::from_unix_millis(0).expect("a time");
        let (summary, outcomes) = restorer.run(&lake).await;
        let result = &outcomes["a"];
        assert_eq!(result.survey.not_yet, 2);
        assert!(result.is_right() && result.through.get() == 7);
        assert_eq!((summary.right, summary.not_yet), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_aggregate_without_records_is_named() {
        let (mut restorer, mut lake) = with(&[("a", 3), ("b", 2)]).await;
        restorer.run(&lake).await;
        lake.records.retain(|(_, record)| record.subject == "a");
        let (summary, outcomes) = restorer.run(&lake).await;
        let text = "events 1 to 2 (b:1 to b:2) are missing in the lake";
        assert_eq!(texts(&outcomes["b"], "b"), [text]);
        assert_eq!((summary.aggregates, summary.right), (2, 1));
        assert_eq!(
            restorer.sequence_of_the_view("b"),
            Some(Attribute::number(2))
        );

        // Without the events table, the view shows that there were events.
        restorer.events = None;
        let (_, outcomes) = restorer.run(&lake).await;
        let [text] = &texts(&outcomes["b"], "b")[..] else {
            panic!("{outcomes:?}");
        };
        assert!(text.contains("are included in the view"), "{text}");
        assert_eq!(
            restorer.sequence_of_the_view("b"),
            Some(Attribute::number(2))
        );

        restorer.settled_before = Timestamp::from_unix_millis(0).expect("a time");
        let (summary, outcomes) = restorer.run(&lake).await;
        assert_eq!(outcomes["b"].survey.not_yet, 2);
        assert_eq!((summary.right, summary.not_yet), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn records_that_are_wrong_are_named() {
        let undecodable = |json: &str| json.replace("\"amount\":5", "\"amount\":\"5\"");
        let differing = |json: &str| json.replace("\"amount\":5", "\"amount\":6");
        for (wrong, message) in [
            (
                undecodable as fn(&str) -> String,
                "can't be decoded: data.amount",
            ),
            (differing, "differs from the events table"),
        ] {
            let (restorer, mut lake) = with(&[("a", 9)]).await;
            change(&mut lake, 4, wrong);
            let result = restorer.run_one(&lake).await;
            let [text] = &texts(&result, "a")[..] else {
                panic!("{result:?}");
            };
            assert!(
                text.starts_with("event 4 (a:4) ") && text.contains(message),
                "{text}"
            );
            assert_eq!(
                restorer.sequence_of_the_view("a"),
                Some(Attribute::number(3))
            );
        }
        let (restorer, mut lake) = with(&[("a", 9)]).await;
        let (_, record) = lake
            .records
            .iter_mut()
            .find(|(_, record)| record.sequence == 4)
            .expect("there");
        record.json = differing(&record.json);
        let result = restorer.run_one(&lake).await;
        let text = "event 4 (a:4) has several records in the lake, which differ";
        assert!(texts(&result, "a").contains(&text.to_owned()), "{result:?}");
        assert_eq!(result.through.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_events_table_everything_is_restored_and_nothing_compared() {
        let (restorer, lake) = with(&[("a", 9)]).await;
        let memory = restorer.events.clone().expect("there");
        memory.world().unavailable.insert("a".to_owned());
        let result = restorer.run_one(&lake).await;
        assert!(result.is_right() && result.through.get() == 9);
        let reason = result.survey.not_compared.expect("a reason");
        assert!(reason.contains("unavailable"), "{reason}");

        *restorer.model.items() = millrace_projector::testing::Items::default();
        memory.world().unavailable.clear();
        memory.world().rows.clear();
        let (summary, outcomes) = restorer.run(&lake).await;
        assert!(outcomes["a"].is_right() && outcomes["a"].through.get() == 9);
        let reason = outcomes["a"].survey.not_compared.as_deref();
        assert_eq!(reason, Some("the events table has no events of it"));
        assert_eq!((summary.right, summary.not_compared), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn events_after_the_end_or_the_damage_of_the_table() {
        let (restorer, lake) = with(&[("a", 9)]).await;
        let memory = restorer.events.clone().expect("there");
        let version = |sequence| Sequence::new(sequence).and_then(Sequence::version);
        let version = |sequence| version(sequence).expect("valid").get();
        let row = memory
            .world()
            .rows
            .get_mut("a")
            .expect("there")
            .remove(&version(6));
        let result = restorer.run_one(&lake).await;
        assert!(result.is_right() && result.through.get() == 9);
        let reason = result.survey.not_compared.expect("a reason");
        assert_eq!(reason, "event 6 is missing in the events table");

        // The table was result to an earlier state.
        *restorer.model.items() = millrace_projector::testing::Items::default();
        let mut rows = memory.world().rows["a"].clone();
        rows.insert(version(6), row.expect("there"));
        rows.retain(|at, _| *at <= version(6));
        memory.world().rows.insert("a".to_owned(), rows);
        let result = restorer.run_one(&lake).await;
        let text = "events 7 to 9 (a:7 to a:9) are in the lake, but not in the events table";
        assert_eq!(texts(&result, "a"), [text]);
        assert_eq!(
            restorer.sequence_of_the_view("a"),
            Some(Attribute::number(6))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_ahead_of_the_lake_is_unchanged() {
        let (restorer, mut lake) = with(&[("a", 9)]).await;
        restorer.run(&lake).await;
        let before = restorer.model.items().clone();
        lose(&mut lake, 9);
        lose(&mut lake, 8);
        let result = restorer.run_one(&lake).await;
        assert_eq!((result.survey.good.get(), result.through.get()), (7, 9));
        assert_eq!(result.survey.findings.count, [(Kind::Missing, 1)].into());
        assert_eq!(restorer.model.items().views, before.views);
        assert_eq!(restorer.model.items().history, before.history);
    }

    #[tokio::test(start_paused = true)]
    async fn many_findings_are_counted_and_the_first_are_listed() {
        let (restorer, mut lake) = with(&[("a", 60)]).await;
        lake.records.retain(|(_, record)| record.sequence % 2 == 1);
        let result = restorer.run_one(&lake).await;
        let findings = &result.survey.findings;
        assert_eq!((findings.listed.len(), findings.unlisted()), (20, 10));
        assert_eq!(findings.count, [(Kind::Missing, 30)].into());
        let output = Output::of(Format::Json);
        print("a", 1, &result, false, output).expect("printed");
    }

    fn restore() -> Restore {
        Restore {
            from: crate::args::Source::Lake,
            id: None,
            all: true,
            dry_run: false,
            target: crate::args::Target { deployment: None },
        }
    }

    #[test]
    fn a_run_succeeds_only_if_all_is_right_and_compared() {
        let output = Output::of(Format::Json);
        for (right, not_compared, is_compared, code) in [
            (2, 0, true, ExitCode::SUCCESS),
            (1, 0, true, ExitCode::from(NOT_WELL)),
            (2, 1, true, ExitCode::from(NOT_WELL)),
            (2, 0, false, ExitCode::from(NOT_WELL)),
        ] {
            let summary = Summary {
                aggregates: 2,
                right,
                not_compared,
                ..Summary::default()
            };
            let printed = print_summary(&summary, is_compared, &restore(), output);
            assert_eq!(printed.expect("printed"), code);
        }
    }
}
