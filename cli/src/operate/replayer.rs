//! Sends published events again, to one consumer: the work of `millrace replay`.
//!
//! The events come from [`History`]s and go to a [`Target`]. Nothing is published, and no cursor changes.
//!
//! Several aggregates are read concurrently. Their events are sent together, in the order of each aggregate. Further
//! events of an aggregate are sent only after the target has received the previous ones. Every aggregate has its own
//! outcome. Its progress is recorded after its events are sent, so a run that is continued sends some events
//! twice, and skips none.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use millrace_core::{Sequence, Timestamp};
use millrace_runtime::{Chain, ServiceError};
use millrace_translator::published::PublishedEvent;
use tokio::time::Instant;

use super::CONCURRENCY;
use super::ports::RunProgress;

/// The bytes of events in memory from which on no further aggregate is read.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The published events of one aggregate, in order.
pub trait History: Send {
    /// Reads some of the events after `after`, which is the last event that was read, or the one after which
    /// the first call begins.
    ///
    /// # Errors
    /// [`ServiceError`]: a service failed, also when it was called again for some minutes.
    fn read(&mut self, after: Sequence) -> impl Future<Output = Result<Read, ServiceError>> + Send;
}

/// What was read of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next events; at least one.
    Events(Vec<PublishedEvent>),
    /// There are no more. Contains the last published sequence.
    End(Sequence),
    /// The next event can't be read, for this reason, which names the event.
    Unreadable(String),
}

/// Consecutive events of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The aggregate's id.
    pub aggregate: String,
    /// At least one event.
    pub events: Vec<PublishedEvent>,
}

impl Portion {
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.data.len()).sum()
    }
}

/// What the target has of a portion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The number of first events that the target has.
    pub sent: usize,
    /// Why it doesn't have the next one; `None` if it has all.
    pub refused: Option<String>,
}

/// How much is sent to a target at once.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// The most aggregates of a call of [`Target::send`].
    pub aggregates: usize,
    /// The most events of one aggregate.
    pub events_of_one: usize,
    /// The most events.
    pub events: usize,
    /// The most bytes of their data; a single event may have more.
    pub bytes: usize,
    /// The most concurrent calls.
    pub calls: usize,
}

/// Where the events are sent: one consumer.
pub trait Target: Send + Sync {
    /// How much is sent at once.
    fn capacity(&self) -> Capacity;

    /// Sends events of different aggregates, those of each in order. Returns for each portion, in order, what the
    /// target has. Failed calls are repeated; so the target may receive an event several times.
    ///
    /// # Errors
    /// [`ServiceError`]: the target can't be reached, or fails altogether. It may have some of the events.
    fn send(
        &self,
        portions: &[Portion],
    ) -> impl Future<Output = Result<Vec<Delivery>, ServiceError>> + Send;
}

/// Which events of an aggregate are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The first sequence.
    pub from: Sequence,
    /// The first event that happened at this time or later, and all events after it, whatever their times are.
    pub since: Option<Timestamp>,
}

impl Selection {
    /// All events.
    pub const ALL: Self = Self {
        from: Sequence::FIRST,
        since: None,
    };
}

/// The outcome of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All selected events are sent.
    Sent {
        /// The last published sequence.
        through: Sequence,
        /// The number of events that this run has sent.
        events: u64,
    },
    /// The events before one that can't be read are sent. Contains the reason, which names that event.
    Unreadable(String),
    /// The events before this one are sent.
    Refused {
        /// The event that the target doesn't accept.
        event: Sequence,
        /// Why.
        reason: String,
    },
    /// A service failed while the events were read. Those before are sent.
    Incomplete(String),
    /// Nothing was sent, because only this many events are published, fewer than the sequence from which on
    /// events were to be sent.
    TooFewEvents(Sequence),
}

impl Outcome {
    /// Whether all selected events are sent.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Sent { .. })
    }

    /// Whether a run that continues this one has nothing to do for the aggregate.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Sent { .. } | Self::TooFewEvents(_))
    }
}

