//! What is stored between runs, as items of the reconciler's table.

use millrace_core::{Attribute, Attributes, Timestamp};

use crate::report::Report;

/// The kind of the lease's item.
pub const LEASE: &str = "lease";
/// The kind of the report's item.
pub const REPORT: &str = "report";
/// The kind of the items of discarded batches. Their name is the object's key.
pub const BATCH: &str = "batch";
/// The kind of the items of aggregates that the slow pass has found lagging, or whose view lacks published
/// events. Their name is the aggregate's id.
pub const OPEN: &str = "open";
/// The kind of the items that each run reads and replaces.
pub const PROGRESS: &str = "progress";
/// The name of an item that is the only one of its kind.
pub const LAST: &str = "last";
/// The name of the slow pass's item.
pub const PASS: &str = "pass";
/// The name of the item with the mappings that failed in the run before.
pub const FAILING_MAPPINGS: &str = "failing-mappings";
/// The attribute that contains a report's JSON.
pub const REPORT_JSON: &str = "Report";
/// The attribute after whose time `DynamoDB` removes the item, in seconds.
pub const EXPIRES_AT: &str = "ExpiresAt";

const IDS: &str = "Ids";
const STATE: &str = "State";
const SINCE: &str = "Since";

/// How long the state of an ended batch is kept, in seconds: longer than the failure bucket keeps the
/// object, which is at most 3,650 days (setting `failureRetentionDays`).
const ENDED_SECONDS: i64 = 3_660 * 24 * 60 * 60;

/// The state of a discarded batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// Its events are not known to be published, projected or archived.
    Open,
    /// The cursors or views include its events, or its function has accepted it.
    Resolved,
    /// An operator has decided that nothing is to be done.
    Dismissed,
}

impl BatchState {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
            Self::Dismissed => "dismissed",
        }
    }

    /// The state in a stored item. An item that can't be read is open.
    #[must_use]
    pub fn read(item: &Attributes) -> Self {
        match item.get(STATE) {
            Some(Attribute::Text(text)) if text == Self::Resolved.name() => Self::Resolved,
            Some(Attribute::Text(text)) if text == Self::Dismissed.name() => Self::Dismissed,
            _ => Self::Open,
        }
    }

    /// The item of a batch that was written at `since`. The item of an ended batch expires.
    #[must_use]
    pub fn to_item(self, since: Timestamp, now: Timestamp) -> Attributes {
        let mut item: Attributes = [
            (STATE.to_owned(), Attribute::text(self.name())),
            (SINCE.to_owned(), Attribute::text(since)),
        ]
        .into();
        if self != Self::Open {
            let expires = now.unix_millis() / 1000 + ENDED_SECONDS;
            item.insert(EXPIRES_AT.to_owned(), Attribute::number(expires));
        }
        item
    }
}

/// Since when an item's batch is open.
#[must_use]
pub fn since(item: &Attributes) -> Option<Timestamp> {
    time(item, SINCE)
}

/// The position of the slow pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The progress in each segment.
    pub segments: Vec<SegmentPosition>,
    /// When the current pass began.
    pub started_at: Option<Timestamp>,
    /// How many aggregates it has examined.
    pub aggregates: u64,
    /// How many passes were completed.
    pub completed: u64,
    /// When the last one was completed.
    pub last_completed_at: Option<Timestamp>,
    /// How many aggregates it examined.
    pub last_aggregates: Option<u64>,
}

/// The progress of the pass in a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SegmentPosition {
    /// No aggregate of the segment is examined yet.
    #[default]
    Beginning,
    /// This aggregate was examined last.
    After(String),
    /// The segment is examined to its end.
    Ended,
}

impl Position {
    /// Reads the stored position. If it can't be read, the pass begins again, which is safe: a pass only
    /// reads and repairs.
    #[must_use]
    pub fn read(item: &Attributes, segments: u32) -> Self {
        let count = |name: &str| {
            let number = item.get(name).and_then(Attribute::as_integer);
            number.and_then(|number| u64::try_from(number).ok())
        };
        let segment = |index: u32| match item.get(&format!("Segment{index}")) {
            Some(Attribute::Text(id)) => SegmentPosition::After(id.clone()),
            Some(Attribute::Bool(true)) => SegmentPosition::Ended,
            _ => SegmentPosition::Beginning,
        };
        Self {
            segments: (0..segments).map(segment).collect(),
            started_at: time(item, "StartedAt"),
            aggregates: count("Aggregates").unwrap_or_default(),
            completed: count("Completed").unwrap_or_default(),
            last_completed_at: time(item, "LastCompletedAt"),
            last_aggregates: count("LastAggregates"),
        }
    }

