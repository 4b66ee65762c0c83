//! Events, items and records around the services' limits: what is taken whole, and what becomes of the
//! rest.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_domain::{Envelope, HistoryEntry, View};
use millrace_projector::archive::Archiver;
use millrace_projector::history;
use millrace_projector::project::{Outcome, Projector};
use millrace_runtime::Budget;
use millrace_runtime::item_size::{MAX_ITEM_BYTES, item_size};
use millrace_runtime::kinesis::KinesisRecord;
use proptest::prelude::*;
use serde_json::Value;

use crate::memory::{Fault, Lake, Memory, Still, batch, blocking, events, record, sequence};

async fn project(memory: &Memory, records: Vec<KinesisRecord>) -> Outcome {
    let projector = Projector {
        model: memory,
        ambient: Still,
    };
    let budget = Budget::lasting(Duration::from_mins(1));
    projector.project(records, budget).await
}

/// The event with a correlation id that gives its history item so many bytes.
fn sized(mut event: Envelope, view: Option<&View>, bytes: usize) -> Envelope {
    event.correlation_id = Some(String::new());
    let item = View::apply(view, &event).1.to_attributes();
    event.correlation_id = Some("x".repeat(bytes - item_size(&item)));
    event
}

fn fold(events: &[Envelope]) -> Option<View> {
    events.iter().fold(None, |view, event| {
        Some(View::apply(view.as_ref(), event).0)
    })
}

#[tokio::test(start_paused = true)]
async fn a_history_item_at_the_limit_is_stored_and_a_byte_more_marks_the_view_stale() {
    let mut all = events("a", 1..=5);
    let view = fold(&all[..2]);
    all[2] = sized(all[2].clone(), view.as_ref(), MAX_ITEM_BYTES);
    let memory = Memory::default();
    assert_eq!(project(&memory, batch(&all)).await.stale, 0);
    assert_eq!(memory.view_of("a"), fold(&all));
    assert_eq!(memory.history_of("a").len(), 5);

    all[2] = sized(all[2].clone(), view.as_ref(), MAX_ITEM_BYTES + 1);
    let memory = Memory::default();
    let mut both = all.clone();
    both.extend(events("b", 1..=3));
    let outcome = project(&memory, batch(&both)).await;
    // The batch goes on: nothing is delivered again, and the other account doesn't wait.
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    assert_eq!(memory.view_of("b"), fold(&events("b", 1..=3)));
    assert_eq!(memory.view_of("a"), view);
    assert_eq!(memory.history_of("a").len(), 2);
    let mark = memory.stale("a").expect("marked");
    assert_eq!(mark.until, sequence(5));
    assert_eq!(
        mark.reason,
        "event 3 leads to a history item of 409601 bytes, and the limit is 409600"
    );

    // KinesisRecord again, it changes nothing.
    let saves = *memory.saves.lock().expect("unpoisoned");
    let outcome = project(&memory, batch(&all)).await;
    assert_eq!((outcome.resume_at, outcome.stale), (None, 1));
    assert_eq!(memory.stale("a"), Some(mark));
    assert_eq!(*memory.saves.lock().expect("unpoisoned"), saves);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_too_large_is_marked_where_no_view_is() {
    let opening = sized(events("a", 1..=1).remove(0), None, MAX_ITEM_BYTES + 1);
    let memory = Memory::default();
    assert_eq!(project(&memory, batch(&[opening])).await.resume_at, None);
    assert_eq!(memory.view_of("a"), None);
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
    let memory = Memory::default();
    project(&memory, batch(&all)).await;
    assert_eq!(*memory.puts.lock().expect("unpoisoned"), [20, 5]);
    assert_eq!(memory.history_of("a").len(), 25);
    assert_eq!(memory.view_of("a"), fold(&all));
}

/// Records that a single record of the delivery stream, or a call, takes or doesn't.
fn event_of(bytes: usize, position: usize) -> KinesisRecord {
    let event = |filler: &str| format!(r#"{{"id":"{position}","type":"T","filler":"{filler}"}}"#);
    let filler = "x".repeat(bytes - event("").len());
    record(position, "a", event(&filler).as_bytes())
}

/// What a lake's lines say, in order: an event whole, or put together from its parts.
fn archived(lake: &Lake) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut of = None;
    for line in lake.lines.lock().expect("unpoisoned").iter() {
        let Value::Object(event) = serde_json::from_str(line).expect("JSON") else {
            panic!("a line is no object");
        };
        if event["type"] != "UnreadableRecord" {
            of = None;
            all.push(line.clone().into_bytes());
            continue;
        }
        let part = event["data_base64"].as_str().expect("a part");
        let part = STANDARD.decode(part).expect("base64");
        let id = event["id"].as_str().expect("an id");
        let id = id.rsplit_once(':').expect("a part's id").0.to_owned();
        match all.last_mut().filter(|_| of.as_ref() == Some(&id)) {
            Some(before) => before.extend(part),
            None => all.push(part),
        }
        of = Some(id);
    }
    all
}

async fn archive(lake: &Lake, records: &[KinesisRecord]) -> millrace_projector::archive::Outcome {
    let archiver = Archiver {
        delivery: lake,
        ambient: Still,
    };
    archiver
        .archive(records, Budget::lasting(Duration::from_mins(1)))
        .await
}

#[tokio::test(start_paused = true)]
async fn an_event_at_firehoses_limit_goes_in_as_it_is_and_a_larger_one_in_parts() {
    // The line break is the last byte.
    let records = [
        event_of(1_023_999, 0),
        event_of(1_024_000, 1),
        event_of(100, 2),
    ];
    let lake = Lake::default();
    assert_eq!(archive(&lake, &records).await.resume_at, None);
    let lines = lake.lines.lock().expect("unpoisoned").clone();
    let unreadable: Vec<bool> = lines
        .iter()
        .map(|line| line.contains("UnreadableRecord"))
        .collect();
    assert_eq!(unreadable, [false, true, true, false]);
    let all: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
    assert!(archived(&lake) == all);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_firehose_is_filled_to_its_limit_in_bytes_and_no_further() {
    let largest = |position| event_of(1_023_999, position);
    let rest = 4_194_304 - 4 * 1_024_000;
    for (last, calls) in [(rest, vec![5]), (rest + 1, vec![4, 1])] {
        let mut records: Vec<_> = (0..4).map(largest).collect();
        records.push(event_of(last - 1, 4));
        let lake = Lake::default();
        archive(&lake, &records).await;
        assert_eq!(*lake.calls.lock().expect("unpoisoned"), calls, "{last}");
    }
}

fn event_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => 60..5_000_usize,
        1 => 511_000..513_000_usize,
        1 => 614_399..614_402_usize,
        2 => 1_023_998..1_024_002_usize,
        1 => 1_228_799..1_228_803_usize,
    ]
}

