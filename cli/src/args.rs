//! The definition of the command line: subcommands, flags and their help texts.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use millrace_core::{AggregateId, Sequence, Timestamp};

use crate::application::Words;
use crate::follower::Start;

const EXIT_CODES: &str = "Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong.";
const FINDING_CODES: &str = "Exit codes: 0 done and everything checked, 1 it failed, 2 the command line is wrong, \
     3 there are findings, or something was not completed or not checked.";

/// Millrace: an event-sourced DynamoDB table as a stream of domain events.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// Print results as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Subcommands,
}

/// The subcommands of `millrace`.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// Check that the required programs are installed
    #[command(after_help = EXIT_CODES)]
    Doctor,
    /// Show an end-to-end walkthrough of the pipeline, on a local stack of its own
    ///
    /// Starts a local stack, sends commands, shows which are refused, and follows one record through every
    /// stage of the pipeline. Every result that is shown is checked. The stack is stopped afterwards.
    #[command(after_help = EXIT_CODES)]
    Demo,
    /// Run the local stack and follow its domain events until Ctrl-C
    ///
    /// While the stack runs, `local.json` in the state folder contains its addresses. With --json, the first
    /// line on stdout has the same content, and every further line is a domain event.
    #[command(after_help = EXIT_CODES)]
    Up(Up),
    /// Stop the local stack that `up` started
    #[command(after_help = EXIT_CODES)]
    Down(State),
    /// Print the domain events of all shards as they are published, until Ctrl-C
    #[command(after_help = help("tail --from 2026-11-20T21:00:00Z", EXIT_CODES))]
    Tail(Tail),
    /// Compare events, cursors, read models and lake
    ///
    /// Reports one finding per cause, with the command that repairs it. Waits some seconds for events that
    /// are still being processed, and reports what it could not check.
    #[command(after_help = help("verify --id 0e5bab83-270a-48ba-8eb6-bca6046a03cb", FINDING_CODES))]
    Verify(Verify),
    /// Run the reconciler now, and print its report
    ///
    /// The reconciler also runs by a schedule. It examines blocked, parked and stale aggregates, discarded
    /// batches and event source mappings, repairs what can be repaired, and continues its slow pass over
    /// all aggregates. If a run is under way, the command waits for its end.
    #[command(after_help = help("reconcile", FINDING_CODES))]
    Reconcile(Reconcile),
    /// Publish the pending events, in order, from the events table
    ///
    /// Without --id, --blocked and --lagging, it publishes the events of all aggregates that are blocked or
    /// whose cursor isn't at their last event. A failure of one aggregate doesn't end the run. A block is
    /// removed if its row can be decoded again. The command is safe at any time: consumers skip duplicates.
    #[command(after_help = help("redrive --blocked --dry-run", FINDING_CODES))]
    Redrive(Redrive),
    /// Publish events again on the domain stream, to repair it
    ///
    /// All consumers receive the events, and skip the duplicates. Use this command to publish the events of a table that is
    /// older than its stream, or events that several consumers lack. To send history to one consumer, such as a new one,
    /// use `replay`, which adds nothing to the domain stream.
    ///
    /// A run records its progress in the folder operations/ of the state folder (.millrace). If a run was stopped, or
    /// could not complete an aggregate, the next run fails unless it has --resume or --restart.
    #[command(after_help = help("republish --all", FINDING_CODES))]
    Republish(Republish),
    /// Send published events again, to one consumer
    ///
    /// Use it for a new consumer, or for one that has missed events. Nothing is added to the domain stream, and no
    /// other consumer receives the events: to repair the domain stream itself, use `republish`.
    ///
    /// `--to function:NAME` invokes a Lambda function, given by its name or ARN, with batches as Lambda delivers them
    /// from Kinesis. If the function reports an event as incomplete, the command sends the event again.
    ///
    /// `--to stream:NAME` puts the events on a Kinesis stream of the consumer's own.
    ///
    /// `--to file:PATH` writes the events to a file. Each line is a record as Lambda delivers it from Kinesis.
    ///
    /// `--to -` writes the same lines to stdout. Everything else is then printed on stderr.
    ///
    /// The events of an aggregate are sent in order, with the bytes that they have on the domain stream, up to the last
    /// published one. An event may be sent several times. If a run with --all has sent all events, the command prints the
    /// time from which the consumer has to read the domain stream. A run records its progress in the folder operations/ of the state folder
    /// (.millrace). If a run was stopped, or could not complete an aggregate, the next run fails unless it has --resume
    /// or --restart.
    #[command(after_help = help("replay --all --to function:loyalty-points", FINDING_CODES))]
    Replay(Replay),
    /// Compare a read model with the events table, and replace what differs
    ///
    /// Queries and the projector continue during the rebuild. A failure of one aggregate doesn't end the run.
    /// The command is safe at any time, and a run that was stopped can be started again.
    #[command(after_help = help("rebuild views", FINDING_CODES))]
    Rebuild(Rebuild),
    /// Restore the read models from the lake, and compare the lake with the events table if it can be read
    ///
    /// Use it if the events table is lost or can't be read; otherwise use `rebuild`, which is faster. It names the
    /// events that the lake lacks, and records that can't be decoded or that differ from the events table. It restores
    /// each aggregate up to the last event before the first of these. Athena charges for reading the whole lake, also
    /// with --id. Begin with --dry-run. A run that was stopped can be started again.
    #[command(after_help = help("restore --from lake --all --dry-run", FINDING_CODES))]
    Restore(Restore),
    /// Show one aggregate's rows, events, cursor and view
    #[command(after_help = help("inspect --id 0e5bab83-270a-48ba-8eb6-bca6046a03cb --at 2026-11-20T21:00:00Z", EXIT_CODES))]
    Inspect(Inspect),
    /// Query the lake with a named query of the domain
    ///
    /// Without a name, it lists the queries with their parameters. The result is a table with amounts in major units,
    /// and bars if the query has a chart. With --csv and --json, amounts are in minor units, as the lake contains
    /// them. Athena charges for what a query reads. If you stop the command, it also stops the query in Athena.
    #[command(after_help = help("query daily-report --set from=2026-11-20", EXIT_CODES))]
    Query(Query),
    /// Generate the documents of the public contract from the code
    ///
    /// Writes the folder contracts/ (JSON Schemas, AsyncAPI, OpenAPI, the lake's columns) and docs/events.md. Then
    /// compares them with the frozen copies of what was published, in contracts/published/, and reports each change
    /// that would break a subscriber or a client.
    #[command(after_help = help("contract --check", FINDING_CODES))]
    Contract(Contract),
}

