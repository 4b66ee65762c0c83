//! A feed that delivers histories with every fault that Kinesis and Lambda allow.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use fastrand::Rng;
use futures_util::future::{Either, join, select};
use millrace_core::Sequence;
use serde::Serialize;
use serde_json::{Value, json};

use super::kinesis_event;
use crate::positions::Gap;

/// The most records of a batch.
const MAX_BATCH: usize = 12;
/// How often a batch is delivered without progress before the feed fails.
const MAX_DELIVERIES: u32 = 60;
/// The most times that an invocation yields before it is killed or suspended.
const MAX_YIELDS: u32 = 12;
/// The sequence number of the first record.
const FIRST_NUMBER: usize = 1_000;

/// Delivers histories of events to a handler, with every fault that Kinesis and Lambda allow, in an order that a seed
/// determines:
///
/// - An event, or the end of a history from some event on, is on the stream again later.
/// - Events of different aggregates are interleaved in any order. The first occurrences of one aggregate's events
///   keep theirs, which Millrace guarantees.
/// - The stream also contains undecodable records, and an event of a type that no consumer knows.
/// - A batch is delivered again although it was completed. After a partial batch response, it is delivered from the
///   reported record on; after an error, as a whole or bisected.
/// - Two invocations run at once: with the same batch, or one with a batch that was delivered before.
/// - An invocation is killed: its future is dropped while it waits. With
///   [`FailingPositions`](super::FailingPositions), a call fails and the invocation goes on.
/// - With [`HostileFeed::with_gaps`], events are missing at first, and the whole history is delivered again at the
///   end, as `millrace replay` does. [`HostileFeed::run_and_check_gaps`] checks in between that the gaps are stored.
///
/// The feed ends when every record is completed. Afterwards the test compares what its handler did with the
/// histories: each event must have taken effect once, in the order of its aggregate.
#[derive(Debug, Clone)]
pub struct HostileFeed {
    rng: Rng,
    source: String,
    histories: Vec<(String, Vec<Vec<u8>>)>,
    has_gaps: bool,
}

/// What a feed has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// The number of invocations.
    pub invocations: u32,
    /// The number of those that were killed.
    pub killed: u32,
    /// The number of times that two invocations ran at once.
    pub at_once: u32,
    /// The number of batches that were delivered again from a record on that a response reported.
    pub reported: u32,
    /// The number of records on the stream that repeat an event.
    pub duplicates: u32,
    /// The number of undecodable records on the stream.
    pub undecodable: u32,
    /// The number of events that were missing at first.
    pub missing: u32,
}

/// What is wrong with a handler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The response isn't one that Lambda accepts, or names a record that isn't in the batch. Lambda would treat
    /// the batch as failed.
    #[error("the response to a batch is no partial batch response: {0}")]
    Response(String),
    /// The batch was delivered many times, and no record of it was completed.
    #[error(
        "a batch was delivered {MAX_DELIVERIES} times, and its first record never completed: {0}"
    )]
    NeverCompleted(String),
    /// Events of an aggregate were missing, and the consumer doesn't show this, or shows a gap that doesn't exist.
    #[error("the gap of {subject} is {found:?}; it should be {expected:?}")]
    Gap {
        /// The aggregate.
        subject: String,
        /// The gap that the consumer should have stored.
        expected: Option<Gap>,
        /// The gap that it has stored.
        found: Option<Gap>,
    },
}

struct Record {
    partition_key: String,
    data: Vec<u8>,
}

/// How an invocation ended.
enum Ended {
    /// The position on the stream from which on the batch has to be delivered again; `None` for nothing.
    Responded(Option<usize>),
    Failed(String),
    Killed,
}

