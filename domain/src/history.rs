//! An aggregate's history as a writer needs it: the state that its newest rows fold to, and the
//! rows that come next.
//!
//! Invariant: the rows that [`History::append`] gives keep a snapshot among the newest
//! [`SNAPSHOT_INTERVAL`](crate::layout::SNAPSHOT_INTERVAL) rows, also where an older producer left
//! the next snapshot out.

use std::time::Duration;

use crate::account::{Event, State, evolve};
use crate::attribute::Attributes;
use crate::ids::{AggregateId, Trace};
use crate::layout::{Sequence, Version};
use crate::row::{self, RecordedEvent, RowError, Snapshot, StoredRow};
use crate::settings::Settings;
use crate::time::Timestamp;

/// How far two writers' clocks may plausibly be apart. Lambda's are synchronised to well below a
/// second.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// An aggregate after its newest row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    id: AggregateId,
    state: State,
    newest: Option<(Version, Timestamp)>,
}

/// Rows that don't fold to a state. The aggregate can't be continued until they are mended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A row can't be understood.
    #[error("row {version} can't be read: {source}")]
    Row {
        /// The row, as far as it says: 0 when even that can't be read.
        version: u64,
        /// Which attribute, and why.
        source: RowError,
    },
    /// A row is missing between others.
    #[error("row {version} is missing")]
    Missing {
        /// Which.
        version: u64,
    },
    /// The newest rows hold no snapshot and don't reach back to the first.
    #[error("the newest rows, down to row {oldest}, hold no snapshot")]
    NoSnapshot {
        /// The oldest row at hand.
        oldest: Version,
    },
}

impl History {
    /// An aggregate that has no row yet.
    #[must_use]
    pub const fn begin(id: AggregateId) -> Self {
        Self {
            id,
            state: State::Unopened,
            newest: None,
        }
    }

    /// Folds the newest rows, newest first: back to the newest snapshot, or else to row 1. No rows
    /// is an aggregate that has none yet.
    ///
    /// # Errors
    /// [`HistoryError`] when the rows don't tell the state.
    pub fn load(
        id: AggregateId,
        newest_first: &[Attributes],
        settings: &Settings,
    ) -> Result<Self, HistoryError> {
        let mut history = Self::begin(id);
        let mut events = Vec::new();
        let mut expected: Option<Version> = None;
        let mut complete = newest_first.is_empty();
        for attributes in newest_first {
            let row =
                StoredRow::read(attributes, settings).map_err(|source| HistoryError::Row {
                    version: row::version(attributes).map_or(0, Version::get),
                    source,
                })?;
            let version = row.version();
            if let Some(expected) = expected.filter(|expected| *expected != version) {
                return Err(HistoryError::Missing {
                    version: expected.get(),
                });
            }
            history.newest.get_or_insert((version, row.time()));
            match row {
                StoredRow::Snapshot(snapshot) => {
                    history.state = snapshot.state();
                    complete = true;
                }
                StoredRow::Event(event) => {
                    events.push(event.event);
                    complete = version == Version::FIRST;
                }
            }
            if complete {
                break;
            }
            expected = Version::new(version.get() - 1);
        }
        if !complete {
            let oldest = expected.map_or(Version::FIRST, Version::next);
            return Err(HistoryError::NoSnapshot { oldest });
        }
        history.state = events.iter().rev().fold(history.state, evolve);
        Ok(history)
    }

    /// Whose history it is.
    #[must_use]
    pub const fn id(&self) -> &AggregateId {
        &self.id
    }

    /// The state after the newest row.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The sequence of the newest event.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.newest
            .map_or(Sequence::NONE, |(version, _)| version.sequence())
    }

    /// The history with these events behind it, and the rows that make it so. All rows belong
    /// together: they are written in one transaction or not at all.
    ///
    /// An event is no earlier than the row before it, even if this writer's clock shows an earlier
    /// time. But if the row's time is more than [`CLOCK_TOLERANCE`] ahead of the
    /// writer's clock, the clock that stamped the row was wrong, and the writer uses its own clock:
    /// otherwise all later events of the account would get the row's time until that time comes. Such
    /// an event has an earlier time than the row before it; the read model orders by sequence, and its
    /// effective time is the latest up to each event.
    #[must_use]
    pub fn append(
        &self,
        events: &[Event],
        at: Timestamp,
        trace: &Trace,
    ) -> (Self, Vec<(Version, Attributes)>) {
        let mut after = self.clone();
        let mut rows = Vec::new();
        let at = self.newest.map_or(at, |(_, newest)| plausible(newest, at));
        for event in events {
            rows.extend(after.snapshot_if_due(at));
            let version = after.next_version();
            let recorded = RecordedEvent {
                id: self.id.clone(),
                version,
                time: at,
                trace: trace.clone(),
                event: event.clone(),
            };
            rows.push((version, recorded.to_row()));
            after.newest = Some((version, at));
            after.state = evolve(after.state, event);
        }
        rows.extend(after.snapshot_if_due(at));
        (after, rows)
    }

    fn snapshot_if_due(&mut self, at: Timestamp) -> Option<(Version, Attributes)> {
        let version = self.next_version();
        if !version.is_snapshot() {
            return None;
        }
        let snapshot = Snapshot::of(&self.id, version, at, self.state)?;
        self.newest = Some((version, at));
        Some((version, snapshot.to_row()))
    }

    fn next_version(&self) -> Version {
        self.newest
            .map_or(Version::FIRST, |(version, _)| version.next())
    }
}

