//! `millrace replay`: sends published events again, to one consumer.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, absolute};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use futures_util::stream::{self, Stream, StreamExt as _};
use millrace_core::{AggregateId, Project, Sequence, Timestamp};
use millrace_local_stack::progress::{Progress, Step};
use millrace_runtime::{Ambient as _, ServiceError, System};
use millrace_translator::adapters::kinesis::DomainStream;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::athena::AthenaLake;
use super::checkpoint::{Checkpoint, Earlier, RunScope, hash, name_in};
use super::days::Days;
use super::deployment::Deployment;
use super::histories::{InLake, InTable};
use super::lake::in_slices;
use super::lambda::LambdaFunction;
use super::ports::{Lake, LakeRecord, Pages, RunProgress as _};
use super::records::Merged;
use super::replayer::{History, Outcome, Replayer, Selection, Summary, Target, hand_over};
use super::republish::described;
use super::roles::{self, Role};
use super::targets::Records;
use super::targets::function::FunctionTarget;
use super::targets::lines::{LinesTarget, Stdout, open_file};
use super::targets::stream::StreamTarget;
use super::verify::{LAKE_DELAY_MILLIS, NOT_WELL};
use super::{aggregates, outcome};
use crate::application::events;
use crate::args::{Destination, HistorySource, Replay};
use crate::output::{self, Output, quoted};

/// The number of events after which a line of progress is printed without a terminal.
const MILESTONE: u64 = 10_000;
/// A replay has to end this long before the stream deletes the records with which the consumer continues.
const RETENTION_RESERVE_MILLIS: i64 = 2 * 60 * 60 * 1000;

/// The domain stream.
#[derive(Debug, Clone)]
struct StreamSummary {
    name: String,
    arn: String,
    retention_hours: i32,
}

/// What a run of `replay` sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scope {
    /// The events table's ARN, or its name if it isn't read.
    events_table: String,
    table_id: Option<String>,
    to: String,
    source: String,
    from: u64,
    /// The time of `--since`.
    events_since: Option<String>,
    /// The only aggregates; `None` for all.
    aggregates: Option<Vec<String>>,
}

impl RunScope for Scope {
    /// It depends on the table, the target and the aggregates, but not on what is sent of them, so that a run with
    /// another `--from` or `--since` finds the unfinished run.
    fn file_name(&self) -> String {
        let table = name_in(&self.events_table);
        let aggregates = self.aggregates.iter().flatten();
        let words: Vec<&str> = [self.to.as_str()]
            .into_iter()
            .chain(aggregates.map(String::as_str))
            .collect();
        format!("replay-{table}-{}.jsonl", hash(&words.join("\0")))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events_table,
            table_id,
            to,
            source,
            from,
            events_since,
            aggregates,
        } = self;
        write!(f, "a replay of {events_table}")?;
        if let Some(id) = table_id {
            write!(f, " ({id})")?;
        }
        write!(f, " to {to} from event {from} on, source {source}")?;
        if let Some(since) = events_since {
            write!(f, ", only events since {since}")?;
        }
        match aggregates {
            Some(aggregates) => write!(f, ", only of {}", aggregates.join(", ")),
            None => Ok(()),
        }
    }
}

/// A run of the command.
struct Run<'a, D> {
    deployment: &'a Deployment<D>,
    replay: &'a Replay,
    output: Output,
    progress: &'a Progress,
    stream: StreamSummary,
    earlier: Earlier,
    state: &'a Path,
    /// When the command was started, before it has read anything.
    began: Timestamp,
}

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    replay: &Replay,
    output: Output,
    progress: &Progress,
    state: &Path,
) -> Result<ExitCode> {
    let began = System.now();
    let output = match replay.to {
        Destination::Stdout => output.on_stderr(),
        _ => output,
    };
    let earlier = match (replay.resume, replay.restart) {
        (true, _) => Earlier::Resume,
        (_, true) => Earlier::Discard,
        (false, false) => Earlier::Refuse,
    };
    let run = Run {
        stream: summary_of(deployment, &deployment.names.stream_name).await?,
        deployment,
        replay,
        output,
        progress,
        earlier,
        state,
        began,
    };
    let records = Records::new(run.stream.arn.clone(), began);
    match &replay.to {
        Destination::Function(name) => {
            let client = deployment.clients.lambda.clone();
            let function = LambdaFunction::checked(client, name).await?;
            run.to(|| Ok(FunctionTarget::new(function, System, records)))
                .await
        }
        Destination::Stream(name) => {
            let target = summary_of(deployment, name).await?;
            if target.arn == run.stream.arn {
                let republish = output.command("republish");
                bail!(
                    "{name} is the domain stream, to which a replay adds nothing. To publish events on the domain stream \
                     again, use {republish}. To send them to one consumer, use the consumer's own stream or function"
                );
            }
            let publisher = DomainStream::new(deployment.clients.kinesis.clone(), name.clone());
            run.to(|| Ok(StreamTarget::new(publisher, System))).await
        }
        Destination::File(path) => {
            run.to(|| {
                let file = open_file(path, earlier)?;
                Ok(LinesTarget::new(file, System, records))
            })
            .await
        }
        Destination::Stdout => {
            run.to(|| Ok(LinesTarget::new(Stdout, System, records)))
                .await
        }
    }
}

