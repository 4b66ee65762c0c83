//! Sends events to a consumer's Lambda function, by synchronous invocations with batches as Lambda delivers them
//! from Kinesis.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_runtime::kinesis_event::{batch, first_incomplete};
use millrace_runtime::{Ambient, Backoff, Budget, ServiceError, retry};

use super::{INVOCATION, Records};
use crate::operate::ports::{ConsumerFunction, Invoked};
use crate::operate::replayer::{Capacity, Delivery, Portion, Target};

/// The time limit for retrying a call that does not reach the function.
const PATIENCE: Duration = Duration::from_mins(10);
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};
/// The most attempts to send an event that the function doesn't complete.
const MAX_ATTEMPTS: u32 = 5;
/// The number of consecutive invocations without a completed event after which the run ends, because the function
/// counts as broken. An event on which the function fails is found with fewer: other invocations succeed in between.
const MAX_FAILURES: u32 = 50;
/// Before the invocation after a failed one, by the number of those that have failed in a row.
const PAUSE: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(5),
};
/// Why the function didn't complete an event.
const NOT_COMPLETED: &str = "the function reported the event as incomplete";
/// The factor by which a portion shrinks after the function failed on it.
const SHRINK: usize = 8;

/// A consumer's function.
///
/// The partial batch response has the same meaning as with Lambda: the reported record and all later ones are sent again.
/// In contrast to Lambda, the other aggregates continue first. If the function fails as a whole, the
/// batch is sent in smaller parts, until the event on which the function fails is alone.
#[derive(Debug)]
pub struct FunctionTarget<F, A> {
    function: F,
    ambient: A,
    records: Records,
    /// The most events of an invocation.
    batch_size: usize,
    /// The number of invocations since the last one that completed an event.
    failures: AtomicU32,
}

/// The state of a portion.
#[derive(Debug, Clone, Default)]
struct State {
    /// The number of completed events.
    done: usize,
    /// The most events of the next invocation; 0 for no limit.
    limit: usize,
    /// How often the function didn't complete the next event.
    attempts: u32,
    /// Why the last attempt failed.
    reason: String,
    is_refused: bool,
}

impl State {
    const fn is_open(&self, portion: &Portion) -> bool {
        !self.is_refused && self.done < portion.events.len()
    }

    /// Counts an attempt that didn't complete the next event.
    fn fail(&mut self, reason: String) {
        self.attempts += 1;
        self.is_refused = self.attempts >= MAX_ATTEMPTS;
        self.reason = reason;
    }

    /// Counts completed events.
    fn complete(&mut self, events: usize) {
        if events > 0 {
            self.done += events;
            self.limit = 0;
            self.attempts = 0;
        }
    }
}

/// The part of a portion that an invocation contains: its index, and the number of its events.
#[derive(Debug, Clone, Copy)]
struct Part {
    index: usize,
    events: usize,
}

impl<F: ConsumerFunction, A: Ambient> FunctionTarget<F, A> {
    /// The function as a target.
    pub const fn new(function: F, ambient: A, records: Records) -> Self {
        Self {
            function,
            ambient,
            records,
            batch_size: INVOCATION.events,
            failures: AtomicU32::new(0),
        }
    }

    /// The function, which is invoked with at most this number of events, from 1 to
    /// [`MAX_EVENTS`](millrace_runtime::kinesis_event::MAX_EVENTS).
    #[must_use]
    pub fn with_batch_size(self, events: usize) -> Self {
        Self {
            batch_size: events.clamp(1, INVOCATION.events),
            ..self
        }
    }

