//! Which of an aggregate's rows are events and which are snapshots, and how rows are numbered.
//!
//! Each row has a [`Version`], 1, 2, 3, …, whether it is an event or a snapshot. Row 1 is the first event.
//! Row 2 is a snapshot, and from then on every tenth row: 2, 12, 22, … Only events have a [`Sequence`],
//! 1, 2, 3, …, without a gap at a snapshot. Consumers see the sequence, never the version.
//!
//! Invariant: the newest [`SNAPSHOT_INTERVAL`] rows of an aggregate always contain a snapshot, or row 1.
//! So one query of that many rows loads an aggregate of any length. Both use the same constant.

use std::fmt;

use serde::Serialize;

/// The number of rows from one snapshot to the next, and the number of newest rows that a load reads.
pub const SNAPSHOT_INTERVAL: u64 = 10;

/// The row of the first snapshot.
const FIRST_SNAPSHOT: u64 = 2;

/// A row's number within its aggregate, from 1; the table's range key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

/// An event's number within its aggregate, from 1, without gaps. [`Sequence::NONE`] (0) means "before
/// the first event".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Sequence(u64);

/// The highest version and sequence, 2^53-1: the largest integer up to which an f64, and so every JSON
/// reader, represents each one exactly.
pub const MAX_POSITION: u64 = (1 << 53) - 1;

impl Version {
    /// The version of the first row, which always contains the first event.
    pub const FIRST: Self = Self(1);

    /// Reads a version: 1 to [`MAX_POSITION`]; else `None`.
    #[must_use]
    pub const fn new(version: u64) -> Option<Self> {
        if version >= 1 && version <= MAX_POSITION {
            Some(Self(version))
        } else {
            None
        }
    }

    /// Whether the row of this version is a snapshot.
    #[must_use]
    pub const fn is_snapshot(self) -> bool {
        self.0 % SNAPSHOT_INTERVAL == FIRST_SNAPSHOT
    }

    /// For an event's row, its sequence; for a snapshot's row, the sequence of the last event that
    /// it includes: `Version - floor((Version + 8) / 10)`.
    #[must_use]
    pub const fn sequence(self) -> Sequence {
        Sequence(self.0 - (self.0 + SNAPSHOT_INTERVAL - FIRST_SNAPSHOT) / SNAPSHOT_INTERVAL)
    }
}

impl Sequence {
    /// The sequence before the first event: 0.
    pub const NONE: Self = Self(0);

    /// The first event's sequence: 1.
    pub const FIRST: Self = Self(1);

    /// Reads a sequence: 0 to [`MAX_POSITION`]; else `None`.
    #[must_use]
    pub const fn new(sequence: u64) -> Option<Self> {
        if sequence <= MAX_POSITION {
            Some(Self(sequence))
        } else {
            None
        }
    }

    /// The version of the row that contains the event of this sequence; the inverse of
    /// [`Version::sequence`] on event rows. `None` for [`Sequence::NONE`], which no row contains.
    #[must_use]
    pub const fn version(self) -> Option<Version> {
        if self.0 == 0 {
            return None;
        }
        let events_between_snapshots = SNAPSHOT_INTERVAL - 1;
        let snapshots_before =
            (self.0 + events_between_snapshots - FIRST_SNAPSHOT) / events_between_snapshots;
        Some(Version(self.0 + snapshots_before))
    }
}

/// What versions and sequences have in common as numbers.
macro_rules! number {
    ($position:ident) => {
        impl $position {
            /// The position as a number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The next position.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $position {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! { Version }
number! { Sequence }

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn snapshots_stand_at_2_12_22() {
        let snapshots: Vec<u64> = (1..=42).filter(|v| Version(*v).is_snapshot()).collect();
        assert_eq!(snapshots, [2, 12, 22, 32, 42]);
    }

    #[test]
    fn sequences_number_the_events_alone() {
        let events: Vec<u64> = (1..=24)
            .map(Version)
            .filter(|v| !v.is_snapshot())
            .map(|v| v.sequence().get())
            .collect();
        assert_eq!(events, (1..=21).collect::<Vec<_>>());
    }

    #[test]
    fn a_snapshot_carries_the_sequence_of_the_event_before_it() {
        for version in [2, 12, 22, 1002] {
            assert_eq!(Version(version).sequence(), Version(version - 1).sequence());
        }
    }

    #[test]
    fn positions_are_what_json_readers_can_count() {
        assert_eq!(MAX_POSITION, 9_007_199_254_740_991);
        assert_eq!(Version(7).next().to_string(), "8");
        assert_eq!(Sequence(7).next().to_string(), "8");
    }

    #[test]
    fn nothing_stands_before_the_first_event() {
        assert_eq!(Sequence::NONE.version(), None);
        assert_eq!(Version::new(0), None);
        assert_eq!(Version::new(MAX_POSITION + 1), None);
        assert_eq!(Sequence::new(MAX_POSITION + 1), None);
    }

    proptest! {
        #[test]
        fn a_sequence_names_exactly_one_event_row(sequence in 1_u64..1 << 40) {
            let sequence = Sequence(sequence);
            let version = sequence.version().expect("not NONE");
            prop_assert!(!version.is_snapshot());
            prop_assert_eq!(version.sequence(), sequence);
        }

        #[test]
        fn any_ten_rows_in_a_row_hold_one_snapshot(newest in 10_u64..1 << 40) {
            let held = (newest - SNAPSHOT_INTERVAL + 1..=newest)
                .filter(|v| Version(*v).is_snapshot())
                .count();
            prop_assert_eq!(held, 1);
        }
    }
}