    /// The item.
    #[must_use]
    pub fn to_item(&self) -> Attributes {
        let mut item = Attributes::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let value = match segment {
                SegmentPosition::Beginning => continue,
                SegmentPosition::After(id) => Attribute::text(id),
                SegmentPosition::Ended => Attribute::Bool(true),
            };
            item.insert(format!("Segment{index}"), value);
        }
        for (name, number) in [
            ("Aggregates", Some(self.aggregates)),
            ("Completed", Some(self.completed)),
            ("LastAggregates", self.last_aggregates),
        ] {
            item.extend(number.map(|number| (name.to_owned(), Attribute::number(number))));
        }
        for (name, time) in [
            ("StartedAt", self.started_at),
            ("LastCompletedAt", self.last_completed_at),
        ] {
            item.extend(time.map(|time| (name.to_owned(), Attribute::text(time))));
        }
        item
    }

    /// Whether every segment is examined to its end.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        let is_ended = |segment: &SegmentPosition| *segment == SegmentPosition::Ended;
        self.segments.iter().all(is_ended)
    }

    /// The position at which the next pass begins.
    #[must_use]
    pub fn next_pass(&self, now: Timestamp) -> Self {
        Self {
            segments: vec![SegmentPosition::Beginning; self.segments.len()],
            started_at: None,
            aggregates: 0,
            completed: self.completed + 1,
            last_completed_at: Some(now),
            last_aggregates: Some(self.aggregates),
        }
    }
}

/// An item that contains ids.
pub(crate) fn ids_item(ids: impl IntoIterator<Item = String>) -> Attributes {
    let ids = ids.into_iter().map(Attribute::Text).collect();
    [(IDS.to_owned(), Attribute::List(ids))].into()
}

/// The ids in an item; none if the item can't be read.
pub(crate) fn read_ids(item: &Attributes) -> Vec<String> {
    let Some(Attribute::List(ids)) = item.get(IDS) else {
        return Vec::new();
    };
    ids.iter()
        .filter_map(|id| match id {
            Attribute::Text(id) => Some(id.clone()),
            _ => None,
        })
        .collect()
}

/// The item of a report.
pub(crate) fn report_item(report: &Report) -> Attributes {
    let json = serde_json::to_string(report).expect("a report's members are texts and numbers");
    [
        (REPORT_JSON.to_owned(), Attribute::Text(json)),
        ("At".to_owned(), Attribute::text(&report.at)),
    ]
    .into()
}

fn time(item: &Attributes, name: &str) -> Option<Timestamp> {
    match item.get(name)? {
        Attribute::Text(text) => Timestamp::parse(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis).expect("valid")
    }

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let position = Position {
            segments: vec![
                SegmentPosition::Beginning,
                SegmentPosition::After("a".to_owned()),
                SegmentPosition::Ended,
            ],
            started_at: Some(at(1_000)),
            aggregates: 7,
            completed: 2,
            last_completed_at: Some(at(500)),
            last_aggregates: Some(9),
        };
        assert_eq!(Position::read(&position.to_item(), 3), position);
        assert!(!position.is_completed());
        let empty = Position::read(&Attributes::new(), 2);
        assert_eq!(empty.segments, vec![SegmentPosition::Beginning; 2]);
        assert_eq!(Position::read(&empty.to_item(), 2), empty);
    }

    #[test]
    fn a_pass_that_is_completed_begins_again_and_is_counted() {
        let position = Position {
            segments: vec![SegmentPosition::Ended; 2],
            aggregates: 7,
            ..Position::default()
        };
        assert!(position.is_completed());
        let next = position.next_pass(at(2_000));
        assert_eq!(next.segments, vec![SegmentPosition::Beginning; 2]);
        assert_eq!((next.completed, next.aggregates), (1, 0));
        assert_eq!(next.last_completed_at, Some(at(2_000)));
        assert_eq!(next.last_aggregates, Some(7));
    }

    #[test]
    fn an_ended_batch_expires_and_an_open_one_does_not() {
        for state in [
            BatchState::Open,
            BatchState::Resolved,
            BatchState::Dismissed,
        ] {
            let item = state.to_item(at(1_000), at(60_000));
            assert_eq!(BatchState::read(&item), state);
            assert_eq!(since(&item), Some(at(1_000)));
            let expires = item.get(EXPIRES_AT).and_then(Attribute::as_integer);
            let expected = (state != BatchState::Open).then_some(60 + ENDED_SECONDS);
            assert_eq!(expires, expected);
        }
        assert_eq!(BatchState::read(&Attributes::new()), BatchState::Open);
    }
}