    /// Sends the open portions with these indexes, each until it is completed, or until the function doesn't complete
    /// an event of it. Returns the indexes of the latter.
    async fn round(
        &self,
        portions: &[Portion],
        states: &mut [State],
        open: Vec<usize>,
    ) -> Result<Vec<usize>, ServiceError> {
        let (mut groups, mut waiting) = (vec![open], Vec::new());
        while let Some(group) = groups.pop() {
            let parts: Vec<Part> = group
                .iter()
                .map(|&index| {
                    let state = &states[index];
                    let left = portions[index].events.len() - state.done;
                    let events = if state.limit == 0 {
                        left
                    } else {
                        left.min(state.limit)
                    };
                    Part { index, events }
                })
                .collect();
            let (invoked, numbers) = self.invoke(portions, states, &parts).await?;
            match invoked {
                Invoked::Responded(response) => {
                    let mut first = first_incomplete(&response, &numbers);
                    if first == Some(0) {
                        self.pause(NOT_COMPLETED).await?;
                    } else {
                        self.failures.store(0, Ordering::Relaxed);
                    }
                    for Part { index, events } in parts {
                        let state = &mut states[index];
                        match first {
                            None => state.complete(events),
                            Some(position) if position >= events => {
                                state.complete(events);
                                first = Some(position - events);
                            }
                            Some(position) => {
                                state.complete(position);
                                state.fail(NOT_COMPLETED.to_owned());
                                waiting.push(index);
                                // The function may have completed events after it, but the response doesn't
                                // say so. They are sent again, without the aggregate of this one.
                                break;
                            }
                        }
                    }
                    let is_left = |index: &usize| {
                        states[*index].is_open(&portions[*index]) && !waiting.contains(index)
                    };
                    let left: Vec<usize> = group.into_iter().filter(is_left).collect();
                    if !left.is_empty() {
                        groups.push(left);
                    }
                }
                Invoked::Failed(reason) => {
                    self.pause(&reason).await?;
                    match parts[..] {
                        [Part { index, events: 1 }] => {
                            states[index].fail(reason);
                            waiting.push(index);
                        }
                        [Part { index, events }] => {
                            states[index].limit = (events / SHRINK).max(1);
                            groups.push(vec![index]);
                        }
                        _ => {
                            let (first, second) = parts.split_at(parts.len() / 2);
                            for half in [second, first] {
                                groups.push(half.iter().map(|part| part.index).collect());
                            }
                        }
                    }
                }
            }
        }
        Ok(waiting)
    }

    /// Invokes the function with these parts. Returns how it ended, and the records' sequence numbers.
    async fn invoke(
        &self,
        portions: &[Portion],
        states: &[State],
        parts: &[Part],
    ) -> Result<(Invoked, Vec<String>), ServiceError> {
        let now = self.ambient.now();
        let events = parts.iter().flat_map(|part| {
            let portion = &portions[part.index];
            let events = portion.events[states[part.index].done..].iter();
            let aggregate = &portion.aggregate;
            events
                .take(part.events)
                .map(move |event| (aggregate, event))
        });
        let (numbers, records): (Vec<_>, Vec<_>) = events
            .map(|(aggregate, event)| self.records.record(aggregate, event, now))
            .unzip();
        let payload = batch(&records);
        let budget = Budget::lasting(PATIENCE);
        let invoke = || self.function.invoke(payload.clone());
        let invoked = retry(budget, &self.ambient, BACKOFF, invoke).await?;
        Ok((invoked, numbers))
    }

    /// Waits after an invocation that completed nothing.
    ///
    /// # Errors
    /// [`ServiceError`] if there were too many in a row.
    async fn pause(&self, reason: &str) -> Result<(), ServiceError> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= MAX_FAILURES {
            let problem = format!("the last {failures} invocations completed no event: {reason}");
            return Err(ServiceError::new("the function", problem));
        }
        tokio::time::sleep(PAUSE.delay(failures, &self.ambient)).await;
        Ok(())
    }
}

impl<F: ConsumerFunction, A: Ambient> Target for FunctionTarget<F, A> {
    fn capacity(&self) -> Capacity {
        Capacity {
            events: self.batch_size,
            ..INVOCATION
        }
    }

