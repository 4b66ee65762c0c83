//! What the consumer does if saving a position fails or another invocation was faster.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_consumer::testing::kinesis_batch;
use millrace_consumer::{
    Change, Consumer, Envelope, Gap, Handler, MemoryPositions, Outcome, Position, Positions, Save,
    Saved, Sequence, StoreError, Undecodable,
};
use serde::Deserialize;
use serde_json::json;

const SOURCE: &str = "urn:millrace:counters";

#[derive(Debug, Deserialize)]
enum CounterEvent {
    Counted {},
}

/// Writes the ids of its events, each as often as this says.
struct Recorder(usize);

impl Handler for Recorder {
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
        let CounterEvent::Counted {} = event.event;
        Ok(Change {
            state: None,
            writes: vec![event.id(); self.0],
        })
    }

    async fn undecodable(&self, _: Undecodable<'_>) -> Result<(), Infallible> {
        Ok(())
    }
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).expect("in range")
}

fn at(number: u64, gap: Option<(u64, u64)>) -> Position {
    Position {
        sequence: sequence(number),
        state: None,
        gap: gap.map(|(missing, seen)| Gap {
            missing: sequence(missing),
            seen: sequence(seen),
        }),
    }
}

fn body(sequences: &[u64]) -> Vec<u8> {
    let records: Vec<_> = sequences
        .iter()
        .map(|sequence| {
            let event = json!({
                "specversion": "1.0", "id": format!("a:{sequence}"), "source": SOURCE, "type": "Counted",
                "subject": "a", "time": "2026-01-01T00:00:00.000Z", "datacontenttype": "application/json",
                "dataschema": "urn:millrace:schema:Counted:1", "data": { "sequence": sequence },
            });
            ("a", event.to_string().into_bytes())
        })
        .collect();
    kinesis_batch(&records).to_string().into_bytes()
}

fn reported(outcome: &Outcome) -> Vec<&str> {
    let failures = outcome.response.batch_item_failures.iter();
    failures.map(|it| it.item_identifier.as_str()).collect()
}

#[tokio::test]
async fn a_gap_that_was_found_since_the_read_is_not_removed() {
    let positions = MemoryPositions::<String>::default();
    positions.set("a", at(3, Some((4, 6))));
    // It was read before the gap was found.
    let save = Save {
        read: at(3, None),
        position: at(4, None),
        writes: Vec::new(),
    };
    assert_eq!(
        positions.save("a", save).await.expect("memory"),
        Saved::Moved
    );
    let consumer = Consumer::new(Recorder(1), positions.clone());
    consumer.process(&body(&[4])).await.expect("a batch");
    assert_eq!(positions.position("a"), at(4, Some((5, 6))));
    consumer.process(&body(&[5])).await.expect("a batch");
    consumer.process(&body(&[6])).await.expect("a batch");
    assert_eq!(positions.position("a"), at(6, None));
    assert_eq!(positions.writes(), ["a:4", "a:5", "a:6"]);
}

/// Positions that refuse some saves.
struct Refusing {
    positions: MemoryPositions<String>,
    is_refused: fn(&Save<String>) -> bool,
    moved: AtomicUsize,
}

impl Positions<String> for Refusing {
    const MAX_WRITES: usize = 4;

    async fn read(&self, subject: &str) -> Result<Position, StoreError> {
        Positions::read(&self.positions, subject).await
    }

    async fn save(&self, subject: &str, save: Save<String>) -> Result<Saved, StoreError> {
        assert!(save.writes.len() <= Self::MAX_WRITES, "{save:?}");
        if (self.is_refused)(&save) {
            return Err(StoreError::new("saving a position", "a write is refused"));
        }
        let is_faster = |left: usize| left.checked_sub(1);
        if self
            .moved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_faster)
            .is_ok()
        {
            return Ok(Saved::Moved);
        }
        self.positions.save(subject, save).await
    }
}

async fn process(
    writes: usize,
    moved: usize,
    is_refused: fn(&Save<String>) -> bool,
) -> (Outcome, MemoryPositions<String>) {
    let positions = MemoryPositions::default();
    let refusing = Refusing {
        positions: positions.clone(),
        is_refused,
        moved: moved.into(),
    };
    let consumer = Consumer::new(Recorder(writes), refusing);
    let outcome = consumer.process(&body(&[1, 2, 3, 4, 5])).await;
    (outcome.expect("a batch"), positions)
}

#[tokio::test(start_paused = true)]
async fn events_that_cannot_be_saved_together_are_saved_alone() {
    let (outcome, positions) = process(1, 0, |save| save.writes.len() > 1).await;
    assert_eq!((reported(&outcome), outcome.incomplete), (Vec::new(), 0));
    assert_eq!(positions.writes(), ["a:1", "a:2", "a:3", "a:4", "a:5"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_saved_is_the_one_that_is_reported() {
    let (outcome, positions) = process(1, 0, |save| save.writes.contains(&"a:3".to_owned())).await;
    assert_eq!((reported(&outcome), outcome.incomplete), (vec!["2"], 1));
    assert_eq!(positions.writes(), ["a:1", "a:2"]);
    assert_eq!(positions.position("a"), at(2, None));
}

#[tokio::test(start_paused = true)]
async fn the_writes_of_an_event_are_never_divided() {
    let (outcome, positions) = process(3, 0, |save| {
        save.writes.iter().any(|id| *id != save.writes[0])
    })
    .await;
    assert_eq!(reported(&outcome), Vec::<&str>::new());
    assert_eq!(positions.writes().len(), 15);
    let (outcome, positions) = process(5, 0, |_| false).await;
    assert_eq!(
        (reported(&outcome), positions.writes().len()),
        (vec!["0"], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_faster_invocation_means_another_attempt_and_not_for_ever() {
    let (outcome, positions) = process(1, 5, |_| false).await;
    assert_eq!(
        (reported(&outcome), positions.writes().len()),
        (Vec::new(), 5)
    );
    let (outcome, positions) = process(1, 6, |_| false).await;
    assert_eq!(
        (reported(&outcome), positions.writes().len()),
        (vec!["0"], 0)
    );
}