/// The time of an event after a row of time `newest`, by a writer whose clock shows `now`.
fn plausible(newest: Timestamp, now: Timestamp) -> Timestamp {
    let ahead = newest.unix_millis() - now.unix_millis();
    let tolerance = i64::try_from(CLOCK_TOLERANCE.as_millis()).unwrap_or(i64::MAX);
    if ahead > tolerance {
        now
    } else {
        newest.max(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::{Command, decide};
    use crate::attribute::Attribute;
    use crate::layout::SNAPSHOT_INTERVAL;
    use crate::money::{Amount, Balance, Currency};

    fn settings() -> Settings {
        Settings {
            default_currency: Currency::stored("EUR").expect("valid"),
        }
    }
    fn id() -> AggregateId {
        AggregateId::new("a").expect("valid")
    }
    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis).expect("valid")
    }
    fn opened() -> Event {
        Event::AccountCreated {
            currency: settings().default_currency,
        }
    }
    fn credited(minor_units: i64) -> Event {
        Event::BalanceCredited {
            amount: Amount::new(minor_units).expect("valid"),
        }
    }

    /// An account's whole table, oldest first, written event by event.
    fn written(events: &[Event]) -> (History, Vec<Attributes>) {
        let mut history = History::begin(id());
        let mut table = Vec::new();
        for (millis, event) in (0..).zip(events) {
            let (after, rows) =
                history.append(std::slice::from_ref(event), at(millis), &Trace::default());
            table.extend(rows.into_iter().map(|(_, row)| row));
            history = after;
        }
        (history, table)
    }

    fn newest_first(table: &[Attributes], limit: usize) -> Vec<Attributes> {
        table.iter().rev().take(limit).cloned().collect()
    }

    fn interval() -> usize {
        usize::try_from(SNAPSHOT_INTERVAL).expect("small")
    }

    #[test]
    fn an_opening_writes_its_event_and_a_snapshot() {
        let (history, table) = written(&[opened()]);
        let types: Vec<&Attribute> = table.iter().map(|row| &row[row::TYPE]).collect();
        assert_eq!(
            types,
            [&Attribute::text("CREATED"), &Attribute::text("SNAPSHOT")]
        );
        assert_eq!(table[1]["Balance"], Attribute::number(0));
        assert_eq!(history.sequence().get(), 1);
    }

    #[test]
    fn a_snapshot_is_written_with_the_event_before_it() {
        let events: Vec<Event> = std::iter::once(opened())
            .chain((1..=10).map(credited))
            .collect();
        let mut history = History::begin(id());
        let mut sizes = Vec::new();
        for event in &events {
            let (after, rows) =
                history.append(std::slice::from_ref(event), at(0), &Trace::default());
            sizes.push(rows.len());
            history = after;
        }
        assert_eq!(sizes, [2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_snapshot_that_an_older_producer_left_out_is_written_first() {
        let (_, mut table) = written(
            &std::iter::once(opened())
                .chain((1..=9).map(credited))
                .collect::<Vec<_>>(),
        );
        assert_eq!(
            table.pop().map(|row| row[row::TYPE].clone()),
            Some(Attribute::text("SNAPSHOT"))
        );
        let history = History::load(id(), &newest_first(&table, interval()), &settings())
            .expect("row 2 is among the newest ten");
        let (after, rows) = history.append(&[credited(5)], at(0), &Trace::default());
        let versions: Vec<u64> = rows.iter().map(|(version, _)| version.get()).collect();
        assert_eq!(versions, [12, 13]);
        assert_eq!(rows[0].1["Balance"], Attribute::number(45));
        assert_eq!(after.sequence().get(), 11);
    }

    #[test]
    fn several_events_are_appended_together() {
        let (history, _) = written(&[opened()]);
        let events: Vec<Event> = (1..=12).map(credited).collect();
        let (after, rows) = history.append(&events, at(0), &Trace::default());
        let versions: Vec<u64> = rows.iter().map(|(version, _)| version.get()).collect();
        assert_eq!(versions, (3..=15).collect::<Vec<_>>());
        assert_eq!(after.sequence().get(), 13);
    }

    #[test]
    fn time_never_runs_backwards() {
        let (history, _) = History::begin(id()).append(&[opened()], at(500), &Trace::default());
        let (_, rows) = history.append(&[credited(1)], at(499), &Trace::default());
        assert_eq!(rows[0].1["Timestamp"], Attribute::text(at(500)));
    }

    #[test]
    fn a_clock_that_was_far_ahead_is_not_followed() {
        let tolerance = 300_000;
        let (history, _) =
            History::begin(id()).append(&[opened()], at(1_000 + tolerance), &Trace::default());
        for (now, time) in [
            (1_000, 1_000 + tolerance),
            (999, 999),
            (1_001 + tolerance, 1_001 + tolerance),
        ] {
            let (_, rows) = history.append(&[credited(1)], at(now), &Trace::default());
            assert_eq!(rows[0].1["Timestamp"], Attribute::text(at(time)), "{now}");
        }
    }

    #[test]
    fn no_rows_are_an_account_that_was_never_opened() {
        assert_eq!(
            History::load(id(), &[], &settings()),
            Ok(History::begin(id()))
        );
    }

    #[test]
    fn rows_that_tell_no_state_are_an_error() {
        let events: Vec<Event> = std::iter::once(opened())
            .chain((1..=20).map(credited))
            .collect();
        let (_, table) = written(&events);

        let mut hole = newest_first(&table, interval());
        hole.remove(1);
        assert_eq!(
            History::load(id(), &hole, &settings()),
            Err(HistoryError::Missing {
                version: table.len() as u64 - 1
            })
        );

        let mut damaged = newest_first(&table, interval());
        damaged[0].remove("Amount");
        assert!(matches!(
            History::load(id(), &damaged, &settings()),
            Err(HistoryError::Row { version, source: RowError { attribute: "Amount", .. } })
                if version == table.len() as u64
        ));

        let no_snapshot = newest_first(&table, 1);
        assert!(matches!(
            History::load(id(), &no_snapshot, &settings()),
            Err(HistoryError::NoSnapshot { .. })
        ));
    }

    #[test]
    fn a_short_history_without_its_snapshot_is_folded_from_the_start() {
        let (_, mut table) = written(&[opened()]);
        table.truncate(1);
        let history = History::load(id(), &newest_first(&table, 10), &settings()).expect("folds");
        assert_eq!(
            history.state(),
            &State::Open {
                currency: settings().default_currency,
                balance: Balance::ZERO
            }
        );
        let (_, rows) = history.append(&[credited(1)], at(0), &Trace::default());
        assert_eq!(
            rows.len(),
            2,
            "the snapshot that was missing, and the event"
        );
    }

    fn any_history() -> impl Strategy<Value = Vec<Event>> {
        let command = prop_oneof![
            (1_i64..100).prop_map(|n| Command::Credit {
                amount: Amount::new(n).expect("valid")
            }),
            (1_i64..100).prop_map(|n| Command::Withdraw {
                amount: Amount::new(n).expect("valid")
            }),
        ];
        prop::collection::vec(command, 0..70).prop_map(|commands| {
            let mut events = vec![opened()];
            let mut state = evolve(State::Unopened, &opened());
            for command in commands {
                for event in decide(&state, &command).unwrap_or_default() {
                    state = evolve(state, &event);
                    events.push(event);
                }
            }
            events
        })
    }

    proptest! {
        #[test]
        fn fold_from_a_snapshot_equals_fold_from_the_start(events in any_history()) {
            let (history, table) = written(&events);
            let loaded = History::load(id(), &newest_first(&table, interval()), &settings());
            let folded = events.iter().fold(State::Unopened, evolve);
            prop_assert_eq!(loaded.as_ref().map(History::state), Ok(&folded));
            prop_assert_eq!(loaded, Ok(history));
        }

        #[test]
        fn sequences_in_the_table_are_1_2_3_without_a_hole(events in any_history()) {
            let (_, table) = written(&events);
            let sequences: Vec<u64> = table
                .iter()
                .map(|row| StoredRow::read(row, &settings()).expect("own rows"))
                .filter_map(|row| match row {
                    StoredRow::Event(event) => Some(event.sequence().get()),
                    StoredRow::Snapshot(_) => None,
                })
                .collect();
            prop_assert_eq!(sequences, (1..=events.len() as u64).collect::<Vec<_>>());
        }
    }
}