/// The time between the beginning of a replay and the earlier starting position of the consumer on the domain stream. A
/// replay contains the events up to the publication cursors. An event may be on the stream before its cursor is saved: a
/// publisher saves the cursor within ten minutes after the put, or publishes the event again. Clocks differ too.
const OVERLAP_MILLIS: i64 = 15 * 60 * 1000;

/// The time at which a consumer begins to read the domain stream after a replay that began at this time: a little
/// earlier. The events of this overlap are duplicates.
#[must_use]
pub fn hand_over(began: Timestamp) -> Timestamp {
    let earlier = began.unix_millis().saturating_sub(OVERLAP_MILLIS);
    Timestamp::from_unix_millis(earlier).unwrap_or(began)
}

/// The result of a run, or of its part up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The number of aggregates that have an outcome.
    pub aggregates: usize,
    /// The number of those whose events are all sent.
    pub sent: usize,
    /// The number of events that were sent.
    pub events: u64,
}

impl Summary {
    /// Whether every aggregate is sent.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.sent == self.aggregates
    }
}

/// Sends histories to a target.
#[derive(Debug)]
pub struct Replayer<'a, T, R> {
    target: &'a T,
    progress: &'a R,
    selection: Selection,
    pace: Pace,
}

/// An aggregate in progress.
struct Open<H> {
    aggregate: String,
    history: H,
    /// Events that were read and not sent yet.
    ready: VecDeque<PublishedEvent>,
    /// The last event that was read.
    read: Sequence,
    /// Whether the first selected event was found.
    is_begun: bool,
    /// The number of events that this run has sent.
    sent: u64,
    /// The outcome after the ready events are sent.
    end: Option<Outcome>,
}

/// The result of work in progress.
enum Worked<H> {
    Read(Box<Open<H>>, Result<Read, ServiceError>),
    Sent {
        open: Vec<Open<H>>,
        portions: Vec<Portion>,
        result: Result<Vec<Delivery>, ServiceError>,
    },
}

type Work<'w, H> = FuturesUnordered<Pin<Box<dyn Future<Output = Worked<H>> + Send + 'w>>>;

/// The aggregates in progress by what they wait for.
struct Aggregates<'w, H> {
    work: Work<'w, H>,
    /// Those with events to be sent.
    ready: VecDeque<Open<H>>,
    /// The number of aggregates in progress.
    open: usize,
    reads: usize,
    sends: usize,
    /// The bytes of the events that were read and not sent yet.
    bytes: usize,
    summary: Summary,
}

impl<H> Aggregates<'_, H> {
    /// Whether the ready events fill a call.
    fn fill(&self, capacity: Capacity) -> bool {
        let (mut events, mut bytes) = (0, 0);
        self.ready.len() >= capacity.aggregates
            || self.ready.iter().any(|open| {
                let of_one = open.ready.iter().take(capacity.events_of_one);
                events += of_one.len();
                bytes += of_one.map(|event| event.data.len()).sum::<usize>();
                events >= capacity.events || bytes >= capacity.bytes
            })
    }
}

impl<'a, T: Target, R: RunProgress> Replayer<'a, T, R> {
    /// Sends the selected events to the target, at most `rate` of them per second on average, if it is given.
    pub const fn new(
        target: &'a T,
        progress: &'a R,
        selection: Selection,
        rate: Option<NonZeroU32>,
    ) -> Self {
        Self {
            target,
            progress,
            selection,
            pace: Pace {
                rate,
                next: Mutex::new(None),
            },
        }
    }