/// The placeholder for the command's name in an example.
const EXAMPLE: &str = "COMMAND";

fn help(example: &str, exit_codes: &str) -> String {
    format!("Example: {EXAMPLE} {example}\n\n{exit_codes}")
}

/// The deployment that an operator's command works on.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// The file that `cdk deploy --outputs-file FILE` wrote, or a local stack's local.json [default: the
    /// local stack of this checkout]
    #[arg(long = "deployment", value_name = "FILE", env = "MILLRACE_DEPLOYMENT")]
    pub deployment: Option<PathBuf>,
}

/// The flags of `tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Print only the events of this aggregate
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<AggregateId>,
    /// Print only the events of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Where to start: latest, beginning, or an RFC 3339 time
    #[arg(long, default_value = "latest", value_parser = start)]
    pub from: Start,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The flags of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Verify only this aggregate, and print its events, cursor and view
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<AggregateId>,
    /// Verify only N aggregates, chosen at random
    #[arg(long, value_name = "N", conflicts_with = "id")]
    pub sample: Option<NonZeroUsize>,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The flags of `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Dismiss a discarded batch, so that it is no longer reported: its key in the failure bucket (may be
    /// repeated)
    #[arg(long, value_name = "OBJECT")]
    pub dismiss: Vec<String>,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The flags of `redrive`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Redrive {
    /// Redrive only this aggregate
    #[arg(long, value_name = "ID", value_parser = id, conflicts_with_all = ["blocked", "lagging"])]
    pub id: Option<AggregateId>,
    /// Select the aggregates that are blocked
    #[arg(long)]
    pub blocked: bool,
    /// Select the aggregates whose cursor lags their events, is ahead of them, or is unreadable
    #[arg(long)]
    pub lagging: bool,
    /// Reset cursors that are unreadable or ahead of the events table, and publish from event 1
    ///
    /// This includes a cursor that is blocked because the row of an announced event was deleted. After a
    /// restore of the events table, cursors may be ahead of it: read the runbook first.
    #[arg(long)]
    pub reset_cursor: bool,
    /// Print which aggregates would be redriven, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The flags of `republish`.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["id", "all"])]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Republish {
    /// Republish only this aggregate
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<AggregateId>,
    /// Republish all aggregates
    #[arg(long)]
    pub all: bool,
    /// Start at this sequence; earlier events that were never published are published too
    #[arg(long, value_name = "SEQ", default_value = "1", value_parser = sequence)]
    pub from: Sequence,
    /// Continue an unfinished run, from the last recorded sequence of each aggregate
    #[arg(long, conflicts_with = "restart")]
    pub resume: bool,
    /// Discard the progress of an unfinished run, and start over
    #[arg(long)]
    pub restart: bool,
    /// Print which aggregates would be republished, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The flags of `replay`.
#[derive(Debug, Clone, Args)]
#[group(id = "which", required = true, multiple = false, args = ["id", "all"])]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Replay {
    /// The consumer: `function:NAME`, `stream:NAME`, `file:PATH`, or `-` for stdout
    #[arg(long, value_name = "TARGET", value_parser = destination)]
    pub to: Destination,
    /// Replay only this aggregate (may be repeated)
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Vec<AggregateId>,
    /// Replay all aggregates
    #[arg(long)]
    pub all: bool,
    /// Start at this sequence
    ///
    /// A consumer that checks sequences applies these events only if it has applied all earlier ones.
    #[arg(long, value_name = "SEQ", default_value = "1", value_parser = sequence, conflicts_with = "all")]
    pub from: Sequence,
    /// Start each aggregate at its first event that happened at this RFC 3339 time or later
    ///
    /// All later events of the aggregate follow, so that their sequences have no gaps. A consumer that checks sequences
    /// applies these events only if it has applied all earlier ones. Don't use this option for a new consumer.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// The source of the events
    ///
    /// From the lake, `replay` sends an aggregate up to the event before the first one that is missing or contradictory. Athena charges for
    /// reading the whole lake, also with --id.
    #[arg(long, value_name = "SOURCE", default_value = "events")]
    pub source: HistorySource,
    /// Send at most this number of events per second, on average
    #[arg(long, value_name = "EVENTS")]
    pub rate: Option<NonZeroU32>,
    /// Continue an unfinished run, from the last recorded sequence of each aggregate
    #[arg(long, conflicts_with = "restart")]
    pub resume: bool,
    /// Discard the progress of an unfinished run, and start over
    ///
    /// With `--to file:PATH`, this also deletes the content of PATH.
    #[arg(long)]
    pub restart: bool,
    /// Print which aggregates would be replayed, and send nothing
    ///
    /// It checks that the function or the stream exists. It isn't possible with --source lake.
    #[arg(long)]
    pub dry_run: bool,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// Where `replay` reads events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum HistorySource {
    /// The events table.
    Events,
    /// The lake: the events in S3, which Athena reads.
    Lake,
}

/// The consumer to which `replay` sends events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A Lambda function, by name or ARN.
    Function(String),
    /// A Kinesis stream, by name.
    Stream(String),
    /// A file.
    File(PathBuf),
    /// Stdout.
    Stdout,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(f, "function:{name}"),
            Self::Stream(name) => write!(f, "stream:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Stdout => f.write_str("-"),
        }
    }
}

/// The flags of `rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// The read model to rebuild
    pub model: Model,
    /// Rebuild only this aggregate
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<AggregateId>,
    /// Print how many aggregates would be compared, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// A read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// The views: the current state of each aggregate.
    Views,
    /// The histories: the events of each aggregate.
    History,
}

