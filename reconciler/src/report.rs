//! What a run found: its response, and the item that `millrace verify` reads.

use millrace_core::{Sequence, Timestamp};
use millrace_runtime::metrics::Metric;
use serde::{Deserialize, Serialize};

/// The most findings that a report lists. The gauges count all of them.
///
/// An item of DynamoDB has at most 400 KB
/// ([limits](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html)); a finding
/// with the longest id and a cut reason has less than 1.5 KB.
pub const MAX_FINDINGS: usize = 200;

/// The most sources that a report names as not read. Each has less than 0.5 KB.
pub const MAX_NOT_READ: usize = 50;

/// The most bytes of a reason in a report.
const MAX_REASON_BYTES: usize = 400;

/// The report of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the run began.
    pub at: String,
    /// The invocation.
    pub request_id: String,
    /// How long the run took, in milliseconds.
    pub millis: u64,
    /// The gauges.
    pub gauges: Gauges,
    /// What is open, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many findings are left out of `findings`.
    pub findings_omitted: usize,
    /// What the run has repaired.
    pub repaired: Repaired,
    /// What could not be read, or not be examined in time, with the reason; at most [`MAX_NOT_READ`].
    pub not_read: Vec<NotRead>,
    /// The slow pass over all aggregates.
    pub pass: Pass,
}

/// The gauges: levels, not counts of events. A gauge whose source could not be read is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gauges {
    /// Aggregates whose publication is blocked.
    pub aggregates_blocked: Option<u64>,
    /// Aggregates whose pending events are published by the reconciler.
    pub aggregates_parked: Option<u64>,
    /// Aggregates with events that are neither published nor reported otherwise.
    pub aggregates_lagging: Option<u64>,
    /// Views that are stale, or lack events that were published.
    pub views_stale: Option<u64>,
    /// Discarded batches that are neither resolved nor dismissed.
    pub batches_open: Option<u64>,
    /// Mappings that are not enabled, or fail in two runs.
    pub mappings_unhealthy: Option<u64>,
    /// The age of the oldest event that is known not to be published, in milliseconds; 0 if there is none.
    pub oldest_unpublished_millis: Option<u64>,
}

/// A problem that the run found and did not resolve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Finding {
    /// An aggregate's publication is blocked.
    Blocked {
        /// The aggregate.
        id: String,
        /// The event that can't be published; 0 if the cursor itself is at fault.
        sequence: u64,
        /// The `Version` of the row that can't be translated.
        row: Option<String>,
        /// Why.
        reason: String,
        /// Since when.
        since: String,
    },
    /// An aggregate's pending events are more than one invocation publishes.
    Parked {
        /// The aggregate.
        id: String,
        /// The highest sequence that a notification has announced.
        through: u64,
        /// The highest sequence that is published.
        published_through: u64,
        /// Since when.
        since: String,
    },
    /// An aggregate has events that are not published.
    Lagging {
        /// The aggregate.
        id: String,
        /// The highest sequence that is published.
        published_through: u64,
        /// The highest sequence in the events table.
        events: u64,
    },
    /// A view is stale.
    Stale {
        /// The aggregate.
        id: String,
        /// The last event that the view includes.
        sequence: u64,
        /// The view is no longer stale when it has reached this sequence.
        until: u64,
        /// Why.
        reason: String,
        /// Since when.
        since: String,
    },
    /// A view lacks events that were published, and isn't marked as stale.
    #[serde(rename = "behind")]
    ViewLagging {
        /// The aggregate.
        id: String,
        /// The last event that the view includes.
        sequence: u64,
        /// The highest sequence that is published.
        published_through: u64,
    },
    /// A discarded batch is open.
    Batch {
        /// Its key in the failure bucket.
        object: String,
        /// The function that it was meant for; empty if the object doesn't say.
        function: String,
        /// Since when.
        since: String,
        /// What is missing.
        reason: String,
    },
    /// A mapping doesn't deliver.
    Mapping {
        /// Its id, a UUID.
        uuid: String,
        /// The function that it invokes.
        function: String,
        /// Lambda's state of the mapping.
        state: String,
        /// What is wrong.
        reason: String,
    },
}

/// What a run has repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repaired {
    /// Aggregates that were blocked, parked or lagging, and are published completely.
    pub published: usize,
    /// Views that were stale or lacked events, and are complete.
    pub views_repaired: usize,
    /// Discarded batches that are resolved.
    pub batches_resolved: usize,
}

/// A source that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRead {
    /// The source.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// The progress of the slow pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// When the current pass began; absent before the first.
    pub started_at: Option<String>,
    /// How many aggregates the current pass has examined.
    pub aggregates: u64,
    /// How many passes were completed.
    pub completed_passes: u64,
    /// When the last pass was completed.
    pub last_completed_at: Option<String>,
    /// How many aggregates the last pass examined.
    pub last_aggregates: Option<u64>,
}

impl Gauges {
    /// The gauges as metrics; a value that is absent isn't emitted.
    #[must_use]
    pub const fn metrics(&self) -> [(Metric, Option<u64>); 7] {
        [
            (Metric::AggregatesBlocked, self.aggregates_blocked),
            (Metric::AggregatesParked, self.aggregates_parked),
            (Metric::AggregatesLagging, self.aggregates_lagging),
            (Metric::ViewsStale, self.views_stale),
            (Metric::BatchesOpen, self.batches_open),
            (Metric::MappingsUnhealthy, self.mappings_unhealthy),
            (Metric::OldestUnpublished, self.oldest_unpublished_millis),
        ]
    }
}

/// Cuts a reason that is too long for a report.
pub(crate) fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned()
}

/// A time as a report shows it.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A sequence as a report shows it.
pub(crate) const fn number(sequence: Sequence) -> u64 {
    sequence.get()
}
