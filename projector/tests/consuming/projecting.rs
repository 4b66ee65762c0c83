//! What batches make of the read models.

use std::marker::PhantomData;
use std::time::Duration;

use millrace_core::Attribute;
use millrace_domain::Accounts;
use millrace_projector::project::{Outcome, Projector};
use millrace_runtime::kinesis::KinesisRecord;
use millrace_runtime::{Ambient as _, Budget};
use proptest::prelude::*;

use crate::memory::{Fault, Memory, Still, batch, blocking, bytes, events, fold, record, sequence};

const AMPLE: Duration = Duration::from_mins(1);

async fn project(memory: &Memory, records: Vec<KinesisRecord>) -> Outcome {
    let projector = Projector {
        domain: PhantomData::<Accounts>,
        model: memory,
        ambient: Still,
    };
    projector.project(records, Budget::lasting(AMPLE)).await
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_write_of_the_view_and_a_line_per_event() {
    let memory = Memory::default();
    let all = events("a", 1..=5);
    let outcome = project(&memory, batch(&all)).await;
    let lag = Still.now().unix_millis() - all[0].time.unix_millis();
    let through = Outcome {
        resume_at: None,
        aggregates: 1,
        stale: 0,
        applied: 5,
        lag_millis: Some(u64::try_from(lag).expect("after the events")),
    };
    assert_eq!(outcome, through);
    assert_eq!(memory.view_of("a"), fold(&all));
    assert_eq!(memory.history_of("a").len(), 5);
    assert_eq!(*memory.saves.lock().expect("unpoisoned"), 1);
}

#[tokio::test(start_paused = true)]
async fn repeats_change_nothing_and_write_nothing() {
    let memory = Memory::default();
    let all = events("a", 1..=5);
    project(&memory, batch(&all)).await;
    project(&memory, batch(&all[1..3])).await;
    assert_eq!(memory.view_of("a"), fold(&all));
    assert_eq!(*memory.saves.lock().expect("unpoisoned"), 1);
    let rewound = events("a", 3..=7);
    project(&memory, batch(&rewound)).await;
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=7)));
}