/// The flags of `query`.
#[derive(Debug, Args)]
pub struct Query {
    /// The query's name. Without a name, the command lists the queries and their parameters
    pub name: Option<String>,
    /// The value of one parameter; a DATE is 2026-11-20, today or today-30, a TIME is RFC 3339 or now. Use the flag once
    /// for each parameter
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, requires = "name")]
    pub set: Vec<(String, String)>,
    /// Print the result as CSV
    #[arg(long, conflicts_with = "json", requires = "name")]
    pub csv: bool,
    /// Write the query's chart to this file, as SVG; an error if the query has no chart
    #[arg(long, value_name = "FILE", requires = "name")]
    pub svg: Option<PathBuf>,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// Reads `NAME=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it isn't NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The flags of `restore`.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["id", "all"])]
pub struct Restore {
    /// The source of the events
    #[arg(long, value_name = "SOURCE")]
    pub from: Source,
    /// Restore only this aggregate
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: Option<AggregateId>,
    /// Restore all aggregates
    #[arg(long)]
    pub all: bool,
    /// Only compare lake, events table and read models, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// A copy of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The lake: the events in S3, which Athena reads.
    Lake,
}

/// The flags of `contract`.
#[derive(Debug, Args)]
pub struct Contract {
    /// Write nothing, and report the documents that differ from the code
    #[arg(long)]
    pub check: bool,
    /// Freeze the contract as published, unless a change of the frozen one would break a subscriber or a client
    #[arg(long, conflicts_with = "check")]
    pub publish: bool,
}

