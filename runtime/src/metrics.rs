//! What is measured, in CloudWatch's embedded metric format: a log line that CloudWatch makes metrics
//! of ([specification](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)).
//! A batch costs one line and no call.
//!
//! Every metric is listed here, and has its paragraph in `docs/runbook.md`.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use strum::{IntoStaticStr, VariantArray};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Millrace";
/// The one dimension: Lambda's own name of the function, which tells stacks apart too.
pub const DIMENSION: &str = "FunctionName";

/// Who measures; set when telemetry starts, so that tests are quiet.
static FUNCTION: OnceLock<String> = OnceLock::new();

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Metric {
    /// Translator: events that stream records told of.
    EventsTranslated,
    /// Translator: events that Kinesis has acknowledged.
    EventsPublished,
    /// Translator: events that were published before, and told of again.
    EventsRepeated,
    /// Translator: events that were missing between others and came from the events table.
    EventsRepaired,
    /// Translator: aggregates of a batch that are blocked. Reconciler, a gauge: all blocked aggregates.
    AggregatesBlocked,
    /// Translator: aggregates of a batch that are parked. Reconciler, a gauge: all parked aggregates.
    AggregatesParked,
    /// Reconciler, a gauge: aggregates with unpublished events that are neither blocked nor parked.
    AggregatesLagging,
    /// Reconciler, a gauge: age of the oldest event that is known not to be published, in milliseconds.
    OldestUnpublished,
    /// Translator: puts of a record that were made again.
    PublishRetries,
    /// Translator: from the oldest new event's commit to its acknowledgement, in milliseconds.
    PublishLag,
    /// Projector: events that were applied.
    EventsProjected,
    /// Projector: views of a batch that are marked stale. Reconciler, a gauge: all views that are stale or
    /// lack published events.
    ViewsStale,
    /// Projector: from the oldest applied event's commit to its view, in milliseconds.
    ViewLag,
    /// Writer: races for a row that a command has lost.
    RacesLost,
    /// Archiver: stream records that were delivered.
    RecordsArchived,
    /// Archiver: Firehose records that were sent again.
    ArchiveRetries,
    /// Archiver: batches that were not delivered in time.
    ArchiveFailures,
    /// Reconciler, a gauge: discarded batches that are neither resolved nor dismissed.
    BatchesOpen,
    /// Reconciler, a gauge: event source mappings that are missing, not enabled, or fail in two runs.
    MappingsUnhealthy,
}

impl Metric {
    /// All of them.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Its name in CloudWatch, which is the variant's.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::PublishLag | Self::ViewLag | Self::OldestUnpublished => "Milliseconds",
            _ => "Count",
        }
    }
}

/// A number of things as a metric's value; `None` above `u64::MAX`.
#[must_use]
pub fn count(number: usize) -> Option<u64> {
    u64::try_from(number).ok()
}

/// From now on, metrics are this function's.
pub(crate) fn start(function: String) {
    // Only the first call counts; there is one function to a process.
    FUNCTION.get_or_init(|| function);
}

/// Writes a line of metrics, if telemetry was started. A value that isn't there is left out.
pub(crate) fn record(request_id: &str, now_millis: i64, values: &[(Metric, Option<u64>)]) {
    if let Some(function) = FUNCTION.get() {
        println!("{}", line(function, request_id, now_millis, values));
    }
}

fn line(
    function: &str,
    request_id: &str,
    now_millis: i64,
    values: &[(Metric, Option<u64>)],
) -> Value {
    let there = values
        .iter()
        .filter_map(|(metric, value)| Some((metric, (*value)?)));
    let definitions: Vec<Value> = there
        .clone()
        .map(|(metric, _)| json!({ "Name": metric.name(), "Unit": metric.unit() }))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now_millis,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [[DIMENSION]],
                "Metrics": definitions,
            }],
        }),
    );
    line.insert(DIMENSION.to_owned(), function.into());
    line.insert("RequestId".to_owned(), request_id.into());
    line.extend(there.map(|(metric, value)| (metric.name().to_owned(), value.into())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_the_specification_asks_for() {
        let values = [
            (Metric::EventsPublished, Some(3)),
            (Metric::PublishLag, Some(250)),
            (Metric::ViewLag, None),
        ];
        assert_eq!(
            line("f", "r", 1_800_000_000_000, &values),
            json!({
                "_aws": {
                    "Timestamp": 1_800_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Millrace",
                        "Dimensions": [["FunctionName"]],
                        "Metrics": [
                            {"Name": "EventsPublished", "Unit": "Count"},
                            {"Name": "PublishLag", "Unit": "Milliseconds"},
                        ],
                    }],
                },
                "FunctionName": "f",
                "RequestId": "r",
                "EventsPublished": 3,
                "PublishLag": 250,
            })
        );
    }
}
