//! `millrace verify`: compares events, cursors, read models and lake.
//!
//! It says that all is well only if everything was checked. What could not be checked is named, with
//! the reason, and the exit status is the one of a finding.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::stream::{self, StreamExt as _};
use millrace_core::{AggregateId, Data, Project, Sequence, Timestamp, answer};
use millrace_local_stack::progress::Progress;
use millrace_runtime::{Ambient as _, Chain, System};
use serde_json::{Value, json};

use super::deployment::Deployment;
use super::standing::{Finding, Kind, Standing};
use super::{CONCURRENCY, aggregates, lake};
use crate::args::Verify;
use crate::follower::{self, Follower, Start};
use crate::output::Output;

/// The exit status that says that something was found, or not completed, or not checked.
pub(crate) const NOT_WELL: u8 = 3;
/// How often an aggregate that lacks events is examined again: publication may only be lagging.
const MAX_EXAMINATIONS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an event may take from the stream to the lake on AWS: the archiver's window,
/// Firehose's buffer, and Firehose's own retries.
const ON_ITS_WAY_MILLIS: i64 = 15 * 60 * 1000;
/// How long the local lake may take.
const LOCAL_PATIENCE: Duration = Duration::from_secs(30);
/// After so many empty reads in a row the stream counts as read to its end.
const EMPTY_READS: u32 = 5;

/// What is verified.
struct Scope {
    ids: BTreeSet<String>,
    /// How many aggregates there are, where this is a sample of them.
    sampled_of: Option<usize>,
}

/// What was found so far.
struct Report {
    output: Output,
    kinds: BTreeMap<Kind, usize>,
    events: u64,
    not_checked: usize,
    /// Through which event each aggregate has to be in the lake by now.
    due: HashMap<String, Sequence>,
}

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let scope = select(deployment, verify, progress).await?;
    let mut report = Report {
        output,
        kinds: BTreeMap::new(),
        events: 0,
        not_checked: 0,
        due: HashMap::new(),
    };
    let started = System.now();
    let settled_before = if deployment.is_local {
        // Nothing waits in a buffer there.
        started.unix_millis() + ON_ITS_WAY_MILLIS
    } else {
        started.unix_millis() - ON_ITS_WAY_MILLIS
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
    check_lake(deployment, verify, started, &mut report, progress).await?;
    report.conclude(&scope)
}

/// Examines each aggregate, and again those that lack events. In a later examination, these have to
/// include the events that there were in the first one.
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
        let Finding { kind, detail } = finding;
        *self.kinds.entry(*kind).or_default() += 1;
        let command = kind.command(self.output.words).replace("ID", id);
        let first = if kind.needs_row_repair() {
            "repair the row as the runbook says, then "
        } else {
            ""
        };
        self.output.result(
            format_args!("✗ {id}: {}: {detail}: {first}`{command}`", kind.name()),
            &json!({
                (self.output.words.noun): id, "finding": kind, "detail": detail, "command": command,
            }),
        )
    }

    fn not_checked(&mut self, what: &str, reason: &str) -> Result<()> {
        self.not_checked += 1;
        self.output.result(
            format_args!("? {what}: not checked: {reason}"),
            &json!({ "notChecked": what, "reason": reason }),
        )
    }

    fn conclude(&self, scope: &Scope) -> Result<ExitCode> {
        let is_well = self.kinds.is_empty() && self.not_checked == 0;
        self.output
            .result(self.verdict(scope), &self.summary(scope))?;
        Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_WELL)
        })
    }

    fn verdict(&self, scope: &Scope) -> String {
        let collection = self.output.words.collection;
        let what = match scope.sampled_of {
            None => format!("{} {collection}", scope.ids.len()),
            Some(all) => format!("a sample of {} of {all} {collection}", scope.ids.len()),
        };
        let found: Vec<String> = self
            .kinds
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.name()))
            .collect();
        let found = found.join(", ");
        let said = match (found.is_empty(), self.not_checked, scope.sampled_of) {
            (true, 0, None) => "all is well".to_owned(),
            (true, 0, Some(_)) => "nothing found in the sample".to_owned(),
            (true, not_checked, _) => format!("nothing found, but {not_checked} not checked"),
            (false, 0, _) => format!("findings: {found}"),
            (false, not_checked, _) => format!("findings: {found}; {not_checked} not checked"),
        };
        format!("{what}, {} events: {said}", self.events)
    }

    fn summary(&self, scope: &Scope) -> Value {
        let is_all = self.not_checked == 0 && scope.sampled_of.is_none();
        json!({
            (self.output.words.collection): scope.ids.len(), "sampledOf": scope.sampled_of, "events": self.events,
            "findings": self.kinds, "notChecked": self.not_checked,
            "well": self.kinds.is_empty() && is_all,
        })
    }
}