/// The flags of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The aggregate to show
    #[arg(long, value_name = "ID", value_parser = id)]
    pub id: AggregateId,
    /// Show rows, events and fold as of this RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<Timestamp>,
    /// The deployment.
    #[command(flatten)]
    pub target: Target,
}

/// The command line, with the application's words as aliases: its noun for `--id`, and its names of the read
/// models for those of `rebuild`.
#[must_use]
pub fn command(words: Words) -> clap::Command {
    let mut command = Cli::command().name(words.command);
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |command| {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default().replace(EXAMPLE, words.command);
            command
                .after_help(help)
                .mut_args(|argument| match argument.get_id().as_str() {
                    "id" => argument.visible_alias(words.noun),
                    "model" => argument.value_parser(model(words)),
                    _ => argument,
                })
        });
    }
    command
}

fn model(words: Words) -> impl TypedValueParser<Value = Model> {
    let names = [
        PossibleValue::new("views").alias(words.collection),
        PossibleValue::new("history").alias(words.history),
    ];
    PossibleValuesParser::new(names).map(move |name| {
        if name == "history" || name == words.history {
            Model::History
        } else {
            Model::Views
        }
    })
}

fn id(text: &str) -> Result<AggregateId, String> {
    AggregateId::new(text).map_err(|error| format!("it {error}"))
}

fn sequence(text: &str) -> Result<Sequence, String> {
    let number = text.parse().ok().and_then(Sequence::new);
    number
        .filter(|sequence| *sequence != Sequence::NONE)
        .ok_or_else(|| "it is not an integer of at least 1".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| format!("it {error}"))
}

fn destination(text: &str) -> Result<Destination, String> {
    let wrong = "write function:NAME, stream:NAME, file:PATH or -";
    if text == "-" {
        return Ok(Destination::Stdout);
    }
    let (kind, name) = text.split_once(':').ok_or(wrong)?;
    if name.is_empty() {
        return Err(format!("nothing follows `{kind}:`; {wrong}"));
    }
    match kind {
        "function" => Ok(Destination::Function(name.to_owned())),
        "stream" => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if name.chars().all(is_plain) {
                Ok(Destination::Stream(name.to_owned()))
            } else {
                Err("the name of a stream has only letters, digits, `_`, `.` and `-`".to_owned())
            }
        }
        "file" => Ok(Destination::File(name.into())),
        _ => Err(wrong.to_owned()),
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "latest" => Ok(Start::Latest),
        "beginning" => Ok(Start::Beginning),
        _ => time(text)
            .map(Start::At)
            .map_err(|error| format!("{error}; or write `latest` or `beginning`")),
    }
}

/// The flags of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// The emulator's port on 127.0.0.1 [default: a free one]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Return once the stack is ready; the command `down` stops it
    #[arg(long)]
    pub detach: bool,
    /// The stack.
    #[command(flatten)]
    pub state: State,
}

