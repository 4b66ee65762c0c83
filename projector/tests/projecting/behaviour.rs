//! What batches make of the read models.

use std::time::Duration;

use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_record;
use millrace_core::{Attribute, TraceParent};
use millrace_domain::testing::{bytes, event, events};
use millrace_projector::service::Outcome;
use millrace_projector::testing::{Fault, Items, MemoryReadModel};
use millrace_runtime::testing::{TestAmbient, in_virtual_time, logged};
use millrace_runtime::{Ambient as _, Budget};
use proptest::prelude::*;

use crate::accounts::{
    AMBIENT, batch, fold, history_of, projector, replace_view, sequence, view_of,
};

const AMPLE: Duration = Duration::from_mins(1);

async fn project(memory: &MemoryReadModel, records: Vec<KinesisRecord<'_>>) -> Outcome {
    let projector = projector(memory, &AMBIENT);
    projector.project(records, Budget::lasting(AMPLE)).await
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_write_of_the_view_and_a_line_per_event() {
    let memory = MemoryReadModel::default();
    let all = events("a", 1..=5);
    let outcome = project(&memory, batch(&all)).await;
    let lag = TestAmbient::default().now().unix_millis() - all[0].time.unix_millis();
    let through = Outcome {
        resume_at: None,
        aggregates: 1,
        stale: 0,
        applied: 5,
        lag_millis: Some(u64::try_from(lag).expect("after the events")),
    };
    assert_eq!(outcome, through);
    assert_eq!(view_of(&memory, "a"), fold(&all));
    assert_eq!(history_of(&memory, "a").len(), 5);
    assert_eq!(memory.saves(), 1);
}

#[tokio::test(start_paused = true)]
async fn repeats_change_nothing_and_write_nothing() {
    let memory = MemoryReadModel::default();
    let all = events("a", 1..=5);
    project(&memory, batch(&all)).await;
    project(&memory, batch(&all[1..3])).await;
    assert_eq!(view_of(&memory, "a"), fold(&all));
    assert_eq!(memory.saves(), 1);
    let rewound = events("a", 3..=7);
    project(&memory, batch(&rewound)).await;
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=7)));
}

#[tokio::test(start_paused = true)]
async fn a_gap_marks_the_view_stale_until_what_was_missed_is_there() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let mut both = events("a", 4..=5);
    both.extend(events("b", 1..=1));
    let outcome = project(&memory, batch(&both)).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    let mark = memory.stale("a").expect("marked");
    assert_eq!(mark.until, sequence(5));
    assert_eq!(mark.reason, "event 3 is missing, and event 4 came");
    // The events before the gap stay visible, none after it is applied, and other aggregates don't wait.
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=2)));
    assert_eq!(history_of(&memory, "a").len(), 2);
    assert_eq!(view_of(&memory, "b"), fold(&events("b", 1..=1)));
    assert_eq!(memory.stale("b"), None);

    // Not yet: event 5 was seen and isn't there again.
    project(&memory, batch(&events("a", 3..=4))).await;
    assert_eq!(view_of(&memory, "a").expect("there").sequence, sequence(4));
    assert_eq!(memory.stale("a").expect("marked").since, mark.since);
    project(&memory, batch(&events("a", 5..=5))).await;
    assert_eq!(memory.stale("a"), None);
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=5)));
}

#[tokio::test(start_paused = true)]
async fn a_gap_before_the_first_event_is_marked_where_no_view_is() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 2..=3))).await;
    assert_eq!(view_of(&memory, "a"), None);
    assert_eq!(memory.stale("a").expect("marked").until, sequence(3));
    project(&memory, batch(&events("a", 1..=3))).await;
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=3)));
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
        let memory = MemoryReadModel::default();
        project(&memory, batch(&events("a", 1..=2))).await;
        let records = vec![
            kinesis_record(0, "a", data),
            batch(&events("c", 1..=1)).remove(0),
        ];
        let outcome = project(&memory, records).await;
        assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        let mark = memory.stale("a").expect("marked");
        assert_eq!((mark.until, mark.reason.as_str()), (sequence(3), reason));
        assert_eq!(view_of(&memory, "c"), fold(&events("c", 1..=1)));
        assert_eq!(view_of(&memory, "b"), None);
        // It was noise: what should have come has come.
        project(&memory, batch(&events("a", 3..=3))).await;
        assert_eq!(memory.stale("a"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_never_passed_over() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let known = String::from_utf8(bytes(&events("a", 3..=3)[0])).expect("text");
    let unknown = known.replace("BalanceCredited", "AccountFrozen");
    project(&memory, vec![kinesis_record(0, "a", unknown.as_bytes())]).await;
    let mark = memory.stale("a").expect("marked");
    assert!(mark.reason.contains("type"), "{}", mark.reason);
    assert_eq!(view_of(&memory, "a").expect("there").sequence, sequence(2));
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
        let memory = MemoryReadModel::with_faults(faults);
        let all = events("a", 1..=3);
        let outcome = project(&memory, batch(&all)).await;
        assert_eq!(outcome.resume_at, None, "{faults:?}");
        assert_eq!(view_of(&memory, "a"), fold(&all), "{faults:?}");
        assert_eq!(history_of(&memory, "a").len(), 3, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_was_moved_meanwhile_is_read_again() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let overtaken = Fault::Overtaken(|items| replace_view(items, "a", 4));
    memory.add_faults(&[None, Some(overtaken)]);
    project(&memory, batch(&events("a", 3..=5))).await;
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=5)));
}