    async fn send(&self, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
        let mut states = vec![State::default(); portions.len()];
        let mut open: Vec<usize> = (0..portions.len()).collect();
        let mut round = 0;
        loop {
            open = self.round(portions, &mut states, open).await?;
            open.retain(|index| states[*index].is_open(&portions[*index]));
            if open.is_empty() {
                break;
            }
            tokio::time::sleep(BACKOFF.delay(round, &self.ambient)).await;
            round += 1;
        }
        let deliveries = states.into_iter().map(|state| Delivery {
            sent: state.done,
            refused: state.is_refused.then_some(state.reason),
        });
        Ok(deliveries.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use millrace_consumer::KinesisBatch;
    use millrace_core::{Sequence, Timestamp};
    use millrace_runtime::testing::{TestAmbient, in_virtual_time};
    use millrace_translator::published::PublishedEvent;
    use serde_json::json;

    use super::*;

    /// A function that keeps the events which it has completed, in order.
    #[derive(Default)]
    struct Function {
        /// It reports these events as incomplete.
        incomplete: BTreeSet<String>,
        /// It fails if an invocation contains one of these events.
        poison: BTreeSet<String>,
        /// It fails in every invocation.
        is_broken: bool,
        /// The errors of the next calls; later calls reach the function.
        unavailable: Mutex<Vec<ServiceError>>,
        completed: Mutex<Vec<String>>,
        invocations: Mutex<Vec<usize>>,
    }

    impl ConsumerFunction for &Function {
        async fn invoke(&self, payload: String) -> Result<Invoked, ServiceError> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Some(error) = self.unavailable.lock().expect("unpoisoned").pop() {
                return Err(error);
            }
            assert!(payload.len() < 6_000_000);
            let batch = KinesisBatch::read(payload.as_bytes()).expect("a batch");
            let events: Vec<String> = batch
                .records
                .iter()
                .map(|record| String::from_utf8(record.data.clone()).expect("UTF-8"))
                .collect();
            self.invocations
                .lock()
                .expect("unpoisoned")
                .push(events.len());
            if self.is_broken || events.iter().any(|event| self.poison.contains(event)) {
                return Ok(Invoked::Failed("it panicked".to_owned()));
            }
            let mut completed = self.completed.lock().expect("unpoisoned");
            let first = events
                .iter()
                .position(|event| self.incomplete.contains(event));
            completed.extend(events[..first.unwrap_or(events.len())].iter().cloned());
            let response = batch.response(first);
            Ok(Invoked::Responded(json!(response)))
        }
    }

    fn portion(aggregate: &str, events: std::ops::RangeInclusive<u64>) -> Portion {
        let events = events.map(|sequence| PublishedEvent {
            sequence: Sequence::new(sequence).expect("valid"),
            time: Timestamp::from_unix_millis(0).expect("valid"),
            data: format!("{aggregate}:{sequence}").into_bytes(),
        });
        Portion {
            aggregate: aggregate.to_owned(),
            events: events.collect(),
        }
    }

    fn send(function: &Function, portions: &[Portion]) -> Result<Vec<Delivery>, ServiceError> {
        in_virtual_time(async {
            let now = TestAmbient::default().now();
            let records = Records::new(String::new(), now);
            let target = FunctionTarget::new(function, TestAmbient::default(), records);
            target.send(portions).await
        })
    }

    /// The sequences that the function has completed of each aggregate, in order.
    fn completed(function: &Function) -> BTreeMap<String, Vec<u64>> {
        let mut completed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for event in function.completed.lock().expect("unpoisoned").iter() {
            let (aggregate, sequence) = event.split_once(':').expect("an event");
            let sequences = completed.entry(aggregate.to_owned()).or_default();
            sequences.push(sequence.parse().expect("a number"));
        }
        completed
    }

    fn all(portions: &[Portion]) -> BTreeMap<String, Vec<u64>> {
        let of = |portion: &Portion| {
            let events = portion.events.iter().map(|event| event.sequence.get());
            (portion.aggregate.clone(), events.collect())
        };
        portions.iter().map(of).collect()
    }

    fn delivery(sent: usize, refused: Option<&str>) -> Delivery {
        Delivery {
            sent,
            refused: refused.map(str::to_owned),
        }
    }

    #[test]
    fn a_batch_contains_several_aggregates() {
        let function = Function::default();
        let portions = [
            portion("a", 1..=3),
            portion("b", 7..=9),
            portion("c", 1..=1),
        ];
        let deliveries = send(&function, &portions).expect("sent");
        assert_eq!(deliveries, [3, 3, 1].map(|sent| delivery(sent, None)));
        assert_eq!(completed(&function), all(&portions));
        assert_eq!(*function.invocations.lock().expect("unpoisoned"), [7]);
    }

    #[test]
    fn an_event_that_is_reported_again_and_again_affects_its_aggregate_alone() {
        let function = Function {
            incomplete: ["b:8".to_owned(), "c:1".to_owned()].into(),
            ..Function::default()
        };
        let portions = [
            portion("a", 1..=3),
            portion("b", 7..=9),
            portion("c", 1..=2),
            portion("d", 4..=6),
        ];
        let deliveries = send(&function, &portions).expect("sent");
        let expected = [
            delivery(3, None),
            delivery(1, Some(NOT_COMPLETED)),
            delivery(0, Some(NOT_COMPLETED)),
            delivery(3, None),
        ];
        assert_eq!(deliveries, expected);
        let completed = completed(&function);
        assert_eq!(completed["b"], [7]);
        assert_eq!(completed["d"], [4, 5, 6]);
        assert!(!completed.contains_key("c"));
    }

    #[test]
    fn an_event_on_which_the_function_fails_is_found() {
        for poison in [1, 2, 99, 100, 250, 251] {
            let function = Function {
                poison: [format!("b:{poison}")].into(),
                ..Function::default()
            };
            let portions: Vec<Portion> = ["a", "b", "c", "d", "e"]
                .map(|id| portion(id, 1..=if id == "b" { 251 } else { 20 }))
                .into();
            let deliveries = send(&function, &portions).expect("sent");
            let before = usize::try_from(poison).expect("small") - 1;
            assert_eq!(deliveries[1], delivery(before, Some("it panicked")));
            for other in [0, 2, 3, 4] {
                assert_eq!(deliveries[other], delivery(20, None));
            }
            let completed = completed(&function);
            let expected: Vec<u64> = (1..poison).collect();
            assert_eq!(completed.get("b").cloned().unwrap_or_default(), expected);
            assert_eq!(completed["e"], (1..=20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_broken_function_ends_the_replay() {
        let portions: Vec<Portion> = (0..150)
            .map(|number| portion(&format!("a{number}"), 1..=3))
            .collect();
        let broken = Function {
            is_broken: true,
            ..Function::default()
        };
        let error = send(&broken, &portions).expect_err("it is broken");
        let error = millrace_runtime::Chain(&error).to_string();
        assert!(
            error.contains("50 invocations") && error.contains("panicked"),
            "{error}"
        );
        assert_eq!(broken.invocations.lock().expect("unpoisoned").len(), 50);

        // The same if it reports the first record each time.
        let incomplete = (0..150).map(|number| format!("a{number}:1"));
        let refusing = Function {
            incomplete: incomplete.collect(),
            ..Function::default()
        };
        send(&refusing, &portions).expect_err("it completes nothing");
    }

    #[test]
    fn a_call_that_does_not_reach_the_function_is_repeated_unless_it_is_refused() {
        let portions = [portion("a", 1..=3)];
        let throttled = || ServiceError::new("Invoke", "TooManyRequestsException");
        let function = Function {
            unavailable: Mutex::new((0..8).map(|_| throttled()).collect()),
            ..Function::default()
        };
        let deliveries = send(&function, &portions).expect("sent");
        assert_eq!(deliveries, [delivery(3, None)]);
        let missing = ServiceError::permanent("Invoke", "ResourceNotFoundException");
        let function = Function {
            unavailable: Mutex::new(vec![missing]),
            ..Function::default()
        };
        send(&function, &portions).expect_err("there is no such function");
    }
}
