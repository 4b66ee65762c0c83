//! Logs: one JSON object a line on standard output, where Lambda picks them up.
//!
//! A log line contains ids, counts and reasons. It never contains a payload, an amount or a secret.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{metrics, panics, variables};

/// Lambda's own variable for the application's log level
/// ([Lambda logging](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html)).
const LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// Lambda's own variable for the function's name
/// ([environment variables](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html)).
const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// What the targets of all of Millrace's own crates begin with.
const OWN_CRATES: &str = "millrace";

/// Starts logging, at the level that Lambda sets and `INFO` where it sets none, and measuring. A panic is
/// logged by its location, without its message, which may quote a payload.
pub fn start() {
    metrics::start(variables::lookup(FUNCTION_NAME).unwrap_or_default());
    subscriber(io::stdout, variables::lookup(LEVEL).as_deref()).init();
    panics::log_panics();
}

/// Writes log lines from this level on.
pub(crate) fn subscriber<W>(
    writer: W,
    level: Option<&str>,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        // An aggregate's span is within its batch's span, which contains the request id.
        .with_span_list(true)
        .with_target(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(writer)
        .finish()
        .with(filter(level))
}

/// Lambda's level applies to Millrace's own crates. The SDK and its dependencies log requests and
/// responses with their payloads at `DEBUG` and `TRACE`, so they never log below `WARN`.
fn filter(level: Option<&str>) -> Targets {
    let level = match level {
        // Lambda's highest level, which Rust doesn't know.
        Some("FATAL") => LevelFilter::ERROR,
        Some(level) => level.parse().unwrap_or(LevelFilter::INFO),
        None => LevelFilter::INFO,
    };
    let others = level.min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target(OWN_CRATES, level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// The lowest levels that own crates and others log at.
    fn lowest(level: Option<&str>) -> [Option<Level>; 2] {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .finish()
            .with(filter(level));
        tracing::subscriber::with_default(subscriber, || {
            let own = [
                tracing::enabled!(target: "millrace_writer::execute", Level::TRACE),
                tracing::enabled!(target: "millrace_writer::execute", Level::DEBUG),
                tracing::enabled!(target: "millrace_writer::execute", Level::INFO),
                tracing::enabled!(target: "millrace_writer::execute", Level::WARN),
                tracing::enabled!(target: "millrace_writer::execute", Level::ERROR),
            ];
            let others = [
                tracing::enabled!(target: "aws_smithy_runtime::client", Level::TRACE),
                tracing::enabled!(target: "aws_smithy_runtime::client", Level::DEBUG),
                tracing::enabled!(target: "aws_smithy_runtime::client", Level::INFO),
                tracing::enabled!(target: "aws_smithy_runtime::client", Level::WARN),
                tracing::enabled!(target: "aws_smithy_runtime::client", Level::ERROR),
            ];
            let levels = [
                Level::TRACE,
                Level::DEBUG,
                Level::INFO,
                Level::WARN,
                Level::ERROR,
            ];
            [own, others].map(|enabled| {
                let first = enabled.iter().position(|is_enabled| *is_enabled);
                first.map(|first| levels[first])
            })
        })
    }

    #[test]
    fn lambdas_level_counts_for_own_crates_alone() {
        for (level, own, others) in [
            (None, Level::INFO, Level::WARN),
            (Some("TRACE"), Level::TRACE, Level::WARN),
            (Some("DEBUG"), Level::DEBUG, Level::WARN),
            (Some("INFO"), Level::INFO, Level::WARN),
            (Some("WARN"), Level::WARN, Level::WARN),
            (Some("ERROR"), Level::ERROR, Level::ERROR),
            (Some("FATAL"), Level::ERROR, Level::ERROR),
            (Some("aws_smithy_runtime=trace"), Level::INFO, Level::WARN),
        ] {
            assert_eq!(lowest(level), [Some(own), Some(others)], "{level:?}");
        }
    }
}
