//! Logs: one JSON object a line on standard output, where Lambda picks them up.
//!
//! A log line carries ids, counts and reasons. It never carries a payload, an amount or a secret.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::{metrics, variables};

/// Lambda's own variable for the application's log level
/// ([Lambda logging](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html)).
const LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// Lambda's own variable for the function's name
/// ([environment variables](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html)).
const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// Starts logging, at the level that Lambda sets and `INFO` where it sets none, and measuring.
pub fn start() {
    metrics::start(variables::lookup(FUNCTION_NAME).unwrap_or_default());
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(LEVEL)
        .from_env_lossy();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
