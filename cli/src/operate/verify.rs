//! `millrace verify`: compares events, cursors, read models and lake.
//!
//! It prints "all is well" only if everything was checked. It prints what could not be checked, with the
//! reason, and then exits with the status of a finding.
//!
//! The findings of mappings and discarded batches are those of the reconciler's last report, whose age shows
//! whether the reconciler runs. The report's findings of aggregates are ignored, because this command
//! examines the aggregates itself, later than the report.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::stream::{self, StreamExt as _};
use millrace_core::{AggregateId, Data, Project, Sequence, Timestamp, answer};
use millrace_local_stack::progress::Progress;
use millrace_reconciler::report;
use millrace_runtime::{Ambient as _, Chain, System};
use serde_json::{Value, json};

use super::athena::AthenaLake;
use super::days::Days;
use super::deployment::{Deployment, Reconciler};
use super::standing::{Beforehand, Finding, Kind, Standing};
use super::{CONCURRENCY, aggregates, inspect, lake, reconcile};
use crate::application::events;
use crate::args::Verify;
use crate::follower::{self, Follower, Start};
use crate::output::{Output, Rows};
use crate::terminal;

/// The exit status if there are findings, or if something was not completed or not checked.
pub(crate) const NOT_WELL: u8 = 3;
/// The maximum number of examinations of a lagging aggregate: its events may still be being processed.
const MAX_EXAMINATIONS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an event may take from the stream to the lake on AWS: the archiver's batching window, Firehose's
/// buffer, and Firehose's retries.
pub(super) const LAKE_DELAY_MILLIS: i64 = 15 * 60 * 1000;
/// How long an event may take to the lake of a local stack.
const LOCAL_PATIENCE: Duration = Duration::from_secs(30);
/// The number of consecutive empty reads after which the stream counts as read to its end.
const EMPTY_READS: u32 = 5;

/// The aggregates to verify.
struct Scope {
    ids: BTreeSet<String>,
    /// The number of all aggregates, if `ids` is a sample of them.
    sampled_of: Option<usize>,
}

/// The results so far.
struct Report {
    output: Output,
    /// The findings by kind. Those of the deployment come first.
    found: BTreeMap<(bool, Kind), Found>,
    events: u64,
    not_checked: usize,
    /// For each reason, what was not checked.
    not_checked_because: BTreeMap<String, Listed>,
    /// For each aggregate, the last sequence that must be in the lake by now.
    due: HashMap<String, Sequence>,
    /// The reconciler's last report; `None` if it was not read.
    reconciled: Option<Reconciled>,
}

/// The findings of one kind.
#[derive(Default)]
struct Found {
    count: usize,
    /// The first of them.
    listed: Vec<(String, String)>,
}

/// What was not checked for one reason.
#[derive(Default)]
struct Listed {
    count: usize,
    /// The first of them.
    listed: Vec<String>,
}

/// The maximum number of findings of one kind that are printed for people. With --json, all are printed.
const MAX_LISTED: usize = 20;

/// The time and the age of the reconciler's last report.
struct Reconciled {
    at: String,
    age_seconds: Option<u64>,
}

/// The states of a mapping that is enabled, or is being enabled
/// ([states](https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html)).
const ENABLED: [&str; 4] = ["Creating", "Enabling", "Enabled", "Updating"];

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let scope = select(deployment, verify, progress).await?;
    let mut report = Report {
        output,
        found: BTreeMap::new(),
        events: 0,
        not_checked: 0,
        not_checked_because: BTreeMap::new(),
        due: HashMap::new(),
        reconciled: None,
    };
    let started = System.now();
    let settled_before = if deployment.is_local {
        // A local stack has no buffer, so every published event is due.
        started.unix_millis() + LAKE_DELAY_MILLIS
    } else {
        started.unix_millis() - LAKE_DELAY_MILLIS
    };
    let settled_before = Timestamp::from_unix_millis(settled_before).unwrap_or(started);
    examine_all(
        deployment,
        verify,
        &scope,
        settled_before,
        &mut report,
        progress,
    )
    .await?;
    if verify.id.is_none() {
        check_reconciler(deployment, &mut report).await?;
    }
    check_lake(deployment, verify, started, &mut report, progress).await?;
    report.conclude(&scope)
}