    /// Sends the histories of different aggregates that aren't completed yet. `report` is called with each outcome, and
    /// with the summary up to then; and without an outcome after events were sent.
    ///
    /// # Errors
    /// * The histories could not be listed.
    /// * The target failed ([`Target::send`]).
    /// * The progress could not be recorded.
    /// * The errors of `report`.
    pub async fn replay<H: History>(
        &self,
        histories: impl Stream<Item = Result<(String, H), ServiceError>> + Send,
        mut report: impl FnMut(Option<(&str, &Outcome)>, Summary) -> Result<()> + Send,
    ) -> Result<Summary> {
        let capacity = self.capacity();
        let most_open = capacity.aggregates * capacity.calls + CONCURRENCY;
        let mut histories = pin!(histories);
        let mut has_more = true;
        let mut aggregates = Aggregates {
            work: Work::new(),
            ready: VecDeque::new(),
            open: 0,
            reads: 0,
            sends: 0,
            bytes: 0,
            summary: Summary::default(),
        };
        loop {
            while has_more
                && aggregates.open < most_open
                && aggregates.reads < CONCURRENCY
                && aggregates.bytes < MAX_BYTES
            {
                let Some(history) = histories.next().await else {
                    has_more = false;
                    break;
                };
                let (aggregate, history) = history?;
                if self.progress.is_completed(&aggregate) {
                    continue;
                }
                aggregates.open += 1;
                let open = self.open(aggregate, history);
                Self::read(Box::new(open), &mut aggregates);
            }
            while aggregates.sends < capacity.calls
                && !aggregates.ready.is_empty()
                && (aggregates.reads == 0 || aggregates.fill(capacity))
            {
                self.send(capacity, &mut aggregates);
            }
            let Some(worked) = aggregates.work.next().await else {
                return Ok(aggregates.summary);
            };
            match worked {
                Worked::Read(open, read) => {
                    aggregates.reads -= 1;
                    let mut open = *open;
                    self.take(&mut open, read, &mut aggregates.bytes);
                    self.go_on(open, &mut aggregates, &mut report)?;
                }
                Worked::Sent {
                    open,
                    portions,
                    result,
                } => {
                    aggregates.sends -= 1;
                    let deliveries = result?;
                    for ((mut open, portion), delivery) in
                        open.into_iter().zip(portions).zip(deliveries)
                    {
                        aggregates.bytes -= portion.bytes();
                        let sent = self.count(&mut open, &portion, delivery)?;
                        aggregates.summary.events += sent;
                        self.go_on(open, &mut aggregates, &mut report)?;
                    }
                    report(None, aggregates.summary)?;
                }
            }
        }
    }

    /// The target's capacity. With a rate, a call has at most the events of a second.
    fn capacity(&self) -> Capacity {
        let capacity = self.target.capacity();
        let most = capacity.events;
        let rate = self.pace.rate.map(NonZeroU32::get);
        let rate = rate.and_then(|rate| usize::try_from(rate).ok());
        Capacity {
            events: rate.map_or(most, |rate| rate.min(most)),
            ..capacity
        }
    }

    fn open<H: History>(&self, aggregate: String, history: H) -> Open<H> {
        let before = Sequence::new(self.selection.from.get().saturating_sub(1));
        let reached = self.progress.reached(&aggregate);
        Open {
            read: reached.max(before).unwrap_or_default(),
            is_begun: reached.is_some() || self.selection.since.is_none(),
            aggregate,
            history,
            ready: VecDeque::new(),
            sent: 0,
            end: None,
        }
    }

    fn read<'w, H: History + 'w>(mut open: Box<Open<H>>, aggregates: &mut Aggregates<'w, H>) {
        aggregates.reads += 1;
        aggregates.work.push(Box::pin(async move {
            let read = open.history.read(open.read).await;
            Worked::Read(open, read)
        }));
    }

    /// Adds what was read. Events before the first selected one are skipped.
    fn take<H>(&self, open: &mut Open<H>, read: Result<Read, ServiceError>, bytes: &mut usize) {
        let events = match read {
            Ok(Read::Events(events)) => events,
            Ok(Read::End(through)) => {
                let is_short = self.selection.from > Sequence::FIRST.max(through);
                open.end = Some(if is_short {
                    Outcome::TooFewEvents(through)
                } else {
                    let events = open.sent;
                    Outcome::Sent { through, events }
                });
                return;
            }
            Ok(Read::Unreadable(reason)) => {
                open.end = Some(Outcome::Unreadable(reason));
                return;
            }
            Err(error) => {
                open.end = Some(Outcome::Incomplete(Chain(&error).to_string()));
                return;
            }
        };
        for event in events {
            open.read = event.sequence;
            open.is_begun |= Some(event.time) >= self.selection.since;
            if open.is_begun {
                *bytes += event.data.len();
                open.ready.push_back(event);
            }
        }
    }