/// Compares the lake with the events, last, since the lake comes last.
async fn check_lake<D: Project + Clone>(
    deployment: &Deployment<D>,
    verify: &Verify,
    started: Timestamp,
    report: &mut Report,
    progress: &Progress,
) -> Result<()> {
    let step = progress.start("Asking Athena");
    let aggregate = verify.id.as_ref().map(AggregateId::as_str);
    let asked = Instant::now();
    let lacking = loop {
        let lacking = match lake::lacking(deployment, aggregate, &report.due).await {
            Ok(lacking) => lacking,
            Err(error) => return report.not_checked("the lake", &format!("{error:#}")),
        };
        if lacking.is_empty() || !deployment.is_local || asked.elapsed() > LOCAL_PATIENCE {
            break lacking;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut on_their_way = HashSet::new();
    if !lacking.is_empty() && !deployment.is_local {
        let since = started.unix_millis() - ON_ITS_WAY_MILLIS;
        let since = Timestamp::from_unix_millis(since).unwrap_or(started);
        match published_since(deployment, since).await {
            Ok(published) => on_their_way = published,
            Err(error) => return report.not_checked("the lake", &format!("{error:#}")),
        }
    }
    step.done();
    for (id, detail) in lacking {
        if on_their_way.contains(&id) {
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

/// The aggregates of which the stream received events since a time: an event that was published late
/// (by `redrive`, or after an outage) is due in the lake that much later.
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

/// The aggregates to examine. Those that have no events but a cursor or a read model are among them.
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
    output.result(
        format_args!(
            "{}: {} events, published through {}, view {}",
            standing.id,
            standing.through,
            published.map_or_else(|| "?".to_owned(), |published| published.to_string()),
            serde_json::to_string(&view)?,
        ),
        &json!({
            (output.words.noun): standing.id, "events": standing.through, "publishedThrough": published,
            "view": view, "expected": expected,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Words;
    use crate::output::Format;

    fn report(kinds: &[(Kind, usize)], not_checked: usize) -> Report {
        Report {
            output: Output {
                format: Format::Json,
                words: Words::ACCOUNT,
            },
            kinds: kinds.iter().copied().collect(),
            events: 9,
            not_checked,
            due: HashMap::new(),
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

    /// The runbook's table of findings: a row of each kind, in the words of the output.
    #[test]
    fn the_runbook_has_a_row_for_each_kind_with_its_command() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");
        let runbook = std::fs::read_to_string(path).expect("the runbook");
        let rows: Vec<(&str, &str)> = runbook
            .lines()
            .skip_while(|line| !line.starts_with("| finding |"))
            .skip(2)
            .map_while(|line| {
                let mut cells = line.strip_prefix("| `")?.split('|');
                let kind = cells.next()?.trim().trim_end_matches('`');
                Some((kind, cells.next_back().and(cells.next_back())?.trim()))
            })
            .collect();
        assert_eq!(rows.len(), Kind::ALL.len());
        for ((name, cell), kind) in rows.iter().zip(Kind::ALL) {
            assert_eq!(*name, kind.name());
            assert_eq!(serde_json::json!(kind), kind.name());
            let command = format!("`{}`", kind.command(Words::ACCOUNT));
            assert!(cell.ends_with(&command), "{name}: {cell}");
            let is_row_first = cell.starts_with("the row's repair");
            assert_eq!(is_row_first, kind.needs_row_repair(), "{name}: {cell}");
        }
    }
}