/// Examines each aggregate, and examines lagging ones again. In later examinations, they must include the
/// events that existed at the first one.
async fn examine_all<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    scope: &Scope,
    settled_before: Timestamp,
    report: &mut Report,
    progress: &Progress,
) -> Result<()> {
    let examiner = deployment.examiner();
    let step = progress.start("Verifying");
    let (total, mut done) = (scope.ids.len(), 0);
    let mut pending: BTreeMap<String, Option<Sequence>> =
        scope.ids.iter().map(|id| (id.clone(), None)).collect();
    for examination in 1..=MAX_EXAMINATIONS {
        let mut lagging = BTreeMap::new();
        let mut standings = std::pin::pin!(
            stream::iter(pending)
                .map(async |(id, at_least)| {
                    let standing = examiner.examine(&id, at_least, settled_before).await;
                    (id, at_least, standing)
                })
                .buffer_unordered(CONCURRENCY)
        );
        while let Some((id, at_least, standing)) = standings.next().await {
            match standing {
                Ok(standing) if standing.is_lagging && examination < MAX_EXAMINATIONS => {
                    lagging.insert(id, at_least.or(Some(standing.through)));
                    continue;
                }
                Ok(standing) => {
                    report.add(&standing)?;
                    if verify.id.is_some() {
                        show::<D>(&standing, report.output)?;
                    }
                }
                Err(error) => report.not_checked(&id, &Chain(&error).to_string())?,
            }
            done += 1;
            step.counted(done, total);
        }
        pending = lagging;
        if pending.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    step.done();
    Ok(())
}

impl Report {
    fn add<V: Data>(&mut self, standing: &Standing<V>) -> Result<()> {
        self.events += standing.through.get();
        self.due.insert(standing.id.clone(), standing.settled);
        for finding in &standing.findings {
            self.find(&standing.id, finding)?;
        }
        Ok(())
    }

    fn find(&mut self, id: &str, finding: &Finding) -> Result<()> {
        self.find_of(self.output.words.noun, id, finding)
    }

    /// Reports a finding of the `subject` that `id` identifies.
    fn find_of(&mut self, subject: &str, id: &str, finding: &Finding) -> Result<()> {
        let Finding { kind, detail } = finding;
        let key = (!kind.is_of_the_deployment(), *kind);
        let found = self.found.entry(key).or_default();
        found.count += 1;
        if found.listed.len() < MAX_LISTED {
            found.listed.push((id.to_owned(), detail.clone()));
        }
        let command = kind.command(self.output.words).replace("ID", id);
        self.output
            .json(&json!({ (subject): id, "finding": kind, "detail": detail, "command": command }))
    }

    /// Adds the findings of mappings and discarded batches in the reconciler's last report, the sources that
    /// the reconciler could not read, and a finding if the report is too old or missing.
    fn add_reconciled(
        &mut self,
        reconciler: &Reconciler,
        last: Option<&report::Report>,
        now: Timestamp,
    ) -> Result<()> {
        let minutes = reconciler.interval.as_secs() / 60;
        let Some(last) = last else {
            let detail = format!("it has never reported; it is scheduled every {minutes} min");
            return self.find_of(
                "reconciler",
                &reconciler.function,
                &Finding {
                    kind: Kind::Reconciler,
                    detail,
                },
            );
        };
        let age_seconds = reconcile::age_seconds(last, now);
        let is_in_time =
            age_seconds.is_some_and(|age| age <= reconcile::max_age(reconciler).as_secs());
        if !is_in_time {
            let age = shown_age(age_seconds);
            let detail =
                format!("its last report is {age} old; it is scheduled every {minutes} min");
            self.find_of(
                "reconciler",
                &reconciler.function,
                &Finding {
                    kind: Kind::Reconciler,
                    detail,
                },
            )?;
        }
        for finding in &last.findings {
            self.add_of_the_deployment(finding, age_seconds)?;
        }
        if last.findings_omitted > 0 {
            let what = format!("{} findings of the reconciler", last.findings_omitted);
            self.not_checked(&what, "its report doesn't list them; see its gauges")?;
        }
        for report::NotRead { source, reason } in &last.not_read {
            let reason = format!("the reconciler could not complete this: {reason}");
            self.not_checked(source, &reason)?;
        }
        self.reconciled = Some(Reconciled {
            at: last.at.clone(),
            age_seconds,
        });
        Ok(())
    }

    fn add_of_the_deployment(
        &mut self,
        finding: &report::Finding,
        age_seconds: Option<u64>,
    ) -> Result<()> {
        let age = shown_age(age_seconds);
        match finding {
            report::Finding::Mapping {
                uuid,
                function,
                state,
                reason,
            } => {
                let kind = if uuid.is_empty() {
                    Kind::MappingMissing
                } else if ENABLED.contains(&state.as_str()) {
                    Kind::MappingFailing
                } else {
                    Kind::MappingDisabled
                };
                let detail = format!("the mapping of {function}, {age} ago: {reason}");
                let id = if uuid.is_empty() { function } else { uuid };
                self.find_of("mapping", id, &Finding { kind, detail })
            }
            report::Finding::Batch {
                object,
                function,
                since,
                reason,
            } => {
                let kind = Kind::Batch;
                let detail =
                    format!("a discarded batch of {function}, open since {since}: {reason}");
                self.find_of("batch", object, &Finding { kind, detail })
            }
            // This command examines the aggregates itself.
            report::Finding::Blocked { .. }
            | report::Finding::Parked { .. }
            | report::Finding::Lagging { .. }
            | report::Finding::Stale { .. }
            | report::Finding::ViewLagging { .. } => Ok(()),
        }
    }

    fn not_checked(&mut self, what: &str, reason: &str) -> Result<()> {
        self.not_checked += 1;
        let because = self.not_checked_because.entry(reason.to_owned());
        let because = because.or_default();
        because.count += 1;
        if because.listed.len() < MAX_LISTED {
            because.listed.push(what.to_owned());
        }
        self.output
            .json(&json!({ "notChecked": what, "reason": reason }))
    }

    fn is_well(&self) -> bool {
        self.found.is_empty() && self.not_checked == 0
    }

    /// The number of findings of each kind.
    fn kinds(&self) -> BTreeMap<Kind, usize> {
        let found = self.found.iter();
        found
            .map(|((_, kind), found)| (*kind, found.count))
            .collect()
    }

    fn conclude(&self, scope: &Scope) -> Result<ExitCode> {
        for ((_, kind), found) in &self.found {
            for line in self.lines(*kind, found) {
                self.output.text(line)?;
            }
        }
        for (reason, unchecked) in &self.not_checked_because {
            self.output.text(unchecked.line(reason))?;
        }
        let sign = match (self.is_well(), self.found.is_empty()) {
            (true, _) => '✓',
            (false, true) => '?',
            (false, false) => '✗',
        };
        let verdict = self.verdict(scope);
        self.output
            .result(format_args!("{sign} {verdict}"), &self.summary(scope))?;
        Ok(if self.is_well() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_WELL)
        })
    }

    /// The findings of one kind as text: what they mean, each with its detail, and the command that repairs
    /// them.
    fn lines(&self, kind: Kind, found: &Found) -> Vec<String> {
        let output = self.output;
        let (name, count, meaning) = (kind.name(), found.count, kind.meaning());
        let mut lines = vec![format!("✗ {name} ({count}): {meaning}")];
        let mut rows = Rows::indented("    ");
        for (id, detail) in &found.listed {
            rows.push(&[id, detail]);
        }
        lines.extend(rows.lines());
        let more = count - found.listed.len();
        if more > 0 {
            lines.push(format!("    … and {more} more; --json prints all"));
        }
        let first = match kind.beforehand() {
            Beforehand::Nothing => "",
            Beforehand::RepairRow => "repair the row as the runbook describes, then ",
            Beforehand::RemoveCause => "remove the cause as the runbook describes, then ",
        };
        let command = kind.command(output.words);
        let command = match (found.listed.first(), kind.command_for_all(output.words)) {
            (Some((id, _)), _) if count == 1 => output.with_flag(&command.replace("ID", id)),
            (_, Some(all)) => output.command(all),
            _ if command.contains("ID") => format!("{} for each ID", output.with_flag(&command)),
            _ => output.with_flag(&command),
        };
        let next = Output::next_line(format_args!("{first}{command}"));
        lines.push(terminal::on_one_line(&next).into_owned());
        lines.push(String::new());
        lines
    }

    fn verdict(&self, scope: &Scope) -> String {
        let words = self.output.words;
        let what = match scope.sampled_of {
            None => words.count(scope.ids.len()),
            Some(all) => format!("a sample of {} of {}", scope.ids.len(), words.count(all)),
        };
        let found: Vec<String> = self
            .found
            .iter()
            .map(|((_, kind), found)| format!("{} {}", found.count, kind.name()))
            .collect();
        let found = found.join(", ");
        let said = match (found.is_empty(), self.not_checked, scope.sampled_of) {
            (true, 0, None) => "all is well".to_owned(),
            (true, 0, Some(_)) => "nothing found in the sample".to_owned(),
            (true, not_checked, _) => format!("nothing found, but {not_checked} not checked"),
            (false, 0, _) => format!("findings: {found}"),
            (false, not_checked, _) => format!("findings: {found}; {not_checked} not checked"),
        };
        let reconciled = self.reconciled.as_ref().map_or_else(String::new, |last| {
            format!("; reconciled {} ago", shown_age(last.age_seconds))
        });
        format!("{what}, {}: {said}{reconciled}", events(self.events))
    }

    fn summary(&self, scope: &Scope) -> Value {
        let is_all = self.not_checked == 0 && scope.sampled_of.is_none();
        json!({
            (self.output.words.collection): scope.ids.len(), "sampledOf": scope.sampled_of, "events": self.events,
            "findings": self.kinds(), "notChecked": self.not_checked,
            "reconciled": self.reconciled.as_ref().map(|last| {
                json!({ "at": last.at, "ageSeconds": last.age_seconds })
            }),
            "well": self.found.is_empty() && is_all,
        })
    }
}