impl HostileFeed {
    /// A feed of events with this `source`, such as `urn:millrace:shelves`.
    #[must_use]
    pub fn new(seed: u64, source: &str) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            source: source.to_owned(),
            histories: Vec::new(),
            has_gaps: false,
        }
    }

    /// Adds the history of an aggregate: the bytes of its events, in order, from the first one on.
    #[must_use]
    pub fn history(mut self, subject: &str, events: Vec<Vec<u8>>) -> Self {
        self.histories.push((subject.to_owned(), events));
        self
    }

    /// Leaves out some events at first.
    #[must_use]
    pub const fn with_gaps(mut self) -> Self {
        self.has_gaps = true;
        self
    }

    /// Delivers all records to `invoke`, which gets an invocation's bytes and returns the response. It may be called
    /// while other calls are in progress, and its future may be dropped at any time.
    ///
    /// # Errors
    /// [`FeedError`] if the handler is wrong in a way that doesn't depend on what it does with the events.
    pub async fn run<F, R, E>(self, invoke: impl Fn(Vec<u8>) -> F) -> Result<Report, FeedError>
    where
        F: Future<Output = Result<R, E>>,
        R: Serialize,
        E: Display,
    {
        self.run_all(invoke, |_| Ok(())).await
    }

    /// As [`HostileFeed::run`] with [`HostileFeed::with_gaps`]. Before the missing events are delivered, it checks that
    /// the consumer has stored the right gap for each aggregate that lacks events, and none for the others. `stored`
    /// returns an aggregate's gap, such as that of [`MemoryPositions::position`](crate::MemoryPositions::position).
    ///
    /// # Errors
    /// [`FeedError`], as for [`HostileFeed::run`], and [`FeedError::Gap`].
    pub async fn run_and_check_gaps<F, R, E>(
        mut self,
        stored: impl Fn(&str) -> Option<Gap>,
        invoke: impl Fn(Vec<u8>) -> F,
    ) -> Result<Report, FeedError>
    where
        F: Future<Output = Result<R, E>>,
        R: Serialize,
        E: Display,
    {
        self.has_gaps = true;
        let histories = self.histories.clone();
        let check = |missing: &BTreeSet<(usize, usize)>| {
            for (history, (subject, events)) in histories.iter().enumerate() {
                let first = missing.iter().find(|(of, _)| *of == history);
                let expected = first.map(|(_, event)| Gap {
                    missing: sequence(event + 1),
                    seen: sequence(events.len()),
                });
                let found = stored(subject);
                if found != expected {
                    return Err(FeedError::Gap {
                        subject: subject.clone(),
                        expected,
                        found,
                    });
                }
            }
            Ok(())
        };
        self.run_all(invoke, check).await
    }

    /// Delivers all records. `check` is called with the events that are missing, before they are delivered.
    async fn run_all<F, R, E>(
        mut self,
        invoke: impl Fn(Vec<u8>) -> F,
        check: impl FnOnce(&BTreeSet<(usize, usize)>) -> Result<(), FeedError>,
    ) -> Result<Report, FeedError>
    where
        F: Future<Output = Result<R, E>>,
        R: Serialize,
        E: Display,
    {
        let mut report = Report::default();
        let mut missing = BTreeSet::new();
        if self.has_gaps {
            for (history, (_, events)) in self.histories.iter().enumerate() {
                if events.len() > 1 && self.rng.bool() {
                    let from = self.rng.usize(..events.len() - 1);
                    let until = self.rng.usize(from + 1..events.len());
                    missing.extend((from..until).map(|event| (history, event)));
                }
            }
        }
        report.missing = u32::try_from(missing.len()).unwrap_or(u32::MAX);
        let stream = self.stream(&missing, &mut report);
        self.deliver(&stream, &invoke, &mut report).await?;
        check(&missing)?;
        if !missing.is_empty() {
            let again: Vec<Record> = self
                .histories
                .iter()
                .flat_map(|(subject, events)| {
                    events.iter().map(|event| Record {
                        partition_key: subject.clone(),
                        data: event.clone(),
                    })
                })
                .collect();
            self.deliver(&again, &invoke, &mut report).await?;
        }
        Ok(report)
    }

    /// The records in the order of the stream.
    fn stream(&mut self, missing: &BTreeSet<(usize, usize)>, report: &mut Report) -> Vec<Record> {
        let mut stream = Vec::new();
        // How many events of each history are on the stream, or missing.
        let mut reached = vec![0; self.histories.len()];
        let mut open: Vec<usize> = (0..self.histories.len()).collect();
        stream.push(unknown_event(&self.source));
        while !open.is_empty() {
            match self.rng.u8(..8) {
                0 => {
                    report.undecodable += 1;
                    stream.push(self.undecodable());
                }
                1 => {
                    let history = self.rng.usize(..self.histories.len());
                    if reached[history] > 0 {
                        let from = self.rng.usize(..reached[history]);
                        let until = self.rng.usize(from..reached[history]) + 1;
                        for event in
                            (from..until).filter(|event| !missing.contains(&(history, *event)))
                        {
                            report.duplicates += 1;
                            stream.push(self.record(history, event));
                        }
                    }
                }
                _ => {
                    let place = self.rng.usize(..open.len());
                    let history = open[place];
                    let event = reached[history];
                    if event < self.histories[history].1.len() {
                        if !missing.contains(&(history, event)) {
                            stream.push(self.record(history, event));
                        }
                        reached[history] += 1;
                    } else {
                        open.swap_remove(place);
                    }
                }
            }
        }
        stream
    }

    fn record(&self, history: usize, event: usize) -> Record {
        let (subject, events) = &self.histories[history];
        Record {
            partition_key: subject.clone(),
            data: events[event].clone(),
        }
    }

    fn undecodable(&mut self) -> Record {
        let data: &[u8] = match self.rng.u8(..4) {
            0 => b"",
            1 => b"no event",
            2 => b"{\"id\":\"\xff\"}",
            _ => b"{\"specversion\":\"1.0\"}",
        };
        Record {
            partition_key: "undecodable".to_owned(),
            data: data.to_owned(),
        }
    }

    /// Delivers records in batches, until all are completed.
    async fn deliver<F, R, E>(
        &mut self,
        stream: &[Record],
        invoke: &impl Fn(Vec<u8>) -> F,
        report: &mut Report,
    ) -> Result<(), FeedError>
    where
        F: Future<Output = Result<R, E>>,
        R: Serialize,
        E: Display,
    {
        // An invocation that was delivered before, and has not ended.
        let mut suspended: Option<Pin<Box<Invocation<F>>>> = None;
        let (mut at, mut deliveries) = (0, 0);
        // The generator of the invocations' interleaving.
        let mut rng = self.rng.fork();
        while at < stream.len() {
            let batch = at..(at + 1 + self.rng.usize(..MAX_BATCH)).min(stream.len());
            let mut start = |killed_after| {
                report.invocations += 1;
                Box::pin(Invocation {
                    future: Box::pin(invoke(body(stream, &batch))),
                    rng: rng.fork(),
                    yields_left: killed_after,
                    batch: batch.clone(),
                })
            };
            let ended = match self.rng.u8(..8) {
                0 | 5 => start(Some(self.rng.u32(..MAX_YIELDS))).await?,
                1 => {
                    report.at_once += 1;
                    let kill = self.rng.u32(..2 * MAX_YIELDS);
                    let kill = (kill < MAX_YIELDS).then_some(kill);
                    let (one, other) = join(start(kill), start(None)).await;
                    let (one, other) = (one?, other?);
                    report.killed += u32::from(matches!(one, Ended::Killed));
                    if self.rng.bool() && !matches!(one, Ended::Killed) {
                        one
                    } else {
                        other
                    }
                }
                2 if suspended.is_none() => {
                    let mut invocation = start(None);
                    let pause = Yields(self.rng.u32(..MAX_YIELDS));
                    match select(&mut invocation, pause).await {
                        Either::Left((ended, _)) => ended?,
                        Either::Right(((), _)) => {
                            suspended = Some(invocation);
                            Ended::Failed("it was suspended".to_owned())
                        }
                    }
                }
                3 if let Some(before) = suspended.take() => {
                    report.at_once += 1;
                    let (before, ended) = join(before, start(None)).await;
                    before?;
                    ended?
                }
                4 => {
                    // Completed, and delivered again.
                    let first = start(None).await?;
                    start(None).await?;
                    first
                }
                _ => start(None).await?,
            };
            let (until, reason) = match ended {
                Ended::Responded(None) => (batch.end, String::new()),
                Ended::Responded(Some(position)) => {
                    report.reported += 1;
                    (position, "it was reported".to_owned())
                }
                Ended::Failed(error) => (at, error),
                Ended::Killed => {
                    report.killed += 1;
                    (at, "it was killed".to_owned())
                }
            };
            deliveries = if until > at { 0 } else { deliveries + 1 };
            if deliveries >= MAX_DELIVERIES {
                return Err(FeedError::NeverCompleted(reason));
            }
            at = until;
        }
        if let Some(before) = suspended {
            before.await?;
        }
        Ok(())
    }
}

