//! Aggregates that are projected together: the number of calls, and that what happens to one of them affects no
//! other.

use std::time::Duration;

use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_record;
use millrace_core::Attribute;
use millrace_domain::testing::{Envelope, events};
use millrace_projector::service::Outcome;
use millrace_projector::testing::{Fault, Items, MemoryReadModel};
use millrace_runtime::Budget;
use millrace_runtime::testing::in_virtual_time;
use proptest::prelude::*;

use crate::accounts::{
    AMBIENT, batch, fold, history_of, projector, replace_view, sequence, view_of,
};

async fn project(memory: &MemoryReadModel, records: Vec<KinesisRecord<'_>>) -> Outcome {
    let budget = Budget::lasting(Duration::from_mins(1));
    projector(memory, &AMBIENT).project(records, budget).await
}

/// The ids of so many aggregates, in the order in which they are projected.
fn ids(aggregates: usize) -> Vec<String> {
    (0..aggregates)
        .map(|number| format!("{number:04}"))
        .collect()
}

/// Events of each of these aggregates, one aggregate after the other.
fn events_of_each(ids: &[String], sequences: std::ops::RangeInclusive<u64>) -> Vec<Envelope> {
    let events = ids.iter().map(|id| events(id, sequences.clone()));
    events.flatten().collect()
}