/// `rebuild` replaces the view of "a" by the fold of its events, at the same sequence.
const REBUILT: Fault = Fault::Overtaken(|items: &mut Items| {
    let through = items.views["a"]["Sequence"].as_integer().expect("a view");
    replace_view(items, "a", through.cast_unsigned());
});

/// Makes the view of "a" undecodable.
fn damage(memory: &MemoryReadModel) {
    let mut items = memory.items();
    let item = items.views.get_mut("a").expect("there");
    item.insert("Balance".to_owned(), Attribute::text("x"));
    item.remove("StaleSequence");
}

/// A view at 5 is damaged, and stays readable. The projector reads it to apply event 6; before it
/// saves, `rebuild` puts the right view at 5.
#[tokio::test(start_paused = true)]
async fn a_view_computed_from_a_damaged_one_is_not_saved_over_its_repair() {
    for has_revision in [true, false] {
        let memory = MemoryReadModel::default();
        project(&memory, batch(&events("a", 1..=5))).await;
        {
            let mut items = memory.items();
            let item = items.views.get_mut("a").expect("there");
            item.insert("Balance".to_owned(), Attribute::number(999));
            if !has_revision {
                item.remove("Revision").expect("every write sets one");
            }
        }
        memory.add_faults(&[None, Some(REBUILT)]);
        project(&memory, batch(&events("a", 6..=6))).await;
        assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=6)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_was_repaired_meanwhile_is_not_marked_damaged() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=5))).await;
    damage(&memory);
    memory.add_faults(&[Some(REBUILT)]);
    project(&memory, batch(&events("a", 6..=6))).await;
    assert_eq!(memory.stale("a"), None);
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=6)));
}