/// The stack that a command works on. Several can run at the same time.
#[derive(Debug, Args)]
pub struct State {
    /// The folder of the stack's files [default: .millrace in the repository]
    #[arg(long = "state", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use clap::error::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn parse<T: Into<std::ffi::OsString> + Clone>(
        line: impl IntoIterator<Item = T>,
    ) -> Result<Cli, clap::Error> {
        let matches = command(Words::ACCOUNT).try_get_matches_from(line)?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn the_domains_words_are_aliases() {
        for line in ["inspect --id a", "inspect --account a"] {
            let cli = parse(format!("millrace {line}").split(' ')).expect(line);
            let Subcommands::Inspect(inspect) = cli.command else {
                panic!("{line}");
            };
            assert_eq!(inspect.id.as_str(), "a");
        }
        for (name, expected) in [
            ("views", Model::Views),
            ("accounts", Model::Views),
            ("history", Model::History),
            ("transactions", Model::History),
        ] {
            let cli = parse(["millrace", "rebuild", name]).expect(name);
            let Subcommands::Rebuild(rebuild) = cli.command else {
                panic!("{name}");
            };
            assert_eq!(rebuild.model, expected, "{name}");
        }
    }

    #[test]
    fn a_target_is_a_function_a_stream_a_file_or_stdout() {
        let arn = "arn:aws:lambda:eu-north-1:123456789012:function:loyalty:live";
        for (text, expected) in [
            (
                "function:loyalty",
                Destination::Function("loyalty".to_owned()),
            ),
            (
                &format!("function:{arn}"),
                Destination::Function(arn.to_owned()),
            ),
            (
                "stream:a.b-c_D1",
                Destination::Stream("a.b-c_D1".to_owned()),
            ),
            (
                "file:a:b/c d.jsonl",
                Destination::File("a:b/c d.jsonl".into()),
            ),
            ("-", Destination::Stdout),
        ] {
            assert_eq!(destination(text), Ok(expected.clone()));
            assert_eq!(expected.to_string(), text);
        }
        let line = "millrace replay --to - --account a --account b --from 3";
        let cli = parse(line.split(' ')).expect(line);
        let Subcommands::Replay(replay) = cli.command else {
            panic!("{line}");
        };
        assert_eq!((replay.id.len(), replay.from.get()), (2, 3));
    }

    #[test]
    fn the_definition_is_valid() {
        command(Words::ACCOUNT).debug_assert();
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        for line in [
            "millrace",
            "millrace fly",
            "millrace up --port 0",
            "millrace up --port 70000",
            "millrace up --port abc",
            "millrace up extra",
            "millrace demo --port 4566",
            "millrace doctor --state x",
            "millrace tail --from yesterday",
            "millrace verify --account a --sample 5",
            "millrace verify --sample many",
            "millrace verify --sample 0",
            "millrace reconcile --dismiss",
            "millrace reconcile now",
            "millrace redrive --account a --blocked",
            "millrace republish",
            "millrace republish --all --account a",
            "millrace republish --all --from 0",
            "millrace republish --all --resume --restart",
            "millrace replay --all",
            "millrace replay --to -",
            "millrace replay --to - --all --account a",
            "millrace replay --to - --all --from 2",
            "millrace replay --to - --account a --from 0",
            "millrace replay --to - --all --since noon",
            "millrace replay --to - --all --source backup",
            "millrace replay --to - --all --rate 0",
            "millrace replay --to - --all --resume --restart",
            "millrace replay --to loyalty --all",
            "millrace replay --to queue:loyalty --all",
            "millrace replay --to function: --all",
            "millrace replay --to stream:arn:aws:kinesis:eu-north-1:1:stream/x --all",
            "millrace rebuild",
            "millrace rebuild balances",
            "millrace restore --all",
            "millrace restore --from lake",
            "millrace restore --from backup --all",
            "millrace restore --from lake --all --account a",
            "millrace inspect",
            "millrace inspect --account a --at noon",
            "millrace query --csv",
            "millrace query daily-report --set from",
            "millrace query daily-report --csv --json",
        ] {
            let error = parse(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn json_is_accepted_before_and_after_the_command() {
        for line in ["millrace --json doctor", "millrace doctor --json"] {
            assert!(parse(line.split(' ')).expect("valid").json, "{line}");
        }
    }

    /// The command lines of a page: code spans and lines of code blocks.
    fn documented<'a>(page: &'a str, program: &str) -> Vec<&'a str> {
        let pieces = page.split(['`', '\n']).map(str::trim);
        let lines = pieces.filter_map(|piece| piece.strip_prefix(program)?.strip_prefix(' '));
        lines
            .map(|line| line.split(" #").next().unwrap_or_default().trim())
            .collect()
    }

    #[test]
    fn every_command_in_the_documentation_is_valid() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let read = |path: String| std::fs::read_to_string(&path).expect(&path);
        let (readme, runbook) = (
            format!("{root}/README.md"),
            format!("{root}/docs/runbook.md"),
        );
        let pages = [readme, runbook].map(read);
        let mut checked = 0;
        for page in &pages {
            for program in ["millrace", "cargo run --"] {
                for arguments in documented(page, program) {
                    let line = arguments
                        .replace("ID", "a")
                        .replace("OBJECT", "o")
                        .replace("FILE", "f");
                    let words = ["millrace"].into_iter().chain(line.split_whitespace());
                    let is_name = line.split_whitespace().count() == 1;
                    let accepted = parse(words).map(drop).or_else(|error| match error.kind() {
                        ErrorKind::DisplayHelp => Ok(()),
                        // The name of a command, in a sentence.
                        ErrorKind::MissingRequiredArgument if is_name => Ok(()),
                        _ => Err(error),
                    });
                    assert!(accepted.is_ok(), "{arguments}: {accepted:?}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 50, "{checked}");
    }

    proptest! {
        #[test]
        fn no_command_line_panics(
            command in "(tail|verify|reconcile|redrive|republish|replay|rebuild|restore|inspect|query|up|down|demo|doctor|\\PC{0,9})",
            arguments in prop::collection::vec(
                "(--account|--all|--to|--since|--rate|--from|--at|--type|--sample|--port|--json|--dry-run|accounts|\\PC{0,12})",
                0..6,
            ),
        ) {
            let line = ["millrace".to_owned(), command].into_iter().chain(arguments);
            if let Err(error) = parse(line) {
                prop_assert!([0, 2].contains(&error.exit_code()));
            }
        }
    }
}