fn is_projected(memory: &MemoryReadModel, id: &str, through: u64) -> bool {
    let history = history_of(memory, id);
    view_of(memory, id) == fold(&events(id, 1..=through))
        && history.len() == usize::try_from(through).expect("few")
        && memory.stale(id).is_none()
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_many_aggregates_is_few_calls() {
    let memory = MemoryReadModel::default();
    let ids = ids(230);
    // The first events insert the views, the others update them.
    for sequences in [1..=1, 2..=2] {
        let outcome = project(&memory, batch(&events_of_each(&ids, sequences))).await;
        assert_eq!((outcome.resume_at, outcome.applied), (None, 230));
    }
    assert!(ids.iter().all(|id| is_projected(&memory, id, 2)));
    let twice = |calls: &[usize]| {
        let mut calls = [calls, calls].concat();
        calls.sort_unstable();
        calls
    };
    let sorted = |mut calls: Vec<usize>| {
        calls.sort_unstable();
        calls
    };
    assert_eq!(sorted(memory.reads()), twice(&[100, 100, 30]));
    let groups = [25, 25, 25, 25, 25, 25, 25, 25, 25, 5];
    assert_eq!(sorted(memory.saves_together()), twice(&groups));
    assert_eq!(sorted(memory.puts()), twice(&groups));
}

#[tokio::test(start_paused = true)]
async fn the_history_of_a_group_fills_its_calls() {
    let memory = MemoryReadModel::default();
    let ids = ids(10);
    project(&memory, batch(&events_of_each(&ids, 1..=8))).await;
    assert!(ids.iter().all(|id| is_projected(&memory, id, 8)));
    assert_eq!(memory.puts(), [25, 25, 25, 5]);
    assert_eq!(memory.saves_together(), [10]);
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_that_is_stored_already_is_read_and_not_written() {
    let memory = MemoryReadModel::default();
    let ids = ids(3);
    project(&memory, batch(&events_of_each(&ids, 1..=2))).await;
    let outcome = project(&memory, batch(&events_of_each(&ids, 1..=2))).await;
    assert_eq!((outcome.resume_at, outcome.applied), (None, 0));
    assert_eq!((memory.reads(), memory.saves()), (vec![3, 3], 3));
}

/// No view of a group is saved before all history items of the group are stored.
#[tokio::test(start_paused = true)]
async fn no_view_is_saved_while_history_items_of_its_group_are_left() {
    let memory = MemoryReadModel::with_faults(&[Some(Fault::CutShort(1)); 1_000]);
    let ids = ids(3);
    let second = Duration::from_millis(1_500);
    let all = batch(&events_of_each(&ids, 1..=40));
    let stopped = tokio::time::timeout(second, project(&memory, all)).await;
    assert!(stopped.is_err(), "history items are left unprocessed still");
    assert!(memory.items().views.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_or_stores_only_a_part_loses_nothing() {
    let ids = ids(60);
    for faults in [
        // The history's call of the first group, of the second, of the third, and then the views' calls.
        &[Some(Fault::Lost)][..],
        &[None, Some(Fault::Ambiguous)],
        &[Some(Fault::CutShort(7)), None, Some(Fault::CutShort(0))],
        &[None, None, None, Some(Fault::Lost)],
        &[None, None, None, Some(Fault::Ambiguous)],
        &[
            None,
            None,
            None,
            Some(Fault::CutShort(3)),
            Some(Fault::CutShort(0)),
        ],
    ] {
        let memory = MemoryReadModel::with_faults(faults);
        let outcome = project(&memory, batch(&events_of_each(&ids, 1..=1))).await;
        assert_eq!(outcome.resume_at, None, "{faults:?}");
        assert!(
            ids.iter().all(|id| is_projected(&memory, id, 1)),
            "{faults:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_another_writer_has_changed_meanwhile_is_read_again_and_no_other() {
    let memory = MemoryReadModel::default();
    let ids = ids(5);
    project(&memory, batch(&events_of_each(&ids, 1..=2))).await;
    // One view is changed, one is new, and one is removed.
    let overtaken = Fault::Overtaken(|items: &mut Items| {
        replace_view(items, "0001", 4);
        replace_view(items, "new", 1);
        items.views.remove("0003");
    });
    memory.add_faults(&[None, Some(overtaken)]);
    let mut all = events_of_each(&ids, 3..=5);
    all.extend(events("new", 1..=2));
    let outcome = project(&memory, batch(&all)).await;
    assert_eq!(outcome.resume_at, None);
    for id in ids.iter().filter(|id| *id != "0003") {
        assert_eq!(view_of(&memory, id), fold(&events(id, 1..=5)), "{id}");
    }
    assert_eq!(view_of(&memory, "new"), fold(&events("new", 1..=2)));
    let stale = memory.stale("0003").expect("it lacks the events before");
    assert_eq!(stale.reason, "event 1 is missing, and event 3 came");
}

/// Each of these aggregates is projected alone.
#[tokio::test(start_paused = true)]
async fn an_aggregate_that_is_no_plain_case_changes_nothing_for_the_others() {
    let memory = MemoryReadModel::default();
    let ids = ids(30);
    project(&memory, batch(&events_of_each(&ids, 1..=2))).await;
    {
        let mut items = memory.items();
        let mut view = |id: &str| items.views.get_mut(id).expect("there").clone();
        let (mut damaged, mut previous) = (view("0001"), view("0002"));
        damaged.insert("Balance".to_owned(), Attribute::text("x"));
        previous.remove("Revision").expect("every write sets one");
        items.views.insert("0001".to_owned(), damaged);
        items.views.insert("0002".to_owned(), previous);
    }
    memory.set_refused("0003");
    memory.set_unavailable("0004");
    let before = memory.saves_together().len();
    let mut all = events_of_each(&ids, 3..=3);
    // A gap, and a record that can't be read.
    all[5] = events(&ids[5], 4..=4).remove(0);
    let mut records = batch(&all);
    records.push(kinesis_record(30, "0006", b"{"));
    let outcome = project(&memory, records).await;
    assert_eq!((outcome.resume_at, outcome.stale), (Some(4), 4));
    for (number, id) in ids.iter().enumerate() {
        match number {
            1 | 3 | 5 | 6 => assert!(memory.stale(id).is_some(), "{id}"),
            4 => assert_eq!(view_of(&memory, id).expect("there").sequence, sequence(2)),
            _ => assert!(is_projected(&memory, id, 3), "{id}"),
        }
    }
    // The others, and the aggregate whose view the service refuses.
    assert_eq!(memory.saves_together()[before..], [25]);
}

#[tokio::test(start_paused = true)]
async fn columns_that_a_view_no_longer_has_are_removed() {
    let memory = MemoryReadModel::default();
    project(&memory, batch(&events("a", 1..=2))).await;
    let old = ("Old".to_owned(), Attribute::number(1));
    memory
        .items()
        .views
        .get_mut("a")
        .expect("there")
        .extend([old]);
    project(&memory, batch(&events("a", 3..=3))).await;
    assert_eq!(memory.saves_together().len(), 2);
    assert!(!memory.items().views["a"].contains_key("Old"));
    assert!(is_projected(&memory, "a", 3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the calls do, and however often a batch is delivered, the read models are the fold of the
    /// events.
    #[test]
    fn every_aggregate_is_completed_whatever_the_calls_do(
        aggregates in 1..60_usize,
        faults in prop::collection::vec(prop::option::of(prop_oneof![
            Just(Fault::Lost),
            Just(Fault::Ambiguous),
            (0..30_usize).prop_map(Fault::CutShort),
        ]), 0..12),
    ) {
        let ids = ids(aggregates);
        in_virtual_time(async {
            let memory = MemoryReadModel::with_faults(&faults);
            for sequences in [1..=2, 2..=4, 3..=5] {
                let outcome = project(&memory, batch(&events_of_each(&ids, sequences))).await;
                assert_eq!(outcome.resume_at, None);
            }
            for id in &ids {
                assert!(is_projected(&memory, id, 5), "{id}");
            }
        });
    }
}
