//! The consumer under the hostile feed, and that the feed detects consumers that are wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use millrace_consumer::testing::{FailingPositions, FeedError, HostileFeed, Report};
use millrace_consumer::{
    BatchResponse, Change, Consumer, Envelope, Handler, KinesisBatch, MemoryPositions, Positions,
    Received, Sequence, SequenceGate, Undecodable,
};
use serde::Deserialize;
use serde_json::json;

const SOURCE: &str = "urn:millrace:counters";
const AGGREGATES: usize = 5;
const SEEDS: u64 = 300;

#[derive(Debug, Deserialize)]
enum CounterEvent {
    Counted {},
}

/// It can't store an undecodable record when it gets it first.
#[derive(Default)]
struct Recorder {
    seen: Mutex<BTreeSet<String>>,
}

impl Handler for Recorder {
    const SOURCE: &'static str = SOURCE;
    type Event = CounterEvent;
    type State = u64;
    type Write = String;
    type Error = &'static str;

    async fn apply(
        &self,
        event: &Envelope<CounterEvent>,
        state: Option<u64>,
    ) -> Result<Change<u64, String>, &'static str> {
        let CounterEvent::Counted {} = event.event;
        let state = state.unwrap_or_default() + 1;
        assert_eq!(state, event.sequence.get(), "the state of other events");
        Ok(Change {
            state: Some(state),
            writes: vec![event.id()],
        })
    }

    async fn undecodable(&self, record: Undecodable<'_>) -> Result<(), &'static str> {
        tokio::task::yield_now().await;
        let is_first = self
            .seen
            .lock()
            .expect("no panic")
            .insert(record.stream_id.to_owned());
        if is_first {
            Err("the store is busy")
        } else {
            Ok(())
        }
    }
}

fn subject(number: usize) -> String {
    format!("counter-{number}")
}

fn events(number: usize) -> u64 {
    4 * number as u64 + 1
}

fn feed(seed: u64) -> HostileFeed {
    let feed = HostileFeed::new(seed, SOURCE);
    (0..AGGREGATES).fold(feed, |feed, number| {
        let subject = subject(number);
        let history = (1..=events(number)).map(|sequence| {
            let event = json!({
                "specversion": "1.0", "id": format!("{subject}:{sequence}"), "source": SOURCE,
                "type": "Counted", "subject": subject, "time": "2026-01-01T00:00:00.000Z",
                "datacontenttype": "application/json", "dataschema": "urn:millrace:schema:Counted:1",
                "data": { "counterId": subject, "sequence": sequence },
            });
            event.to_string().into_bytes()
        });
        let history = history.collect();
        feed.history(&subject, history)
    })
}

/// Checks that each event was written once, in the order of its aggregate.
fn check(writes: &[String]) -> Result<(), String> {
    let mut by_subject: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for id in writes {
        let (subject, sequence) = id.rsplit_once(':').expect("an id");
        by_subject.entry(subject).or_default().push(sequence);
    }
    for number in 0..AGGREGATES {
        let expected: Vec<_> = (1..=events(number)).map(|it| it.to_string()).collect();
        let found = by_subject
            .remove(subject(number).as_str())
            .unwrap_or_default();
        if found != expected {
            return Err(format!("{}: {found:?}", subject(number)));
        }
    }
    by_subject
        .is_empty()
        .then_some(())
        .ok_or_else(|| format!("{by_subject:?}"))
}

async fn run(seed: u64, with_gaps: bool) -> (Report, MemoryPositions<String>) {
    let positions = MemoryPositions::default();
    let failing = FailingPositions::new(seed, positions.clone());
    let consumer = Consumer::new(Recorder::default(), failing);
    let consumer = &consumer;
    let invoke = |body: Vec<u8>| async move {
        let outcome = consumer.process(&body).await;
        outcome.map(|outcome| outcome.response)
    };
    let report = if with_gaps {
        let gap = |subject: &str| positions.position(subject).gap;
        feed(seed).run_and_check_gaps(gap, invoke).await
    } else {
        feed(seed).run(invoke).await
    };
    let report = report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    (report, positions)
}