impl Listed {
    /// One line for one reason.
    fn line(&self, reason: &str) -> String {
        let more = self.count - self.listed.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let line = format!("? {}{more}: not checked: {reason}", self.listed.join(", "));
        terminal::on_one_line(&line).into_owned()
    }
}

/// The age of a report, as text; `None` is an unknown age.
fn shown_age(seconds: Option<u64>) -> String {
    match seconds {
        None => "an unknown time".to_owned(),
        Some(seconds) if seconds < 120 => format!("{seconds} s"),
        Some(seconds) if seconds < 2 * 3600 => format!("{} min", seconds / 60),
        Some(seconds) => format!("{} h", seconds / 3600),
    }
}

/// Reads the reconciler's last report.
async fn check_reconciler<D: Project + Clone>(
    deployment: &Deployment<D>,
    report: &mut Report,
) -> Result<()> {
    const WHAT: &str = "mappings and discarded batches";
    let reconciler = match deployment.names.reconciler.reconciler() {
        Ok(Some(reconciler)) => reconciler,
        Ok(None) => return report.not_checked(WHAT, reconcile::NO_RECONCILER),
        Err(error) => return report.not_checked(WHAT, &format!("{error:#}")),
    };
    match reconcile::last_report(&deployment.clients.dynamodb, &reconciler).await {
        Ok(last) => report.add_reconciled(&reconciler, last.as_ref(), System.now()),
        Err(error) => report.not_checked(WHAT, &format!("{error:#}")),
    }
}