async fn summary_of<D: Project + Clone>(
    deployment: &Deployment<D>,
    name: &str,
) -> Result<StreamSummary> {
    let described = deployment
        .clients
        .kinesis
        .describe_stream_summary()
        .stream_name(name)
        .send()
        .await
        .with_context(|| format!("could not describe the stream {name}"))?;
    let summary = described
        .stream_description_summary
        .with_context(|| format!("the stream {name} has no description"))?;
    Ok(StreamSummary {
        name: name.to_owned(),
        arn: summary.stream_arn,
        retention_hours: summary.retention_period_hours,
    })
}

impl<D: Project + Clone> Run<'_, D> {
    /// Sends the events to the target that `open` opens.
    async fn to<T: Target>(&self, open: impl FnOnce() -> Result<T>) -> Result<ExitCode> {
        let Self {
            deployment,
            replay,
            output,
            ..
        } = self;
        match replay.source {
            HistorySource::Events => {
                for role in [Role::Events, Role::Cursors] {
                    let checked = roles::check_to_read(deployment, role).await;
                    checked.with_context(|| {
                        let file = deployment.file.display();
                        format!("nothing was sent: the deployment file {file} is wrong")
                    })?;
                }
                let ids = self.listed().await?;
                if replay.dry_run {
                    return plan(&ids, *output);
                }
                let (checkpoint, target) = self.begin(open).await?;
                let (domain, ambient) = (deployment.domain(), System);
                let (rows, cursors) = (deployment.events(), deployment.cursors());
                let left: Vec<String> = ids
                    .into_iter()
                    .filter(|id| !checkpoint.is_completed(id))
                    .collect();
                let (total, width) = (left.len(), output::width(&left));
                let histories = left.into_iter().map(|id| {
                    let history = InTable::new(&domain, &rows, &cursors, &ambient, id.clone());
                    Ok((id, history))
                });
                let histories = stream::iter(histories);
                let sending = self.send(&checkpoint, &target, histories, Some(total), width);
                let sent = Box::pin(sending).await?;
                self.end(checkpoint, sent)
            }
            HistorySource::Lake => {
                if replay.dry_run {
                    bail!("--dry-run is possible only with --source events; remove --source lake");
                }
                let records = self.query().await?;
                let (checkpoint, target) = self.begin(open).await?;
                let asked: BTreeSet<String> =
                    replay.id.iter().map(AggregateId::to_string).collect();
                let found = Mutex::new(BTreeSet::new());
                let is_left = |id: &str| {
                    if !replay.all {
                        let mut found = found.lock().expect("the lock isn't poisoned");
                        found.insert(id.to_owned());
                    }
                    (replay.all || asked.contains(id)) && !checkpoint.is_completed(id)
                };
                let left = lake_histories::<D, _>(records, &is_left);
                let width = output::width(&asked);
                let sending = self.send(&checkpoint, &target, left, None, width);
                let mut sent = Box::pin(sending).await?;
                let found = found.into_inner().expect("the lock isn't poisoned");
                for id in asked.difference(&found) {
                    sent.summary.aggregates += 1;
                    let text = "is not in the lake";
                    let object = json!({ (output.words.noun): id, "events": 0 });
                    output.outcome('✗', id, width, text, &object)?;
                }
                self.end(checkpoint, sent)
            }
        }
    }

    /// The aggregates in the events table that are to be replayed.
    async fn listed(&self) -> Result<BTreeSet<String>> {
        let Self {
            deployment, replay, ..
        } = self;
        if replay.all {
            let name = format!("Listing {}", deployment.words.collection);
            let step = self.progress.start(name);
            let ids = aggregates::all(deployment, &step).await?;
            step.done();
            return Ok(ids);
        }
        let mut ids = BTreeSet::new();
        for id in &replay.id {
            ids.extend(aggregates::one(deployment, id.as_str()).await?);
        }
        Ok(ids)
    }

    async fn query(&self) -> Result<Merged<impl Pages<LakeRecord> + use<D>>> {
        let step = self.progress.start("Querying the lake");
        let lake = AthenaLake::of(self.deployment);
        let id = match &self.replay.id[..] {
            [id] => Some(id.as_str()),
            _ => None,
        };
        let results = in_slices(&lake, Days::until(System.now()), async |days| {
            step.detail(&days.to_string());
            lake.records(days, id).await
        });
        let records = Merged::new(results.await?);
        step.done();
        Ok(records)
    }

    /// Opens the checkpoint and the target.
    async fn begin<T>(&self, open: impl FnOnce() -> Result<T>) -> Result<(Checkpoint, T)> {
        let scope = self.scope().await?;
        let folder = self.state.join("operations");
        let checkpoint = Checkpoint::open(&folder, &scope, self.earlier, self.began)?;
        let target = match open() {
            Ok(target) => target,
            Err(error) => {
                if self.earlier != Earlier::Resume {
                    checkpoint.finish()?;
                }
                return Err(error);
            }
        };
        if let Some(earlier) = checkpoint.earlier_pass() {
            self.output.text(format_args!(
                "Sending the events that the run that was started at {earlier} did not send yet"
            ))?;
        } else if self.replay.resume {
            self.output.text(format_args!(
                "Continuing the run that was started at {}. It has completed {}",
                checkpoint.began(),
                self.output.words.count(checkpoint.completed())
            ))?;
        }
        Ok((checkpoint, target))
    }

    async fn scope(&self) -> Result<Scope> {
        let Self {
            deployment, replay, ..
        } = self;
        let (events_table, table_id) = match replay.source {
            HistorySource::Events => described(deployment).await?,
            HistorySource::Lake => (deployment.names.events_table.clone(), None),
        };
        let to = match &replay.to {
            Destination::File(path) => {
                let path = absolute(path);
                let path = path.with_context(|| format!("could not find {}", replay.to))?;
                Destination::File(path)
            }
            other => other.clone(),
        };
        let ids: BTreeSet<String> = replay.id.iter().map(AggregateId::to_string).collect();
        Ok(Scope {
            events_table,
            table_id,
            to: to.to_string(),
            source: replay.source.to_string(),
            from: replay.from.get(),
            events_since: replay.since.map(|since| since.to_string()),
            aggregates: (!replay.all).then(|| ids.into_iter().collect()),
        })
    }

    /// Sends the histories, and prints the outcomes.
    async fn send<T: Target, H: History>(
        &self,
        checkpoint: &Checkpoint,
        target: &T,
        histories: impl Stream<Item = Result<(String, H), ServiceError>> + Send,
        total: Option<usize>,
        width: usize,
    ) -> Result<SentAll> {
        let Self { replay, output, .. } = self;
        let selection = Selection {
            from: replay.from,
            since: replay.since,
        };
        let replayer = Replayer::new(target, checkpoint, selection, replay.rate);
        let step = self.progress.start("Replaying");
        let (mut left_open, mut milestones) = (0, 0);
        let sending = replayer.replay(histories, |ended, summary| {
            show_progress(&step, summary, total, &mut milestones, *output);
            let Some((id, outcome)) = ended else {
                return Ok(());
            };
            left_open += usize::from(!outcome.is_final());
            print(id, width, outcome, *output)
        });
        let summary = sending.await.with_context(|| {
            let to = &replay.to;
            match to {
                Destination::Stdout => format!(
                    "the replay to stdout ended early, and its reader may lack records that were written; start over \
                     with {}",
                    output.command(repeat(replay, Some("--restart"), *output))
                ),
                _ => format!(
                    "the replay to {to} ended early; its progress is kept, so continue it with {}",
                    output.command(repeat(replay, Some("--resume"), *output))
                ),
            }
        })?;
        step.done();
        Ok(SentAll { summary, left_open })
    }

    /// Prints the summary, and how the consumer continues.
    fn end(&self, checkpoint: Checkpoint, sent: SentAll) -> Result<ExitCode> {
        let SentAll { summary, left_open } = sent;
        let (output, began) = (self.output, checkpoint.began());
        let continues = (self.replay.all && summary.is_complete()).then(|| self.continues(began));
        if continues.as_ref().is_some_and(|it| it.is_too_late) {
            checkpoint.end_pass()?;
        } else if left_open == 0 {
            checkpoint.finish()?;
        }
        let sign = if summary.is_complete() { '✓' } else { '✗' };
        let mut object = json!({
            (output.words.collection): summary.aggregates, "sent": summary.sent,
            "events": summary.events, "began": began.to_string(),
        });
        if let Some(Continues { from, is_too_late }) = &continues {
            object["startingPosition"] = "AT_TIMESTAMP".into();
            object["startingPositionTimestamp"] = from.to_string().into();
            object["isTooLate"] = (*is_too_late).into();
        }
        output.line(
            format_args!(
                "{sign} {} of {} completely sent: {}",
                summary.sent,
                output.words.count(summary.aggregates),
                events(summary.events)
            ),
            &object,
        )?;
        if !summary.is_complete() {
            let resume = (left_open > 0).then_some("--resume");
            return outcome::advise_repeating(&repeat(self.replay, resume, output), output);
        }
        let Some(continues) = continues else {
            return Ok(ExitCode::SUCCESS);
        };
        self.advise(&continues)?;
        Ok(if continues.is_too_late {
            ExitCode::from(NOT_WELL)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Where the consumer continues on the domain stream after a replay that began at this time.
    fn continues(&self, began: Timestamp) -> Continues {
        let delay = match self.replay.source {
            HistorySource::Events => 0,
            // Later events may not have been in the lake.
            HistorySource::Lake => LAKE_DELAY_MILLIS,
        };
        let before = began.unix_millis() - delay;
        let from = hand_over(Timestamp::from_unix_millis(before).unwrap_or(began));
        let retention = i64::from(self.stream.retention_hours) * 60 * 60 * 1000;
        let age = System.now().unix_millis() - from.unix_millis();
        Continues {
            from,
            is_too_late: age > retention - RETENTION_RESERVE_MILLIS,
        }
    }

    fn advise(&self, continues: &Continues) -> Result<()> {
        let Self { output, stream, .. } = self;
        let (from, name) = (continues.from, &stream.name);
        if continues.is_too_late {
            let hours = stream.retention_hours;
            let again = output.command(repeat(self.replay, Some("--resume"), *output));
            return output.text(format_args!(
                "✗ the replay took too long: the stream {name} retains records for {hours} hours, so it may no longer \
                 contain all events since {from}. Run {again}. It sends only the events that were published since \
                 the replay read their {}, and prints a later time",
                output.words.collection
            ));
        }
        if self.deployment.is_local {
            return output.next(format_args!(
                "configure the consumer to read the stream {name} from TRIM_HORIZON. The emulator doesn't support \
                 AT_TIMESTAMP; on AWS, use AT_TIMESTAMP {from}"
            ));
        }
        output.next(format_args!(
            "configure the consumer to read the stream {name} from {from}: create its event source mapping with \
             `StartingPosition` AT_TIMESTAMP and this `StartingPositionTimestamp`. The construct `Subscriber` has the \
             option `startingPosition`. The consumer skips the duplicates"
        ))
    }
}

/// The command that does the same, with a flag that says what becomes of the unfinished run.
fn repeat(replay: &Replay, flag: Option<&str>, output: Output) -> String {
    let mut words = vec!["replay".to_owned()];
    if replay.all {
        words.push("--all".to_owned());
    }
    for id in &replay.id {
        words.push(format!("--{} {}", output.words.noun, quoted(id.as_str())));
    }
    if replay.from != Sequence::FIRST {
        words.push(format!("--from {}", replay.from));
    }
    if let Some(since) = replay.since {
        words.push(format!("--since {since}"));
    }
    if replay.source != HistorySource::Events {
        words.push(format!("--source {}", replay.source));
    }
    if let Some(rate) = replay.rate {
        words.push(format!("--rate {rate}"));
    }
    words.push(format!("--to {}", quoted(&replay.to.to_string())));
    words.extend(flag.map(str::to_owned));
    words.join(" ")
}

/// The result of sending.
#[derive(Clone, Copy)]
struct SentAll {
    summary: Summary,
    /// The number of aggregates for which a run that continues this one has something to do.
    left_open: usize,
}

/// How a consumer continues on the domain stream.
struct Continues {
    /// Where it begins to read.
    from: Timestamp,
    /// Whether the stream may no longer have all events since then.
    is_too_late: bool,
}

/// The histories in the lake of the aggregates that `is_left` selects.
fn lake_histories<'a, D: Project, P: Pages<LakeRecord> + 'a>(
    records: Merged<P>,
    is_left: &'a (impl Fn(&str) -> bool + Send + Sync),
) -> impl Stream<Item = Result<(String, InLake<D>), ServiceError>> + Send + 'a {
    let read = stream::unfold(Some(records), async |records| {
        let mut records = records?;
        match records.next().await {
            Ok(Some((id, spool))) => Some((Ok((id, InLake::<D>::new(spool))), Some(records))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    read.filter(move |next| {
        let is_left = next.as_ref().map_or(true, |(id, _)| is_left(id));
        std::future::ready(is_left)
    })
}

fn show_progress(
    step: &Step,
    summary: Summary,
    total: Option<usize>,
    milestones: &mut u64,
    output: Output,
) {
    let of = match total {
        Some(total) => format!("{} of {}", summary.aggregates, output.words.count(total)),
        None => output.words.count(summary.aggregates),
    };
    let text = format!("{}, {of}", events(summary.events));
    if summary.events / MILESTONE > *milestones {
        *milestones = summary.events / MILESTONE;
        step.milestone(&text);
    } else {
        step.detail(&text);
    }
}

fn plan(ids: &BTreeSet<String>, output: Output) -> Result<ExitCode> {
    for id in ids {
        output.outcome(
            '→',
            id,
            output::width(ids),
            "would be replayed",
            &json!({ (output.words.noun): id }),
        )?;
    }
    output.text(format_args!(
        "{}; nothing was sent",
        output.words.count(ids.len())
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the outcome of one aggregate.
fn print(id: &str, width: usize, outcome: &Outcome, output: Output) -> Result<()> {
    let noun = output.words.noun;
    let (sign, text, object) = match outcome {
        Outcome::Sent {
            through,
            events: number,
        } => (
            '✓',
            format!("sent through event {through}: {}", events(*number)),
            json!({ (noun): id, "sentThrough": through, "events": number }),
        ),
        Outcome::Unreadable(reason) => (
            '✗',
            format!("not completely sent: {reason}"),
            json!({ (noun): id, "unreadable": true, "reason": reason }),
        ),
        Outcome::Refused { event, reason } => (
            '✗',
            format!("not completely sent, stopped at event {event}: {reason}"),
            json!({ (noun): id, "refusedAt": event, "reason": reason }),
        ),
        Outcome::Incomplete(reason) => (
            '✗',
            format!("not completely sent, because reading failed: {reason}"),
            json!({ (noun): id, "incomplete": true, "reason": reason }),
        ),
        Outcome::TooFewEvents(number) => (
            '✗',
            format!(
                "nothing sent: only {} are published, fewer than --from",
                events(number.get())
            ),
            json!({ (noun): id, "events": number }),
        ),
    };
    output.outcome(sign, id, width, text, &object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(to: &str, aggregates: Option<&[&str]>) -> Scope {
        Scope {
            events_table: "arn:aws:dynamodb:eu-north-1:1:table/events".to_owned(),
            table_id: Some("id".to_owned()),
            to: to.to_owned(),
            source: "events".to_owned(),
            from: 3,
            events_since: Some("2026-11-20T21:03:05.000Z".to_owned()),
            aggregates: aggregates.map(|ids| ids.iter().map(|&id| id.to_owned()).collect()),
        }
    }

    #[test]
    fn a_run_is_continued_only_with_the_same_parameters() {
        let folder = tempfile::tempdir().expect("a folder");
        let began = Timestamp::parse("2026-11-21T08:00:00Z").expect("a time");
        let later = Timestamp::parse("2026-11-21T09:00:00Z").expect("a time");
        let open = |scope: &Scope, earlier, now| {
            Checkpoint::open(folder.path(), scope, earlier, now).map_err(|error| error.to_string())
        };
        let own = scope("function:loyalty", None);
        let run = open(&own, Earlier::Refuse, began).expect("new");
        run.record("a", Sequence::FIRST).expect("recorded");
        drop(run);
        let run = open(&own, Earlier::Resume, later).expect("the same");
        assert_eq!(run.began(), began);
        assert_eq!(run.reached("a"), Some(Sequence::FIRST));
        drop(run);
        for change in [
            |scope: &mut Scope| scope.from = 4,
            |scope: &mut Scope| scope.events_since = None,
            |scope: &mut Scope| scope.source = "lake".to_owned(),
            |scope: &mut Scope| scope.table_id = None,
        ] {
            let mut other = own.clone();
            change(&mut other);
            let error = open(&other, Earlier::Resume, later).expect_err("another scope");
            assert!(error.contains("another scope"), "{error}");
            assert!(
                error.contains("function:loyalty from event 3 on"),
                "{error}"
            );
            let error = open(&other, Earlier::Refuse, later).expect_err("unfinished");
            assert!(error.contains("--resume"), "{error}");
        }
        // Runs to other targets and of other aggregates don't affect it.
        for other in [
            scope("function:notifications", None),
            scope("function:loyalty", Some(&["a"])),
            scope("function:loyalty", Some(&["a", "b"])),
        ] {
            open(&other, Earlier::Refuse, later).expect("new");
        }
    }
}
