//! The state that outlives an invocation: the tables, the streams, the lake, and the facts about the history that
//! the checks need.
//!
//! Only effects change it, each at one point in virtual time. `Sim` determines the time between two effects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;

use fastrand::Rng;
use millrace_core::Attributes;
use millrace_translator::cursor::Cursor;

use super::clients::Request;
use super::consumer;
use super::dynamodb::events::EventsTable;
use super::dynamodb::writer::{Item, Transaction};
use super::faults::{Fault, Plan, Tally};
use super::functions::{Names, Simulated};
use super::log::Log;
use super::mapping::Outage;
use super::operators::{CursorDamage, Run};
use super::reconciler;
use super::sabotage::Sabotage;
use super::upgrade::Upgrade;

/// A change of the events table, as its stream delivers it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) aggregate: String,
    pub(crate) item: String,
    pub(crate) row: Attributes,
    /// Whether the filter of the translator's mapping passes it.
    pub(crate) passes_filter: bool,
}

/// A record of the domain stream.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition_key: String,
    pub(crate) data: Vec<u8>,
    /// Whether a producer other than the translator has put it.
    pub(crate) is_from_other_producer: bool,
}

/// A record that a mapping has discarded and written to its failure destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Discarded {
    pub(crate) function: &'static str,
    pub(crate) aggregate: String,
    /// The time at which it was discarded, in milliseconds from the start.
    pub(crate) at: u64,
}

/// A violation of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The property's number or letter in the [list](crate).
    pub property: &'static str,
    /// The observed values that contradict the property.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "property {}: {}", self.property, self.what)
    }
}

/// The response to a client's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A response that gives the command's outcome.
    Definite {
        status: u16,
        body: String,
        etag: Option<String>,
        location: Option<String>,
        /// The time of the invocation's last response from the events table, in milliseconds from the start. A
        /// refusal comes after another read of the key's record.
        looked_at: u64,
    },
    /// No response, or a response that doesn't give the outcome.
    Unknown,
}

/// A command, with all the responses to its copies and retries.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    /// The time of its first attempt, in milliseconds from the start.
    pub(crate) at: u64,
    /// Whether the previous version executed it, which doesn't store the caller.
    pub(crate) is_previous: bool,
    pub(crate) answers: Vec<Answer>,
}

/// The history of the run, in order: a hash, and optionally the text.
pub(crate) struct Trace {
    hash: std::hash::DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            hash: std::hash::DefaultHasher::new(),
            lines: keep.then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, now: u64, line: fmt::Arguments<'_>) {
        let line = format!("{now:>8} ms  {line}");
        self.hash.write(line.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) fn finish(self) -> (u64, Vec<String>) {
        (self.hash.finish(), self.lines.unwrap_or_default())
    }
}

/// The state of the simulated services, and the facts that the checks need.
pub(crate) struct World {
    pub(crate) scenario: Arc<dyn Simulated>,
    pub(crate) names: Names,
    pub(crate) rng: Rng,
    /// The last value of `Ambient::random_bits`. It counts up: spans need ids that differ, and no randomness.
    pub(crate) random_bits: u64,
    pub(crate) plan: Plan,
    pub(crate) upgrade: Upgrade,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,

