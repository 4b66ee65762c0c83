//! What the reconciler reads from its environment, once, at start.

use millrace_runtime::variables::{self, Missing};

use crate::service::FunctionNames;

/// How many aggregates a run examines in the slow pass. With a run a minute, a pass over a million
/// aggregates takes some eight hours and reads 130 items a second.
pub const PASS_AGGREGATES: u32 = 2_000;

/// The reconciler's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `EVENTS_TABLE`: the events table.
    pub events_table: String,
    /// `CURSOR_TABLE`: the publication cursors.
    pub cursor_table: String,
    /// `VIEW_TABLE`: the views.
    pub view_table: String,
    /// `STREAM_NAME`: the Kinesis stream of domain events.
    pub stream_name: String,
    /// `RECONCILER_TABLE`: what is stored between runs.
    pub reconciler_table: String,
    /// `FAILURE_BUCKET`: where Lambda puts batches that it has discarded.
    pub failure_bucket: String,
    /// `EVENTS_STREAM_ARN`: the events table's stream, whose mappings are watched.
    pub events_stream_arn: String,
    /// `STREAM_ARN`: the domain stream, whose mappings are watched.
    pub stream_arn: String,
    /// `STREAM_CONSUMER_ARN`, optional: the consumer of the domain stream through which the projector reads with
    /// enhanced fan-out. Its mappings are watched too.
    pub stream_consumer_arn: Option<String>,
    /// `TRANSLATOR_FUNCTION`, `PROJECTOR_FUNCTION`, `ARCHIVER_FUNCTION`: the functions' names.
    pub functions: FunctionNames,
}

impl Config {
    /// Reads the configuration through `lookup`, which looks a variable up.
    ///
    /// # Errors
    /// [`Missing`], which names the first variable that isn't set.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Missing> {
        let required = |name| variables::required(name, &lookup);
        Ok(Self {
            events_table: required("EVENTS_TABLE")?,
            cursor_table: required("CURSOR_TABLE")?,
            view_table: required("VIEW_TABLE")?,
            stream_name: required("STREAM_NAME")?,
            reconciler_table: required("RECONCILER_TABLE")?,
            failure_bucket: required("FAILURE_BUCKET")?,
            events_stream_arn: required("EVENTS_STREAM_ARN")?,
            stream_arn: required("STREAM_ARN")?,
            stream_consumer_arn: lookup("STREAM_CONSUMER_ARN"),
            functions: FunctionNames {
                translator: required("TRANSLATOR_FUNCTION")?,
                projector: required("PROJECTOR_FUNCTION")?,
                archiver: required("ARCHIVER_FUNCTION")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_variable_is_named() {
        for missing in [
            "EVENTS_TABLE",
            "CURSOR_TABLE",
            "VIEW_TABLE",
            "STREAM_NAME",
            "RECONCILER_TABLE",
            "FAILURE_BUCKET",
            "EVENTS_STREAM_ARN",
            "STREAM_ARN",
            "TRANSLATOR_FUNCTION",
            "PROJECTOR_FUNCTION",
            "ARCHIVER_FUNCTION",
        ] {
            let error = Config::read(|name| (name != missing).then(|| name.to_lowercase()));
            assert_eq!(error, Err(Missing(missing)));
        }
        let config = Config::read(|name| Some(name.to_lowercase())).expect("complete");
        assert_eq!(config.functions.archiver, "archiver_function");
        assert_eq!(
            config.stream_consumer_arn.as_deref(),
            Some("stream_consumer_arn")
        );
        let without = |name: &str| (name != "STREAM_CONSUMER_ARN").then(|| name.to_lowercase());
        let config = Config::read(without).expect("complete");
        assert_eq!(config.stream_consumer_arn, None);
    }
}
