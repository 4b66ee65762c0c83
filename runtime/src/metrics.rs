//! Metrics in CloudWatch's embedded metric format: CloudWatch extracts them from a log line
//! ([specification](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)).
//! An invocation writes one log line and makes no call.
//!
//! Every metric is listed here, and has its paragraph in `docs/runbook.md`.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use strum::{IntoStaticStr, VariantArray};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Millrace";
/// The only dimension: the function's name in Lambda, which is unique to the stack too.
pub const DIMENSION: &str = "FunctionName";

/// The function's name. It is set when telemetry starts, so that tests write no metrics.
static FUNCTION: OnceLock<String> = OnceLock::new();

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Metric {
    /// Translator: events that stream records announced.
    EventsTranslated,
    /// Translator: events that Kinesis has acknowledged.
    EventsPublished,
    /// Translator: events that were announced again after they had been published.
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
    /// Translator: the most events of one aggregate that a batch published. Each needs a put of its own.
    LongestChain,
    /// Translator: from the oldest new event's commit to its acknowledgement, in milliseconds.
    PublishLag,
    /// Projector: events that were applied.
    EventsProjected,
    /// Projector: views of a batch that are marked stale. Reconciler, a gauge: all views that are stale or
    /// lack published events.
    ViewsStale,
    /// Projector: from the oldest applied event's commit to its view, in milliseconds.
    ViewLag,
    /// Writer: version conflicts of a command.
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

    /// The metric's name in CloudWatch: the variant's name.
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

/// A count as a metric's value; `None` above `u64::MAX`.
#[must_use]
pub fn count(number: usize) -> Option<u64> {
    u64::try_from(number).ok()
}

/// Starts the recording of metrics, with this function's name as the dimension.
pub(crate) fn start(function: String) {
    // Only the first call has an effect; a process runs one function.
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