    pub(crate) events: EventsTable,
    /// Changes that haven't arrived on the table's stream, by the time of their arrival.
    pub(crate) outbox: BTreeMap<(u64, u64), Change>,
    pub(crate) table_stream: Log<Change>,
    pub(crate) outcomes: BTreeMap<String, Attributes>,
    /// Transactions by their token.
    pub(crate) transactions: BTreeMap<String, Transaction>,
    /// Items that a committed transaction has written and plain reads don't return yet, with the time at which they
    /// become visible.
    pub(crate) pending: BTreeMap<Item, u64>,
    /// The time at which the first event of each command was committed, by correlation id.
    pub(crate) committed: BTreeMap<String, u64>,
    pub(crate) cursors: BTreeMap<String, Cursor>,
    pub(crate) domain_stream: Log<Event>,
    pub(crate) views: BTreeMap<String, Attributes>,
    /// The revisions that views have had.
    pub(crate) revisions: BTreeSet<String>,
    /// Aggregates whose view is damaged and not yet replaced.
    pub(crate) damaged_views: BTreeSet<String>,
    /// Aggregates whose view was ever damaged.
    pub(crate) ever_damaged_views: BTreeSet<String>,
    pub(crate) lines: BTreeMap<(String, u64), Attributes>,
    pub(crate) consumer: consumer::State,
    pub(crate) lake: Vec<Vec<u8>>,
    pub(crate) discarded: Vec<Discarded>,
    pub(crate) reconciler: reconciler::State,
    /// By function, the aggregates of which a record was trimmed or became too old before the function read it.
    pub(crate) missed: BTreeSet<(&'static str, String)>,
    /// Whether every aggregate that accepts commands has another event after the faults.
    pub(crate) are_further_events_appended: bool,
    /// By function, the aggregates of which a record of such an event, or of a later one, was never delivered.
    pub(crate) missed_further_events: BTreeSet<(&'static str, String)>,
    /// The aggregates whose cursor's position isn't a number.
    pub(crate) unreadable_cursors: BTreeSet<String>,
    /// The aggregates whose cursor is damaged and not repaired.
    pub(crate) damaged_cursors: BTreeMap<String, CursorDamage>,
    /// The aggregates whose cursor was ever damaged.
    pub(crate) ever_damaged_cursors: BTreeSet<String>,
    /// The aggregates of which the archiver missed a record, and whose events were republished. Records that aren't
    /// events can't be republished.
    pub(crate) republished_to_lake: BTreeSet<String>,
    /// The runs of `republish`, by aggregate and first sequence.
    pub(crate) republished: BTreeMap<(String, u64), Run>,
    /// The reason why a function's mapping doesn't deliver, by function.
    pub(crate) outages: BTreeMap<&'static str, Outage>,
    /// The functions whose last invocation by their mapping failed.
    pub(crate) failed_calls: BTreeSet<&'static str>,

    /// The events that Kinesis has acknowledged to their producer.
    pub(crate) acknowledged: BTreeSet<(String, u64)>,
    /// The ids of aggregates, by their number in the workload.
    pub(crate) aggregates: BTreeMap<usize, String>,
    /// The aggregates of which a row was ever damaged or missing.
    pub(crate) damaged: BTreeSet<String>,
    /// The aggregates with whose key another producer has put a record.
    pub(crate) disturbed: BTreeSet<String>,
    pub(crate) commands: Vec<Sent>,
    /// The position of each reader: by function and shard, the next record of each lane.
    pub(crate) progress: BTreeMap<(&'static str, usize), Vec<usize>>,
    pub(crate) invocations: u64,
    /// The number of running invocations, including those whose response is lost, and of late effects.
    pub(crate) in_flight: usize,
    pub(crate) violation: Option<Violation>,
}

impl World {
    pub(crate) fn count(&mut self, what: &str, by: usize) {
        let by = u64::try_from(by).expect("a count");
        if let Some(count) = self.tally.get_mut(what) {
            *count += by;
        } else {
            self.tally.insert(what.to_owned(), by);
        }
    }

    pub(crate) fn strikes(&mut self, fault: Fault, now: u64) -> bool {
        self.plan.strikes(fault, now, &mut self.rng)
    }

    pub(crate) fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    /// Records a violation of a property. Only the first is kept, because others may follow from it.
    pub(crate) fn violated(&mut self, property: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.violation.get_or_insert(Violation { property, what });
    }

    /// Whether the function may never have processed a record of this aggregate, because the record is in the
    /// failure destination, or was trimmed or too old before it was read. Nothing reports the second case until
    /// another event of the aggregate arrives.
    pub(crate) fn is_discarded(&self, function: &'static str, aggregate: &str) -> bool {
        let is_discarded = |it: &Discarded| it.function == function && it.aggregate == aggregate;
        self.discarded.iter().any(is_discarded)
            || self.missed.contains(&(function, aggregate.to_owned()))
    }

    /// Whether a record of an aggregate was trimmed or too old before the function's mapping read it.
    pub(crate) fn is_missed(&self, function: &'static str, aggregate: &str) -> bool {
        self.missed.contains(&(function, aggregate.to_owned()))
    }

    /// Records that a function will never process a record of an aggregate.
    pub(crate) fn lose(&mut self, function: &'static str, aggregate: &str) {
        if self.are_further_events_appended {
            self.missed_further_events
                .insert((function, aggregate.to_owned()));
        }
    }

    /// Whether the record of the aggregate's event after the faults was never delivered to the function, so that the
    /// function can't find a gap.
    pub(crate) fn is_further_event_missed(&self, function: &'static str, aggregate: &str) -> bool {
        self.missed_further_events
            .contains(&(function, aggregate.to_owned()))
    }

    /// Makes the items of transactions visible whose time has come.
    pub(crate) fn reveal(&mut self, now: u64) {
        self.pending.retain(|_, visible_at| *visible_at > now);
    }

    pub(crate) fn is_pending(&self, item: &Item) -> bool {
        self.pending.contains_key(item)
    }

    /// An aggregate's rows that a plain read returns, oldest first.
    pub(crate) fn visible_rows<'a>(
        &'a self,
        id: &'a str,
    ) -> impl DoubleEndedIterator<Item = (u64, &'a Attributes)> + 'a {
        self.visible_rows_from(id, 0)
    }

    /// The visible rows from a number of halves on.
    pub(crate) fn visible_rows_from<'a>(
        &'a self,
        id: &'a str,
        from: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &'a Attributes)> + 'a {
        self.events.from(id, from).filter(|(halves, _)| {
            self.pending.is_empty() || !self.is_pending(&Item::Row(id.to_owned(), *halves))
        })
    }

    /// Stores a row, and schedules its change for the table's stream.
    pub(crate) fn put_row(&mut self, row: Attributes, now: u64) {
        let change = self.events.put(row);
        self.emit(change, now);
    }

    pub(crate) fn emit(&mut self, change: Change, now: u64) {
        // Only the order of one item's changes is kept.
        let mut arrives = now + 20;
        if self.strikes(Fault::ChangeOvertaken, now) {
            arrives += self.rng.u64(1..400);
        }
        let latest = self.events.last_arrival.entry(change.item.clone());
        let latest = latest.or_default();
        *latest = arrives.max(*latest);
        // Two changes of one item that arrive at the same time stay in order.
        let mut same = self.outbox.range((*latest, 0)..=(*latest, u64::MAX));
        let before = same.rfind(|(_, other)| other.item == change.item);
        let place =
            before.map_or_else(|| self.rng.u64(..u64::MAX / 2), |((_, place), _)| place + 1);
        let key = (*latest, place);
        self.outbox.insert(key, change);
    }

    /// Appends the changes that have arrived to the table's stream. Returns whether there were any, and the time at
    /// which the next one arrives.
    pub(crate) fn carry(&mut self, now: u64) -> (bool, Option<u64>) {
        let mut any = false;
        while let Some(entry) = self.outbox.first_entry() {
            let due = entry.key().0;
            if due > now {
                return (any, Some(due));
            }
            let change = entry.remove();
            self.count("stream records", 1);
            let key = self.events.shard_key(&change);
            self.table_stream.append(&key, now, change);
            any = true;
        }
        (any, None)
    }
}