#[tokio::test(start_paused = true)]
async fn a_gap_marks_the_view_stale_until_what_was_missed_is_there() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let mut both = events("a", 4..=5);
    both.extend(events("b", 1..=1));
    let outcome = project(&memory, batch(&both)).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    let mark = memory.stale("a").expect("marked");
    assert_eq!(mark.until, sequence(5));
    assert_eq!(mark.reason, "event 3 is missing, and event 4 came");
    // What was right stays to be seen, nothing beyond the gap is applied, and nobody else waits.
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=2)));
    assert_eq!(memory.history_of("a").len(), 2);
    assert_eq!(memory.view_of("b"), fold(&events("b", 1..=1)));
    assert_eq!(memory.stale("b"), None);

    // Not yet: event 5 was seen and isn't there again.
    project(&memory, batch(&events("a", 3..=4))).await;
    assert_eq!(memory.view_of("a").expect("there").sequence, sequence(4));
    assert_eq!(memory.stale("a").expect("marked").since, mark.since);
    project(&memory, batch(&events("a", 5..=5))).await;
    assert_eq!(memory.stale("a"), None);
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=5)));
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_the_first_event_is_marked_where_no_view_is() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 2..=3))).await;
    assert_eq!(memory.view_of("a"), None);
    assert_eq!(memory.stale("a").expect("marked").until, sequence(3));
    project(&memory, batch(&events("a", 1..=3))).await;
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=3)));
    assert_eq!(memory.stale("a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_marks_its_aggregate_alone() {
    let foreign = bytes(&events("b", 1..=1)[0]);
    for (data, reason) in [
        (
            &b"{"[..],
            "a record can't be read: it is no domain event in JSON",
        ),
        (&foreign, "a record's subject is not its partition key"),
    ] {
        let memory = Memory::default();
        project(&memory, batch(&events("a", 1..=2))).await;
        let records = vec![record(0, "a", data), batch(&events("c", 1..=1)).remove(0)];
        let outcome = project(&memory, records).await;
        assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        let mark = memory.stale("a").expect("marked");
        assert_eq!((mark.until, mark.reason.as_str()), (sequence(3), reason));
        assert_eq!(memory.view_of("c"), fold(&events("c", 1..=1)));
        assert_eq!(memory.view_of("b"), None);
        // It was noise: what should have come has come.
        project(&memory, batch(&events("a", 3..=3))).await;
        assert_eq!(memory.stale("a"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_never_passed_over() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let known = String::from_utf8(bytes(&events("a", 3..=3)[0])).expect("text");
    let unknown = known.replace("BalanceCredited", "AccountFrozen");
    project(&memory, vec![record(0, "a", unknown.as_bytes())]).await;
    let mark = memory.stale("a").expect("marked");
    assert!(mark.reason.contains("type"), "{}", mark.reason);
    assert_eq!(memory.view_of("a").expect("there").sequence, sequence(2));
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_are_made_again() {
    for faults in [
        &[Some(Fault::Lost)][..],
        &[Some(Fault::Ambiguous)],
        &[None, Some(Fault::Lost)],
        &[None, Some(Fault::Ambiguous)],
        &[Some(Fault::Lost), None, Some(Fault::Ambiguous)],
    ] {
        let memory = Memory::failing(faults);
        let all = events("a", 1..=3);
        let outcome = project(&memory, batch(&all)).await;
        assert_eq!(outcome.resume_at, None, "{faults:?}");
        assert_eq!(memory.view_of("a"), fold(&all), "{faults:?}");
        assert_eq!(memory.history_of("a").len(), 3, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_was_moved_meanwhile_is_read_again() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    memory
        .faults
        .lock()
        .expect("unpoisoned")
        .extend([None, Some(Fault::Overtaken(4))]);
    project(&memory, batch(&events("a", 3..=5))).await;
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=5)));
}

/// Makes the view of "a" undecodable.
fn damage(memory: &Memory) {
    let mut views = memory.views.lock().expect("unpoisoned");
    let item = views.get_mut("a").expect("there");
    item.insert("Balance".to_owned(), Attribute::text("x"));
    item.remove("StaleSequence");
}

/// A view at 5 is damaged, and stays readable. The projector reads it to apply event 6; before it
/// saves, `rebuild` puts the right view at 5.
#[tokio::test(start_paused = true)]
async fn a_view_computed_from_a_damaged_one_is_not_saved_over_its_repair() {
    for has_revision in [true, false] {
        let memory = Memory::default();
        project(&memory, batch(&events("a", 1..=5))).await;
        {
            let mut views = memory.views.lock().expect("unpoisoned");
            let item = views.get_mut("a").expect("there");
            item.insert("Balance".to_owned(), Attribute::number(999));
            if !has_revision {
                item.remove("Revision").expect("every write sets one");
            }
        }
        let rebuilt = [None, Some(Fault::Rebuilt)];
        memory.faults.lock().expect("unpoisoned").extend(rebuilt);
        project(&memory, batch(&events("a", 6..=6))).await;
        assert_eq!(memory.view_of("a"), fold(&events("a", 1..=6)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_was_repaired_meanwhile_is_not_marked_damaged() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 1..=5))).await;
    damage(&memory);
    let rebuilt = [Some(Fault::Rebuilt)];
    memory.faults.lock().expect("unpoisoned").extend(rebuilt);
    project(&memory, batch(&events("a", 6..=6))).await;
    assert_eq!(memory.stale("a"), None);
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=6)));
}

#[tokio::test(start_paused = true)]
async fn every_write_of_a_view_changes_its_revision() {
    let memory = Memory::default();
    let mut seen = std::collections::BTreeSet::new();
    let mut revision_is_new = || {
        let views = memory.views.lock().expect("unpoisoned");
        let Attribute::Text(revision) = &views["a"]["Revision"] else {
            panic!("a revision is a string");
        };
        seen.insert(revision.clone())
    };
    for sequences in [1..=1, 2..=2, 4..=4] {
        project(&memory, batch(&events("a", sequences))).await;
        assert!(revision_is_new());
    }
    damage(&memory);
    project(&memory, batch(&events("a", 3..=3))).await;
    assert!(memory.stale("a").is_some() && revision_is_new());
}

#[tokio::test(start_paused = true)]
async fn history_items_left_unprocessed_are_sent_again_and_no_call_has_more_than_25() {
    let memory = Memory::failing(&[Some(Fault::CutShort(24)), Some(Fault::CutShort(0))]);
    project(&memory, batch(&events("a", 1..=30))).await;
    assert_eq!(memory.history_of("a").len(), 30);
    assert_eq!(*memory.puts.lock().expect("unpoisoned"), [24, 0, 1, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_view_is_not_saved_while_history_items_are_left_unprocessed() {
    let memory = Memory::failing(&[Some(Fault::CutShort(0)); 100]);
    let outcome = project(&memory, batch(&events("a", 1..=2))).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert_eq!(memory.view_of("a"), None);
    let calls = memory.puts.lock().expect("unpoisoned").len();
    assert_eq!(calls, 5 * 6, "six calls in each of five attempts");
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_is_not_through_is_reported_and_holds_nobody_back() {
    let memory = Memory::default();
    *memory.down.lock().expect("unpoisoned") = Some("b".to_owned());
    let mut all = events("a", 1..=2);
    all.extend(events("b", 1..=2));
    all.extend(events("c", 1..=1));
    let outcome = project(&memory, batch(&all)).await;
    assert_eq!(outcome.resume_at, Some(2));
    assert_eq!(memory.view_of("a"), fold(&events("a", 1..=2)));
    assert_eq!(memory.view_of("c"), fold(&events("c", 1..=1)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_beyond_the_budget() {
    let memory = Memory::failing(&[Some(Fault::Lost); 20]);
    let projector = Projector {
        domain: PhantomData::<Accounts>,
        model: &memory,
        ambient: Still,
    };
    let budget = Budget::lasting(Duration::from_millis(30));
    let outcome = projector.project(batch(&events("a", 1..=1)), budget).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert!(budget.left() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_cannot_be_read_is_marked_and_left_as_it_is() {
    let memory = Memory::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    damage(&memory);
    let outcome = project(&memory, batch(&events("a", 3..=3))).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    let mark = memory.stale("a").expect("marked");
    assert!(mark.reason.contains("Balance"), "{}", mark.reason);
    let views = memory.views.lock().expect("unpoisoned");
    assert_eq!(views["a"]["Balance"], Attribute::text("x"));
    assert_eq!(views["a"]["Sequence"], Attribute::number(2));
}

/// Batches of two aggregates' events: runs that go on, go back, or leap.
fn deliveries() -> impl Strategy<Value = Vec<Vec<(bool, u64)>>> {
    prop::collection::vec(
        prop::collection::vec((any::<bool>(), 1_u64..9), 1..12),
        1..10,
    )
}

proptest! {
    #[test]
    fn a_view_is_the_fold_of_its_events_whatever_is_delivered(
        deliveries in deliveries(),
        faults in prop::collection::vec(prop::option::of(prop_oneof![
            Just(Fault::Lost),
            Just(Fault::Ambiguous),
        ]), 0..6),
    ) {
        blocking(async {
            let memory = Memory::failing(&faults);
            for delivery in deliveries {
                let all: Vec<_> = delivery
                    .into_iter()
                    .flat_map(|(a, n)| events(if a { "a" } else { "b" }, n..=n))
                    .collect();
                project(&memory, batch(&all)).await;
                for id in ["a", "b"] {
                    let Some(view) = memory.view_of(id) else { continue };
                    let through = view.sequence.get();
                    assert_eq!(Some(view), fold(&events(id, 1..=through)));
                    assert!(memory.history_of(id).len() >= usize::try_from(through).unwrap());
                }
            }
            for id in ["a", "b"] {
                project(&memory, batch(&events(id, 1..=9))).await;
                project(&memory, batch(&events(id, 1..=9))).await;
                assert_eq!(memory.view_of(id), fold(&events(id, 1..=9)));
                assert_eq!(memory.stale(id), None);
                assert_eq!(memory.history_of(id).len(), 9);
            }
        });
    }

    #[test]
    fn no_record_panics(
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5),
        json in "\\{\"(id|data|type|subject)\":[ -~]{0,40}\\}",
    ) {
        blocking(async {
            let memory = Memory::default();
            let mut records: Vec<_> = data.iter().map(|data| record(0, "a", data)).collect();
            records.push(record(0, "a", json.as_bytes()));
            let outcome = project(&memory, records).await;
            assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        });
    }
}