    /// Continues with an aggregate: sends its ready events, reads further ones, or ends it.
    fn go_on<'w, H: History + 'w>(
        &self,
        open: Open<H>,
        aggregates: &mut Aggregates<'w, H>,
        report: &mut impl FnMut(Option<(&str, &Outcome)>, Summary) -> Result<()>,
    ) -> Result<()> {
        if !open.ready.is_empty() {
            aggregates.ready.push_back(open);
            return Ok(());
        }
        let Some(outcome) = &open.end else {
            Self::read(Box::new(open), aggregates);
            return Ok(());
        };
        aggregates.open -= 1;
        aggregates.summary.aggregates += 1;
        aggregates.summary.sent += usize::from(outcome.is_complete());
        if outcome.is_final() {
            self.progress.complete(&open.aggregate)?;
        }
        report(Some((&open.aggregate, outcome)), aggregates.summary)
    }

    /// Sends the first ready events of the first ready aggregates.
    fn send<'w, H: History + 'w>(&'w self, capacity: Capacity, aggregates: &mut Aggregates<'w, H>) {
        let (mut open, mut portions) = (Vec::new(), Vec::new());
        let (mut events_left, mut bytes_left) = (capacity.events, capacity.bytes);
        while portions.len() < capacity.aggregates {
            let Some(next) = aggregates.ready.front_mut() else {
                break;
            };
            let mut events = Vec::new();
            while events.len() < capacity.events_of_one.min(events_left)
                && let Some(event) = next.ready.front()
                && (event.data.len() <= bytes_left || (portions.is_empty() && events.is_empty()))
            {
                bytes_left = bytes_left.saturating_sub(event.data.len());
                events.extend(next.ready.pop_front());
            }
            if events.is_empty() {
                break;
            }
            events_left -= events.len();
            portions.push(Portion {
                aggregate: next.aggregate.clone(),
                events,
            });
            open.extend(aggregates.ready.pop_front());
        }
        let count = capacity.events - events_left;
        aggregates.sends += 1;
        aggregates.work.push(Box::pin(async move {
            self.pace.wait(count).await;
            let result = self.target.send(&portions).await;
            Worked::Sent {
                open,
                portions,
                result,
            }
        }));
    }

    /// Records what was sent of a portion. Returns the number of events.
    fn count<H>(
        &self,
        open: &mut Open<H>,
        portion: &Portion,
        delivery: Delivery,
    ) -> Result<u64, ServiceError> {
        let Delivery { sent, refused } = delivery;
        if let Some(last) = portion.events[..sent].last() {
            self.progress.record(&open.aggregate, last.sequence)?;
        }
        if let (Some(reason), Some(event)) = (refused, portion.events.get(sent)) {
            open.ready.clear();
            let event = event.sequence;
            open.end = Some(Outcome::Refused { event, reason });
        }
        let sent = u64::try_from(sent).unwrap_or_default();
        open.sent += sent;
        if let Some(Outcome::Sent { events, .. }) = &mut open.end {
            *events = open.sent;
        }
        Ok(sent)
    }
}