fn sequence(number: usize) -> Sequence {
    let number = u64::try_from(number).ok().and_then(Sequence::new);
    number.unwrap_or_default()
}

/// The bytes with which Lambda invokes a function.
fn body(stream: &[Record], batch: &Range<usize>) -> Vec<u8> {
    let records = batch.clone().map(|position| {
        let record = &stream[position];
        let number = u64::try_from(FIRST_NUMBER + position).unwrap_or(u64::MAX);
        (number, record.partition_key.as_str(), &record.data[..])
    });
    kinesis_event(records).to_string().into_bytes()
}

/// An event of a type that no consumer knows, of an aggregate of its own.
fn unknown_event(source: &str) -> Record {
    let event = json!({
        "specversion": "1.0", "id": "hostile-feed:1", "source": source, "type": "HostileFeedBegun",
        "subject": "hostile-feed", "time": "2026-01-01T00:00:00.000Z", "datacontenttype": "application/json",
        "dataschema": "urn:millrace:schema:HostileFeedBegun:1", "data": { "sequence": 1 },
    });
    Record {
        partition_key: "hostile-feed".to_owned(),
        data: event.to_string().into_bytes(),
    }
}

/// An invocation in progress. It is polled at times that its generator chooses, so that two of them are interleaved.
struct Invocation<F> {
    future: Pin<Box<F>>,
    rng: Rng,
    /// How often it may still wait before it is killed; `None` if it isn't.
    yields_left: Option<u32>,
    batch: Range<usize>,
}