#[tokio::test(start_paused = true)]
async fn each_event_takes_effect_once_and_in_order() {
    let mut total = Report::default();
    for seed in 0..SEEDS {
        let with_gaps = seed % 2 == 1;
        let (report, positions) = run(seed, with_gaps).await;
        check(&positions.writes()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for number in 0..AGGREGATES {
            let position = positions.position(&subject(number));
            assert_eq!(position.sequence.get(), events(number), "seed {seed}");
            assert_eq!(position.gap, None, "seed {seed}");
        }
        total.invocations += report.invocations;
        total.killed += report.killed;
        total.at_once += report.at_once;
        total.reported += report.reported;
        total.duplicates += report.duplicates;
        total.undecodable += report.undecodable;
        total.missing += report.missing;
    }
    // Otherwise the feed isn't hostile.
    let rare = [
        total.killed,
        total.at_once,
        total.reported,
        total.duplicates,
        total.undecodable,
        total.missing,
    ];
    assert!(
        rare.iter().all(|count| u64::from(*count) > SEEDS),
        "{total:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_determines_the_feed() {
    let (first, _) = run(7, true).await;
    let (second, _) = run(7, true).await;
    assert_eq!(first, second);
    assert_ne!(first, run(8, true).await.0);
}

/// The effects and positions of a consumer that is wrong in one way.
#[derive(Clone, Default)]
struct Wrong {
    effects: Arc<Mutex<Vec<String>>>,
    positions: MemoryPositions<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    IgnoresPositions,
    AppliesAfterGaps,
    SavesTheEffectFirst,
    SavesThePositionFirst,
    SavesWithoutCondition,
}

impl Wrong {
    async fn process(&self, body: &[u8], defect: Defect) -> BatchResponse {
        let batch = KinesisBatch::read(body).expect("a batch");
        for record in &batch.records {
            let Ok(Received::Known(event)) = Received::<CounterEvent>::parse(&record.data, SOURCE)
            else {
                continue;
            };
            let subject = event.subject.as_str();
            let read = Positions::read(&self.positions, subject)
                .await
                .expect("memory");
            let is_applied = match SequenceGate::check(read.sequence, event.sequence) {
                SequenceGate::Next => true,
                SequenceGate::Duplicate => defect == Defect::IgnoresPositions,
                SequenceGate::Gap { .. } => defect == Defect::AppliesAfterGaps,
            };
            if !is_applied {
                continue;
            }
            let effect = || self.effects.lock().expect("no panic").push(event.id());
            let save = async || {
                if defect == Defect::SavesWithoutCondition {
                    tokio::task::yield_now().await;
                }
                let mut position = read.clone();
                position.sequence = event.sequence.max(read.sequence);
                self.positions.set(subject, position);
                tokio::task::yield_now().await;
            };
            if defect == Defect::SavesThePositionFirst {
                save().await;
                effect();
            } else {
                effect();
                tokio::task::yield_now().await;
                save().await;
            }
        }
        batch.response(None)
    }
}

#[tokio::test(start_paused = true)]
async fn the_feed_detects_consumers_that_are_wrong() {
    for (name, defect) in [
        ("it ignores positions", Defect::IgnoresPositions),
        ("it applies events after a gap", Defect::AppliesAfterGaps),
        (
            "it saves the effect and then the position",
            Defect::SavesTheEffectFirst,
        ),
        (
            "it saves the position and then the effect",
            Defect::SavesThePositionFirst,
        ),
        (
            "it saves without a condition",
            Defect::SavesWithoutCondition,
        ),
    ] {
        let mut detected = 0;
        for seed in 0..20 {
            let wrong = Wrong::default();
            let feed = feed(seed).with_gaps();
            let wrong_ref = &wrong;
            let running = feed.run(|body| async move {
                Ok::<_, Infallible>(wrong_ref.process(&body, defect).await)
            });
            running.await.expect("its responses are right");
            detected += u32::from(check(&wrong.effects.lock().expect("no panic")).is_err());
        }
        assert!(detected > 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_feed_detects_gaps_that_are_not_stored() {
    let mut detected = 0;
    for seed in 0..20 {
        let positions = MemoryPositions::default();
        let consumer = &Consumer::new(Recorder::default(), positions.clone());
        let running = feed(seed).run_and_check_gaps(
            |_| None,
            |body| async move {
                let outcome = consumer.process(&body).await;
                outcome.map(|outcome| outcome.response)
            },
        );
        match running.await {
            Ok(report) => assert_eq!(report.missing, 0),
            Err(FeedError::Gap { expected, .. }) => {
                assert!(expected.is_some());
                detected += 1;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(detected > 10, "{detected}");
}

#[tokio::test(start_paused = true)]
async fn the_feed_detects_wrong_responses() {
    let run = |response: fn(&[u8]) -> Result<serde_json::Value, &'static str>| {
        feed(1).run(move |body| async move { response(&body) })
    };
    for response in [
        json!(null),
        json!({}),
        json!([]),
        json!({"batchItemFailures": {}}),
    ] {
        let found = feed(1).run(|_| {
            let response = response.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        let error = found.await.expect_err("wrong");
        assert!(matches!(error, FeedError::Response(_)), "{error}");
    }
    let other = run(|_| Ok(json!({"batchItemFailures": [{"itemIdentifier": "1"}]}))).await;
    assert!(matches!(other, Err(FeedError::Response(_))), "{other:?}");
    let failing = run(|_| Err("the table is missing")).await;
    assert_eq!(
        failing,
        Err(FeedError::NeverCompleted("the table is missing".to_owned()))
    );
    let first = run(|body| {
        let batch = KinesisBatch::read(body).expect("a batch");
        Ok(serde_json::to_value(batch.response(Some(0))).expect("JSON"))
    });
    assert!(matches!(first.await, Err(FeedError::NeverCompleted(_))));
}

/// A handler that panics at one event.
struct Panics;

impl Handler for Panics {
    const SOURCE: &'static str = SOURCE;
    type Event = CounterEvent;
    type State = ();
    type Write = String;
    type Error = Infallible;

    async fn apply(
        &self,
        event: &Envelope<CounterEvent>,
        _: Option<()>,
    ) -> Result<Change<(), String>, Infallible> {
        assert_ne!(event.id(), "counter-1:3", "it panics here");
        Ok(Change {
            state: None,
            writes: vec![event.id()],
        })
    }

    async fn undecodable(&self, _: Undecodable<'_>) -> Result<(), Infallible> {
        panic!("it panics for each of these");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_one_aggregate_alone_and_is_reported() {
    let positions = MemoryPositions::default();
    let consumer = &Consumer::new(Panics, positions.clone());
    let running = feed(3).run(|body| async move {
        let outcome = consumer.process(&body).await;
        outcome.map(|outcome| outcome.response)
    });
    let result = AssertUnwindSafe(running)
        .catch_unwind()
        .await
        .expect("no panic");
    assert!(
        matches!(result, Err(FeedError::NeverCompleted(_))),
        "{result:?}"
    );
    assert!(positions.position("counter-1").sequence <= Sequence::new(2).expect("in range"));
}