/// Limits the number of events per second.
#[derive(Debug)]
struct Pace {
    rate: Option<NonZeroU32>,
    /// When the next events may be sent.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Waits until so many events may be sent.
    async fn wait(&self, events: usize) {
        let Some(rate) = self.rate else { return };
        let now = Instant::now();
        let begin = {
            let mut next = self.next.lock().expect("the lock isn't poisoned");
            let begin = next.unwrap_or(now).max(now);
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            *next = Some(begin + Duration::from_secs(1) * events / rate.get());
            begin
        };
        tokio::time::sleep_until(begin).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use futures_util::stream;
    use millrace_core::{Attribute, Envelope};
    use millrace_domain::Accounts;
    use millrace_runtime::Ambient as _;
    use millrace_runtime::testing::TestAmbient;

    use super::super::checkpoint::{Checkpoint, Earlier, Scope};
    use super::super::histories::InTable;
    use super::super::memory::{AMBIENT, Memory, accounts};
    use super::super::ports::NotKept;
    use super::*;

    /// A consumer that has the sequences of each aggregate in the order in which it received them.
    #[derive(Default)]
    struct Consumer {
        received: Mutex<BTreeMap<String, Vec<u64>>>,
        /// The events that it refuses.
        refused: BTreeSet<(String, u64)>,
        /// The number of calls after which it fails.
        calls_left: Mutex<Option<usize>>,
        in_flight: Mutex<BTreeSet<String>>,
    }

    impl Target for Consumer {
        fn capacity(&self) -> Capacity {
            Capacity {
                aggregates: 3,
                events_of_one: 7,
                events: 10,
                bytes: 5_000,
                calls: 2,
            }
        }

        async fn send(&self, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
            let capacity = self.capacity();
            let events: usize = portions.iter().map(|portion| portion.events.len()).sum();
            assert!(portions.len() <= capacity.aggregates && events <= capacity.events);
            for portion in portions {
                assert!(!portion.events.is_empty() && portion.events.len() <= 7);
                let mut in_flight = self.in_flight.lock().expect("unpoisoned");
                assert!(in_flight.insert(portion.aggregate.clone()), "two calls");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(left) = &mut *self.calls_left.lock().expect("unpoisoned") {
                let failed = || ServiceError::new("a call", "it failed");
                *left = left.checked_sub(1).ok_or_else(failed)?;
            }
            let mut received = self.received.lock().expect("unpoisoned");
            let deliveries = portions.iter().map(|portion| {
                let mut in_flight = self.in_flight.lock().expect("unpoisoned");
                in_flight.remove(&portion.aggregate);
                let is_refused = |event: &PublishedEvent| {
                    let event = (portion.aggregate.clone(), event.sequence.get());
                    self.refused.contains(&event)
                };
                let refused = portion.events.iter().position(is_refused);
                let sent = refused.unwrap_or(portion.events.len());
                for event in &portion.events[..sent] {
                    let envelope = Envelope::parse::<Accounts>(&event.data).expect("an event");
                    assert_eq!(
                        (envelope.subject.as_str(), envelope.sequence),
                        (portion.aggregate.as_str(), event.sequence)
                    );
                    let of = received.entry(portion.aggregate.clone()).or_default();
                    of.push(event.sequence.get());
                }
                Delivery {
                    sent,
                    refused: refused.map(|_| "it may not".to_owned()),
                }
            });
            Ok(deliveries.collect())
        }
    }

    impl Consumer {
        fn received(&self, aggregate: &str) -> Vec<u64> {
            let received = self.received.lock().expect("unpoisoned");
            received.get(aggregate).cloned().unwrap_or_default()
        }
    }

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    async fn replay(
        memory: &Memory,
        consumer: &Consumer,
        progress: &impl RunProgress,
        selection: Selection,
        rate: Option<u32>,
    ) -> (Result<Summary>, BTreeMap<String, Outcome>) {
        let domain = accounts();
        let ambient: &TestAmbient = &AMBIENT;
        let histories = memory.ids().0.into_iter().map(|id| {
            let history = InTable::new(&domain, memory, memory, &ambient, id.clone());
            Ok((id, history))
        });
        let rate = rate.and_then(NonZeroU32::new);
        let replayer = Replayer::new(consumer, progress, selection, rate);
        let mut outcomes = BTreeMap::new();
        let mut last = Summary::default();
        let result = replayer.replay(stream::iter(histories), |ended, summary| {
            assert!(summary.events >= last.events && summary.aggregates >= last.aggregates);
            last = summary;
            if let Some((id, outcome)) = ended {
                let before = outcomes.insert(id.to_owned(), outcome.clone());
                assert_eq!(before, None, "{id}");
            }
            Ok(())
        });
        let result = is_send(result).await;
        (result, outcomes)
    }

    /// The simulation spawns this future, so it must be `Send`.
    fn is_send<T: Send>(future: T) -> T {
        future
    }

    fn checkpoint(folder: &tempfile::TempDir, earlier: Earlier) -> Checkpoint {
        let scope = Scope {
            events_table: "events".to_owned(),
            table_id: None,
            stream: "stream".to_owned(),
            from: 1,
            aggregate: None,
        };
        Checkpoint::open(folder.path(), &scope, earlier, AMBIENT.now()).expect("opened")
    }

    fn sent(through: u64, events: u64) -> Outcome {
        Outcome::Sent {
            through: sequence(through),
            events,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_published_events_are_sent_in_order_and_nothing_is_published() {
        let (memory, consumer) = (Memory::default(), Consumer::default());
        memory.add("long", 1_234, 1_234);
        memory.add("pending", 20, 4);
        memory.add("unpublished", 3, 0);
        for short in 0..30 {
            memory.add(&format!("short-{short}"), 1 + short, 1 + short as u64);
        }
        let (result, outcomes) = replay(&memory, &consumer, &NotKept, Selection::ALL, None).await;
        let events = 1_234 + 4 + (1..=30).sum::<u64>();
        let expected = Summary {
            aggregates: 33,
            sent: 33,
            events,
        };
        assert_eq!(result.expect("sent"), expected);
        assert!(expected.is_complete());
        assert_eq!(outcomes["long"], sent(1_234, 1_234));
        assert_eq!(outcomes["unpublished"], sent(0, 0));
        for (id, last) in [("long", 1_234), ("pending", 4), ("short-17", 18)] {
            assert!(consumer.received(id).into_iter().eq(1..=last), "{id}");
        }
        assert!(memory.world().stream.is_empty());
        assert_eq!(memory.published_through("pending"), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_that_ended_is_continued_without_a_gap() {
        let memory = Memory::default();
        for (id, events) in [("a", 100), ("b", 60), ("c", 1), ("d", 33)] {
            memory.add(id, events, events as u64);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let consumer = Consumer::default();
        let mut runs = 0;
        loop {
            let earlier = if runs == 0 {
                Earlier::Refuse
            } else {
                Earlier::Resume
            };
            let run = checkpoint(&folder, earlier);
            assert_eq!(run.began(), AMBIENT.now());
            *consumer.calls_left.lock().expect("unpoisoned") = Some(3);
            consumer.in_flight.lock().expect("unpoisoned").clear();
            let (result, _) = replay(&memory, &consumer, &run, Selection::ALL, None).await;
            runs += 1;
            match result {
                Ok(summary) => {
                    assert!(summary.is_complete());
                    break;
                }
                Err(error) => assert!(format!("{error:#}").contains("it failed")),
            }
        }
        assert!(runs > 3, "{runs}");
        for (id, events) in [("a", 100), ("b", 60), ("c", 1), ("d", 33)] {
            // Only what a call in flight contained when another one failed is sent twice.
            let received = consumer.received(id);
            let once = usize::try_from(events).expect("small");
            assert!(received.len() <= once + runs * 7, "{received:?}");
            let mut applied = 0;
            for event in received {
                assert!(event <= applied + 1, "{id}: {event} after {applied}");
                applied = applied.max(event);
            }
            assert_eq!(applied, events);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_aggregate_that_cannot_be_sent_stops_no_other() {
        let memory = Memory::default();
        for id in ["damaged", "refused", "unavailable", "unreadable", "well"] {
            memory.add(id, 12, 12);
        }
        memory.add("ahead", 12, 14);
        {
            let mut world = memory.world();
            let rows = world.rows.get_mut("damaged").expect("there");
            let row = rows.get_mut(&8).expect("there");
            row.insert("Amount".to_owned(), Attribute::text("x"));
            let error = millrace_core::DecodeError::new("PublishedThrough", "is no number");
            world.cursors.insert("unreadable".to_owned(), Err(error));
            world.unavailable.insert("unavailable".to_owned());
        }
        let consumer = Consumer {
            refused: [("refused".to_owned(), 5)].into(),
            ..Consumer::default()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let run = checkpoint(&folder, Earlier::Refuse);
        let (result, outcomes) = replay(&memory, &consumer, &run, Selection::ALL, None).await;
        let summary = result.expect("sent");
        assert_eq!((summary.aggregates, summary.sent), (6, 1));
        assert!(!summary.is_complete());
        assert_eq!(outcomes["well"], sent(12, 12));
        let Outcome::Refused { event, reason } = &outcomes["refused"] else {
            panic!("{outcomes:?}");
        };
        assert_eq!((event.get(), reason.as_str()), (5, "it may not"));
        for (id, text) in [
            ("damaged", "event 7"),
            ("ahead", "event 13 is missing"),
            ("unreadable", "PublishedThrough"),
        ] {
            let Outcome::Unreadable(reason) = &outcomes[id] else {
                panic!("{id}: {outcomes:?}");
            };
            assert!(reason.contains(text), "{reason}");
        }
        assert!(matches!(outcomes["unavailable"], Outcome::Incomplete(_)));
        for (id, last) in [("damaged", 6), ("ahead", 12), ("refused", 4), ("well", 12)] {
            assert!(consumer.received(id).into_iter().eq(1..=last), "{id}");
        }
        // A run that continues this one sends only what is left.
        assert_eq!(run.completed(), 1);
        assert_eq!(run.reached("damaged"), Some(sequence(6)));
        let consumer = Consumer::default();
        let run = checkpoint(&folder, Earlier::Resume);
        let (_, outcomes) = replay(&memory, &consumer, &run, Selection::ALL, None).await;
        assert_eq!(outcomes["refused"], sent(12, 8));
        assert!(consumer.received("refused").into_iter().eq(5..=12));
    }

    #[tokio::test(start_paused = true)]
    async fn only_selected_events_are_sent() {
        let memory = Memory::default();
        memory.add("a", 30, 30);
        memory.add("b", 3, 3);
        // Clocks differ: event 12 is earlier than those around it.
        let time = |sequence: u64| {
            let minutes = if sequence == 12 { 0 } else { sequence };
            format!("2026-11-20T10:{minutes:02}:00.000Z")
        };
        for rows in memory.world().rows.values_mut() {
            for row in rows.values_mut() {
                if let Some(Attribute::Number(sequence)) = row.get("Sequence") {
                    let time = time(sequence.parse().expect("a number"));
                    row.insert("Timestamp".to_owned(), Attribute::text(time));
                }
            }
        }
        let since = Timestamp::parse(&time(10)).expect("a time");
        for (from, since, expected) in [
            (5, None, 5..=30),
            (1, Some(since), 10..=30),
            (20, Some(since), 20..=30),
        ] {
            let selection = Selection {
                from: sequence(from),
                since,
            };
            let consumer = Consumer::default();
            let (_, outcomes) = replay(&memory, &consumer, &NotKept, selection, None).await;
            assert!(consumer.received("a").into_iter().eq(expected));
            let of_short = if from > 3 {
                Outcome::TooFewEvents(sequence(3))
            } else {
                sent(3, 0)
            };
            assert_eq!(outcomes["b"], of_short);
            assert!(consumer.received("b").is_empty());
        }
        // A run that continues within the selection doesn't look for its begin again.
        let folder = tempfile::tempdir().expect("a folder");
        let run = checkpoint(&folder, Earlier::Refuse);
        run.record("a", sequence(11)).expect("recorded");
        let consumer = Consumer::default();
        let selection = Selection {
            since: Some(since),
            ..Selection::ALL
        };
        replay(&memory, &consumer, &run, selection, None)
            .await
            .0
            .expect("sent");
        assert!(consumer.received("a").into_iter().eq(12..=30));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_whatever_the_number_of_aggregates() {
        let memory = Memory::default();
        memory.add("a", 100, 100);
        for short in 0..20 {
            memory.add(&format!("short-{short}"), 5, 5);
        }
        for (rate, least, most) in [
            (10, 19_000, 21_000),
            (1, 199_000, 201_000),
            (1_000, 200, 900),
        ] {
            let begun = Instant::now();
            let consumer = Consumer::default();
            let replay = replay(&memory, &consumer, &NotKept, Selection::ALL, Some(rate));
            assert_eq!(replay.await.0.expect("sent").events, 200);
            let millis = begun.elapsed().as_millis();
            assert!((least..=most).contains(&millis), "{rate}: {millis} ms");
        }
    }

    #[test]
    fn a_consumer_reads_the_stream_from_a_little_before_the_replay() {
        let began = Timestamp::parse("2026-11-20T21:03:05Z").expect("a time");
        assert_eq!(hand_over(began).to_string(), "2026-11-20T20:48:05.000Z");
    }
}