impl<F, R, E> Future for Invocation<F>
where
    F: Future<Output = Result<R, E>>,
    R: Serialize,
    E: Display,
{
    type Output = Result<Ended, FeedError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.rng.u8(..3) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match this.future.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => {
                Poll::Ready(read_response(&response, &this.batch).map(Ended::Responded))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ok(Ended::Failed(error.to_string()))),
            Poll::Pending => match &mut this.yields_left {
                Some(0) => Poll::Ready(Ok(Ended::Killed)),
                Some(left) => {
                    *left -= 1;
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        }
    }
}

/// Ends after it was polled this many times.
struct Yields(u32);

impl Future for Yields {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The position on the stream of the first record that a response reports.
fn read_response(
    response: &impl Serialize,
    batch: &Range<usize>,
) -> Result<Option<usize>, FeedError> {
    let response =
        serde_json::to_value(response).map_err(|error| FeedError::Response(error.to_string()))?;
    let failures = response["batchItemFailures"]
        .as_array()
        .ok_or_else(|| FeedError::Response("it has no list batchItemFailures".to_owned()))?;
    let mut reported = None;
    for failure in failures {
        let number = failure["itemIdentifier"].as_str();
        let position = number
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| number.checked_sub(FIRST_NUMBER))
            .filter(|position| batch.contains(position))
            .ok_or_else(|| {
                FeedError::Response(format!(
                    "it reports {}, which isn't in the batch",
                    shown(failure)
                ))
            })?;
        reported = reported.into_iter().chain([position]).min();
    }
    Ok(reported)
}

fn shown(failure: &Value) -> String {
    failure["itemIdentifier"].to_string()
}