/// Compares the lake with the events. It runs last, because events reach the lake last.
async fn check_lake<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    started: Timestamp,
    report: &mut Report,
    progress: &Progress,
) -> Result<()> {
    let step = progress.start("Querying the lake");
    let aggregate = verify.id.as_ref().map(AggregateId::as_str);
    let asked = Instant::now();
    let (source, days) = (AthenaLake::of(deployment), Days::until(started));
    let asks = |days: Days| step.detail(&days.to_string());
    let lacking = loop {
        let lacking = lake::lacking(&source, days, aggregate, &report.due, asks).await;
        let lacking = match lacking {
            Ok(lacking) => lacking,
            Err(error) => return report.not_checked("the lake", &format!("{error:#}")),
        };
        if lacking.is_empty() || !deployment.is_local || asked.elapsed() > LOCAL_PATIENCE {
            break lacking;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut recently_published = HashSet::new();
    if !lacking.is_empty() && !deployment.is_local {
        let since = started.unix_millis() - LAKE_DELAY_MILLIS;
        let since = Timestamp::from_unix_millis(since).unwrap_or(started);
        match published_since(deployment, since).await {
            Ok(published) => recently_published = published,
            Err(error) => return report.not_checked("the lake", &format!("{error:#}")),
        }
    }
    step.done();
    for (id, detail) in lacking {
        if recently_published.contains(&id) {
            let reason = "events were published less than 15 minutes ago and may \
                          not have reached the lake yet; run `verify` again later";
            report.not_checked(&format!("{id}: lake"), reason)?;
        } else {
            let kind = Kind::Lake;
            report.find(&id, &Finding { kind, detail })?;
        }
    }
    Ok(())
}

/// The aggregates of which the stream has received events since a time. An event that was published late, by
/// `redrive` or after an outage, is due in the lake later too.
async fn published_since<D: Project + Clone>(
    deployment: &Deployment<D>,
    since: Timestamp,
) -> Result<HashSet<String>> {
    let kinesis = deployment.clients.kinesis.clone();
    let stream = &deployment.names.stream_name;
    let mut follower = Follower::starting(kinesis, stream, Start::At(since));
    let (mut published, mut empty) = (HashSet::new(), 0);
    while empty < EMPTY_READS {
        let records = follower.read().await?;
        empty = if records.is_empty() { empty + 1 } else { 0 };
        for record in records {
            let subject = serde_json::from_slice::<Value>(&record)
                .ok()
                .and_then(|event| event["subject"].as_str().map(str::to_owned));
            published.extend(subject);
        }
        tokio::time::sleep(follower::PAUSE).await;
    }
    Ok(published)
}

/// The aggregates to examine. They include those that have a cursor or a read model, but no events.
async fn select<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    progress: &Progress,
) -> Result<Scope> {
    if let Some(id) = &verify.id {
        return Ok(Scope {
            ids: aggregates::one(deployment, id.as_str()).await?,
            sampled_of: None,
        });
    }
    let step = progress.start(format!("Listing {}", deployment.words.collection));
    let (client, names) = (&deployment.clients.dynamodb, &deployment.names);
    let (mut ids, cursors, views, history) = tokio::try_join!(
        aggregates::all(deployment, &step),
        aggregates::ids(client, &names.cursor_table, &step),
        aggregates::ids(client, &names.view_table, &step),
        aggregates::ids(client, &names.history_table, &step),
    )?;
    ids.extend(cursors);
    ids.extend(views);
    ids.extend(history);
    step.done();
    let all = ids.len();
    Ok(match verify.sample.map(std::num::NonZero::get) {
        Some(sample) if sample < all => Scope {
            ids: fastrand::choose_multiple(ids, sample).into_iter().collect(),
            sampled_of: Some(all),
        },
        _ => Scope {
            ids,
            sampled_of: None,
        },
    })
}

fn show<D: Project>(standing: &Standing<D::View>, output: Output) -> Result<()> {
    let published = standing
        .cursor
        .as_ref()
        .map(|cursor| cursor.published_through.get())
        .ok();
    let view = standing.readable_view().map(answer::view::<D>);
    let expected = standing.expected.as_ref().map(answer::view::<D>);
    let shown = view.as_ref().map_or_else(
        || "no view".to_owned(),
        |view| inspect::members(&json!(view), output.words),
    );
    let mut rows = Rows::indented("");
    let through = published.map_or_else(|| "unreadable".to_owned(), |it| format!("event {it}"));
    rows.push(&[output.words.noun, &standing.id]);
    rows.push(&["events", &standing.through.to_string()]);
    rows.push(&["published through", &through]);
    rows.push(&["view", &shown]);
    output.table(&rows)?;
    output.json(&json!({
        (output.words.noun): standing.id, "events": standing.through, "publishedThrough": published,
        "view": view, "expected": expected,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Words;
    use crate::output::Format;

    fn report(kinds: &[(Kind, usize)], not_checked: usize) -> Report {
        let found = kinds.iter().map(|&(kind, count)| {
            let listed = Vec::new();
            let found = Found { count, listed };
            ((!kind.is_of_the_deployment(), kind), found)
        });
        Report {
            output: Output::of(Format::Json),
            found: found.collect(),
            events: 9,
            not_checked,
            not_checked_because: BTreeMap::new(),
            due: HashMap::new(),
            reconciled: None,
        }
    }

    fn scope(sampled_of: Option<usize>) -> Scope {
        Scope {
            ids: ["a".to_owned()].into(),
            sampled_of,
        }
    }

    #[test]
    fn all_is_well_only_if_everything_was_checked_and_nothing_found() {
        let said = |kinds: &[_], not_checked, sampled_of| {
            let (report, scope) = (report(kinds, not_checked), scope(sampled_of));
            let well = report.summary(&scope)["well"] == true;
            let verdict = report.verdict(&scope);
            assert_eq!(verdict.contains("all is well"), well, "{verdict}");
            let code = report.conclude(&scope).expect("printed");
            (verdict, well, code == ExitCode::SUCCESS)
        };
        let (_, well, is_success) = said(&[], 0, None);
        assert!(well && is_success);
        let (verdict, well, is_success) = said(&[], 1, None);
        assert!(
            !well && !is_success && verdict.contains("1 not checked"),
            "{verdict}"
        );
        let (verdict, well, is_success) = said(&[], 0, Some(40));
        assert!(
            !well && is_success && verdict.contains("a sample of 1 of 40"),
            "{verdict}"
        );
        let (verdict, well, is_success) = said(&[], 2, Some(40));
        assert!(
            !well && !is_success && verdict.contains("2 not checked"),
            "{verdict}"
        );
        let (verdict, well, is_success) = said(&[(Kind::Lake, 2)], 0, None);
        assert!(
            !well && !is_success && verdict.contains("2 lake"),
            "{verdict}"
        );
    }

    fn reconciler() -> Reconciler {
        Reconciler {
            table: "state".to_owned(),
            function: "reconciler".to_owned(),
            interval: Duration::from_mins(1),
        }
    }

    /// The report of a run that ended at the beginning of the epoch.
    fn last(findings: &Value, not_read: &Value, omitted: usize) -> report::Report {
        let report = json!({
            "at": "1970-01-01T00:00:00.000Z", "requestId": "r", "millis": 0, "gauges": {},
            "findings": findings, "findingsOmitted": omitted, "notRead": not_read,
            "repaired": {"published": 0, "viewsRepaired": 0, "batchesResolved": 0},
            "pass": {"aggregates": 0, "completedPasses": 0},
        });
        serde_json::from_value(report).expect("a report")
    }

    /// The findings and the number of unchecked sources, `seconds` after the reconciler's last report.
    fn reconciled(last: Option<&report::Report>, seconds: i64) -> (Vec<(Kind, usize)>, usize) {
        let now = Timestamp::from_unix_millis(seconds * 1000).expect("a time");
        let mut report = report(&[], 0);
        report
            .add_reconciled(&reconciler(), last, now)
            .expect("printed");
        assert_eq!(report.reconciled.is_some(), last.is_some());
        (report.kinds().into_iter().collect(), report.not_checked)
    }

    #[test]
    fn mappings_and_batches_are_found_through_the_reconciler_and_aggregates_are_not() {
        let mapping = |uuid: &str, state: &str| json!({"kind": "mapping", "uuid": uuid, "function": "f", "state": state, "reason": "why"});
        let findings = json!([
            mapping("u", "Disabled"),
            mapping("v", "Disabling"),
            mapping("w", "Enabled"),
            mapping("", "Missing"),
            {"kind": "batch", "object": "aws/lambda/x", "function": "f", "since": "t", "reason": "why"},
            {"kind": "lagging", "id": "a", "publishedThrough": 3, "events": 5},
            {"kind": "blocked", "id": "a", "sequence": 3, "row": null, "reason": "why", "since": "t"},
            {"kind": "stale", "id": "a", "sequence": 3, "until": 5, "reason": "why", "since": "t"},
        ]);
        let last = last(&findings, &json!([]), 0);
        let found = vec![
            (Kind::MappingDisabled, 2),
            (Kind::MappingMissing, 1),
            (Kind::MappingFailing, 1),
            (Kind::Batch, 1),
        ];
        assert_eq!(reconciled(Some(&last), 10), (found, 0));
    }

    #[test]
    fn sources_that_the_reconciler_could_not_read_are_not_checked() {
        let not_read = json!([{"source": "mappings", "reason": "AccessDenied"}]);
        let last = last(&json!([]), &not_read, 3);
        assert_eq!(reconciled(Some(&last), 10), (Vec::new(), 2));
    }

    #[test]
    fn a_reconciler_that_does_not_run_is_found() {
        let empty = last(&json!([]), &json!([]), 0);
        assert_eq!(reconciled(Some(&empty), 6 * 60), (Vec::new(), 0));
        let found = vec![(Kind::Reconciler, 1)];
        assert_eq!(reconciled(Some(&empty), 6 * 60 + 1), (found.clone(), 0));
        assert_eq!(reconciled(None, 0), (found.clone(), 0));
        let mut timeless = empty;
        timeless.at = "yesterday".to_owned();
        assert_eq!(reconciled(Some(&timeless), 0), (found, 0));
    }

    #[test]
    fn the_verdict_says_how_old_the_reconcilers_report_is() {
        let mut report = report(&[], 0);
        report.reconciled = Some(Reconciled {
            at: "t".to_owned(),
            age_seconds: Some(42),
        });
        let verdict = report.verdict(&scope(None));
        assert!(
            verdict.ends_with("all is well; reconciled 42 s ago"),
            "{verdict}"
        );
        assert_eq!(
            report.summary(&scope(None))["reconciled"],
            json!({"at": "t", "ageSeconds": 42})
        );
        for (seconds, shown) in [
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
        ] {
            assert_eq!(shown_age(Some(seconds)), shown);
        }
    }

    #[test]
    fn findings_of_one_kind_are_a_table_with_the_next_command() {
        let listed = |ids: &[&str]| {
            let listed = ids.iter().map(|id| ((*id).to_owned(), format!("of {id}")));
            listed.collect::<Vec<_>>()
        };
        let lines = |kind: Kind, count, ids: &[&str]| {
            let listed = listed(ids);
            report(&[], 0)
                .lines(kind, &Found { count, listed })
                .join("\n")
        };
        assert_eq!(
            lines(Kind::Unpublished, 1, &["a"]),
            "✗ unpublished (1): the cursor lags: some events are not published\n    a  of a\n\
             Next: `millrace redrive --account a`\n"
        );
        assert_eq!(
            lines(Kind::Blocked, 22, &["a", "b\u{1b}c"]),
            "✗ blocked (22): publication is suspended, usually at a row that can't be decoded or is missing\n    \
             a         of a\n    b\\u{1b}c  of b\\u{1b}c\n    … and 20 more; --json prints all\n\
             Next: repair the row as the runbook describes, then `millrace redrive --blocked`\n"
        );
        let next = |kind, ids| {
            let lines = lines(kind, 2, ids);
            lines.trim_end().lines().last().map(str::to_owned)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            next(Kind::Lake, &["a", "b"]),
            some("Next: `millrace republish --account ID` for each ID")
        );
        assert_eq!(
            next(Kind::Batch, &["a", "b"]),
            some("Next: remove the cause as the runbook describes, then `millrace reconcile`")
        );
    }

    #[test]
    fn advised_commands_have_the_flag_of_the_deployment() {
        let mut report = report(&[], 0);
        report.output = report
            .output
            .of_deployment(Some("my outputs.json".as_ref()));
        let listed = vec![("a".to_owned(), "of a".to_owned())];
        for (kind, expected) in [
            (
                Kind::Lake,
                "Next: `millrace republish --account a --deployment 'my outputs.json'`",
            ),
            (Kind::MappingMissing, "Next: `npx cdk deploy`"),
        ] {
            let listed = listed.clone();
            let lines = report.lines(kind, &Found { count: 1, listed });
            assert!(lines.iter().any(|line| line == expected), "{lines:?}");
        }
    }

    #[test]
    fn what_was_not_checked_for_one_reason_is_one_line() {
        let mut report = report(&[], 0);
        for number in 0..22 {
            report
                .not_checked(&format!("a{number}"), "AccessDenied")
                .expect("printed");
        }
        let [(reason, unchecked)] = &report.not_checked_because.iter().collect::<Vec<_>>()[..]
        else {
            panic!("one reason");
        };
        let line = unchecked.line(reason);
        assert!(line.starts_with("? a0, a1, "), "{line}");
        assert!(
            line.ends_with("a19 and 2 more: not checked: AccessDenied"),
            "{line}"
        );
        assert_eq!(report.not_checked, 22);
    }

    /// The runbook's table of findings has one row per kind, with the name and the command of the output.
    #[test]
    fn the_runbook_has_a_row_for_each_kind_with_its_command() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
        let runbook = std::fs::read_to_string(path).expect("the runbook");
        let rows: Vec<(&str, &str, &str)> = runbook
            .lines()
            .skip_while(|line| !line.starts_with("| finding |"))
            .skip(2)
            .map_while(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                let kind = cells.next()?.trim().trim_end_matches('`');
                let means = cells.next()?.trim();
                Some((
                    kind,
                    means,
                    cells.next_back().and(cells.next_back())?.trim(),
                ))
            })
            .collect();
        assert_eq!(rows.len(), Kind::ALL.len());
        for ((name, means, cell), kind) in rows.iter().zip(Kind::ALL) {
            assert_eq!(*name, kind.name());
            assert!(means.starts_with(kind.meaning()), "{name}: {means}");
            assert_eq!(serde_json::json!(kind), kind.name());
            let command = format!("`{}`", kind.command(Words::ACCOUNT));
            assert!(cell.ends_with(&command), "{name}: {cell}");
            let is_row_first = cell.starts_with("repair the row");
            let is_expected = kind.beforehand() == Beforehand::RepairRow;
            assert_eq!(is_row_first, is_expected, "{name}: {cell}");
        }
    }
}