#[tokio::test(start_paused = true)]
async fn every_write_of_a_view_changes_its_revision() {
    let memory = MemoryReadModel::default();
    let mut seen = std::collections::BTreeSet::new();
    let mut revision_is_new = || {
        let items = memory.items();
        let Attribute::Text(revision) = &items.views["a"]["Revision"] else {
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
    let memory =
        MemoryReadModel::with_faults(&[Some(Fault::CutShort(24)), Some(Fault::CutShort(0))]);
    project(&memory, batch(&events("a", 1..=30))).await;
    assert_eq!(history_of(&memory, "a").len(), 30);
    assert_eq!(memory.puts(), [24, 0, 1, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_view_is_not_saved_while_history_items_are_left_unprocessed() {
    let memory = MemoryReadModel::with_faults(&[Some(Fault::CutShort(0)); 1_000]);
    let outcome = project(&memory, batch(&events("a", 1..=2))).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert_eq!(view_of(&memory, "a"), None);
    let calls = memory.puts().len();
    assert!(calls > 6, "{calls}: several attempts of six calls");
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_is_not_through_is_reported_and_holds_nobody_back() {
    let memory = MemoryReadModel::default();
    memory.set_unavailable("b");
    let mut all = events("a", 1..=2);
    all.extend(events("b", 1..=2));
    all.extend(events("c", 1..=1));
    let outcome = project(&memory, batch(&all)).await;
    assert_eq!(outcome.resume_at, Some(2));
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=2)));
    assert_eq!(view_of(&memory, "c"), fold(&events("c", 1..=1)));
}

/// The invocation is stopped after a second, long before its budget is spent.
#[tokio::test(start_paused = true)]
async fn aggregates_whose_calls_fail_delay_no_other() {
    let memory = MemoryReadModel::default();
    let mut all = Vec::new();
    for number in 0..40 {
        let id = format!("failing-{number}");
        memory.set_unavailable(&id);
        all.extend(events(&id, 1..=1));
    }
    all.extend(events("well", 1..=2));
    let second = Duration::from_secs(1);
    let stopped = tokio::time::timeout(second, project(&memory, batch(&all))).await;
    assert!(stopped.is_err(), "the failing calls are retried still");
    assert_eq!(view_of(&memory, "well"), fold(&events("well", 1..=2)));
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_for_most_of_the_budget_are_retried() {
    let memory = MemoryReadModel::with_faults(&[Some(Fault::Lost); 20]);
    let outcome = project(&memory, batch(&events("a", 1..=2))).await;
    assert_eq!(outcome.resume_at, None);
    assert_eq!(view_of(&memory, "a"), fold(&events("a", 1..=2)));
}

#[tokio::test(start_paused = true)]
async fn a_view_that_the_service_refuses_is_stale_and_no_other() {
    for stored in [0, 1] {
        let memory = MemoryReadModel::default();
        project(&memory, batch(&events("a", 1..=stored))).await;
        memory.set_refused("a");
        let mut all = events("a", stored + 1..=3);
        all.extend(events("b", 1..=2));
        let outcome = project(&memory, batch(&all)).await;
        assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        let stale = memory.stale("a").expect("it is stale");
        assert_eq!(stale.until, sequence(3));
        assert_eq!(stale.reason, "a call failed: ValidationException");
        assert_eq!(view_of(&memory, "b"), fold(&events("b", 1..=2)));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_beyond_the_budget() {
    let memory = MemoryReadModel::with_faults(&[Some(Fault::Lost); 20]);
    let ambient = TestAmbient::default();
    let projector = projector(&memory, &ambient);
    let budget = Budget::lasting(Duration::from_millis(30));
    let outcome = projector.project(batch(&events("a", 1..=1)), budget).await;
    assert_eq!(outcome.resume_at, Some(0));
    assert!(budget.left() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_cannot_be_read_is_marked_and_left_as_it_is() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    damage(&memory);
    let outcome = project(&memory, batch(&events("a", 3..=3))).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    let mark = memory.stale("a").expect("marked");
    assert!(mark.reason.contains("Balance"), "{}", mark.reason);
    let view = &memory.items().views["a"];
    assert_eq!(view["Balance"], Attribute::text("x"));
    assert_eq!(view["Sequence"], Attribute::number(2));
}

#[test]
fn an_error_of_an_aggregate_is_logged_with_the_trace_of_its_first_record() {
    const SPAN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let span_of = |change: fn(&mut Vec<u8>)| {
        let mut event = event("a", 2);
        event.trace_parent = TraceParent::parse(SPAN).ok();
        let mut batch = batch(&[event]);
        change(&mut batch[0].data);
        let memory = MemoryReadModel::default();
        let (outcome, lines) = logged(project(&memory, batch));
        assert_eq!((outcome.stale, lines.len()), (1, 1), "{lines:?}");
        lines[0]["span"].clone()
    };
    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(span_of(|_| {})["trace_id"], trace_id);
    // Also if the record isn't an event that the projector can read.
    let renamed = |data: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(data).replace("BalanceCredited", "Other");
        *data = text.into_bytes();
    };
    assert_eq!(span_of(renamed)["trace_id"], trace_id);
    assert!(span_of(Vec::clear).get("trace_id").is_none());
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
        in_virtual_time(async {
            let memory = MemoryReadModel::with_faults(&faults);
            for delivery in deliveries {
                let all: Vec<_> = delivery
                    .into_iter()
                    .flat_map(|(a, n)| events(if a { "a" } else { "b" }, n..=n))
                    .collect();
                project(&memory, batch(&all)).await;
                for id in ["a", "b"] {
                    let Some(view) = view_of(&memory, id) else { continue };
                    let through = view.sequence.get();
                    assert_eq!(Some(view), fold(&events(id, 1..=through)));
                    assert!(history_of(&memory, id).len() >= usize::try_from(through).unwrap());
                }
            }
            for id in ["a", "b"] {
                project(&memory, batch(&events(id, 1..=9))).await;
                project(&memory, batch(&events(id, 1..=9))).await;
                assert_eq!(view_of(&memory, id), fold(&events(id, 1..=9)));
                assert_eq!(memory.stale(id), None);
                assert_eq!(history_of(&memory, id).len(), 9);
            }
        });
    }

    #[test]
    fn no_record_panics(
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5),
        json in "\\{\"(id|data|type|subject)\":[ -~]{0,40}\\}",
    ) {
        in_virtual_time(async {
            let memory = MemoryReadModel::default();
            let mut records: Vec<_> = data.iter().map(|data| kinesis_record(0, "a", data)).collect();
            records.push(kinesis_record(0, "a", json.as_bytes()));
            let outcome = project(&memory, records).await;
            assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
        });
    }
}
