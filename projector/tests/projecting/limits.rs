//! Events and items around DynamoDB's limits: what is taken whole, and what becomes of the rest.

use std::time::Duration;

use millrace_consumer::KinesisRecord;
use millrace_core::view::{ViewOf, apply};
use millrace_domain::Accounts;
use millrace_domain::testing::{Envelope, events};
use millrace_projector::history;
use millrace_projector::service::Outcome;
use millrace_projector::testing::{Fault, MemoryReadModel};
use millrace_runtime::Budget;
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_runtime::testing::{TestAmbient, in_virtual_time};
use proptest::prelude::*;

use crate::accounts::{batch, fold, history_of, projector, sequence, view_of};

async fn project(memory: &MemoryReadModel, records: Vec<KinesisRecord<'_>>) -> Outcome {
    let budget = Budget::lasting(Duration::from_mins(1));
    let ambient = TestAmbient::default();
    projector(memory, &ambient).project(records, budget).await
}

/// The event with a correlation id that gives its history item so many bytes.
fn sized(mut event: Envelope, view: Option<&ViewOf<Accounts>>, bytes: usize) -> Envelope {
    event.correlation_id = Some(String::new());
    let (_, entry) = apply::<Accounts>(view, &event).expect("encodes");
    let item = entry.to_item().expect("encodes");
    event.correlation_id = Some("x".repeat(bytes - item_size(&item)));
    event
}

#[tokio::test(start_paused = true)]
async fn a_history_item_at_the_limit_is_stored_and_a_byte_more_marks_the_view_stale() {
    let mut all = events("a", 1..=5);
    let view = fold(&all[..2]);
    all[2] = sized(all[2].clone(), view.as_ref(), MAX_ITEM_BYTES);
    let memory = MemoryReadModel::default();
    assert_eq!(project(&memory, batch(&all)).await.stale, 0);
    assert_eq!(view_of(&memory, "a"), fold(&all));
    assert_eq!(history_of(&memory, "a").len(), 5);

    all[2] = sized(all[2].clone(), view.as_ref(), MAX_ITEM_BYTES + 1);
    let memory = MemoryReadModel::default();
    let mut both = all.clone();
    both.extend(events("b", 1..=3));
    let outcome = project(&memory, batch(&both)).await;
    // The batch is completed: nothing is delivered again, and the other account doesn't wait.
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    assert_eq!(view_of(&memory, "b"), fold(&events("b", 1..=3)));
    assert_eq!(view_of(&memory, "a"), view);
    assert_eq!(history_of(&memory, "a").len(), 2);
    let mark = memory.stale("a").expect("marked");
    assert_eq!(mark.until, sequence(5));
    assert_eq!(
        mark.reason,
        "event 3 leads to a history item of 409601 bytes, and the limit is 409600"
    );

    // KinesisRecord again, it changes nothing.
    let saves = memory.saves();
    let outcome = project(&memory, batch(&all)).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    assert_eq!(memory.stale("a"), Some(mark));
    assert_eq!(memory.saves(), saves);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_too_large_is_marked_where_no_view_is() {
    let opening = sized(events("a", 1..=1).remove(0), None, MAX_ITEM_BYTES + 1);
    let memory = MemoryReadModel::default();
    assert_eq!(project(&memory, batch(&[opening])).await.resume_at, None);
    assert_eq!(view_of(&memory, "a"), None);
    let reason = memory.stale("a").expect("marked").reason;
    assert!(reason.starts_with("event 1 leads to a history item of 409601 bytes"));
}

/// Quotes have two bytes in a request, so 25 items of these are more than a call takes.
#[tokio::test(start_paused = true)]
async fn a_call_that_would_be_too_large_is_two() {
    let quotes = "\"".repeat(390 * 1024);
    let all: Vec<Envelope> = events("a", 1..=25)
        .into_iter()
        .map(|event| Envelope {
            correlation_id: Some(quotes.clone()),
            ..event
        })
        .collect();
    let memory = MemoryReadModel::default();
    project(&memory, batch(&all)).await;
    assert_eq!(memory.puts(), [20, 5]);
    assert_eq!(history_of(&memory, "a").len(), 25);
    assert_eq!(view_of(&memory, "a"), fold(&all));
}

fn item_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 0..500_usize, 9 => 385_000..395_000_usize]
}

proptest! {
    // Each case moves tens of megabytes.
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// For any sizes, and any unprocessed items: no call is over a limit, and every item is
    /// stored.
    #[test]
    fn nothing_is_lost_where_history_calls_are_split_by_bytes(
        sizes in prop::collection::vec(item_bytes(), 0..40),
        cut_short in prop::collection::vec(0_usize..30, 0..3),
    ) {
        let mut view = None;
        let mut items = Vec::new();
        let all = events("a", 1..=u64::try_from(sizes.len()).expect("few"));
        for (event, bytes) in all.into_iter().zip(&sizes) {
            let correlation_id = Some("\"".repeat(*bytes));
            let event = Envelope { correlation_id, ..event };
            let (after, entry) = apply::<Accounts>(view.as_ref(), &event).expect("encodes");
            view = Some(after);
            items.push(entry);
        }
        let faults: Vec<_> = cut_short.into_iter().map(|it| Some(Fault::CutShort(it))).collect();
        let memory = MemoryReadModel::with_faults(&faults);
        let attributes = items.iter().map(|it| it.to_item().expect("encodes")).collect();
        in_virtual_time(history::put_all(&&memory, &TestAmbient::default(), attributes)).expect("stored");
        prop_assert!(history_of(&memory, "a") == items);
    }
}