fn item_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 0..500_usize, 9 => 385_000..395_000_usize]
}

proptest! {
    // Each case moves megabytes.
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the sizes, and whatever is rejected: no call is over a limit, and the lake contains
    /// every byte. Without rejections it does so in order.
    #[test]
    fn nothing_is_lost_where_calls_to_firehose_are_split_by_bytes(
        sizes in prop::collection::vec(event_size(), 0..12),
        answers in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..5), 0..3),
    ) {
        let records: Vec<KinesisRecord> = sizes
            .iter()
            .enumerate()
            .map(|(position, size)| event_of(*size, position))
            .collect();
        let lake = Lake::default();
        let is_sound = answers.is_empty();
        lake.answers.lock().expect("unpoisoned").extend(answers.into_iter().map(Some));
        let outcome = blocking(archive(&lake, &records));
        prop_assert_eq!(outcome.resume_at, None);
        let all: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
        if is_sound {
            prop_assert!(archived(&lake) == all);
        } else {
            let lines: usize = records
                .iter()
                .map(|record| millrace_projector::line::lines(record).len())
                .sum();
            prop_assert_eq!(lake.lines.lock().expect("unpoisoned").len(), lines);
        }
    }

}

proptest! {
    // Each case moves tens of megabytes.
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Whatever the sizes, and whatever is left unprocessed: no call is over a limit, and every item is
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
            let (after, entry) = View::apply(view.as_ref(), &event);
            view = Some(after);
            items.push(entry);
        }
        let faults: Vec<_> = cut_short.into_iter().map(|it| Some(Fault::CutShort(it))).collect();
        let memory = Memory::failing(&faults);
        let attributes = items.iter().map(HistoryEntry::to_attributes).collect();
        blocking(history::put_all(&&memory, &Still, attributes)).expect("stored");
        prop_assert!(memory.history_of("a") == items);
    }
}
