//! The view at a time.

use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::testing::in_virtual_time;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{
    Projected, VIEW_AT, ask, assert_problem, at, body, get, history, id, model, put_entries,
    sequence,
};

/// What the readers' clock shows.
const NOW: i64 = 1_000;

/// The view at a time, or now; `None` if nothing had happened by then.
async fn view_at(model: &InMemoryReadModel, time: Option<i64>) -> Option<Value> {
    let path = time.map_or_else(
        || VIEW_AT.to_owned(),
        |time| format!("{VIEW_AT}?at={}", at(time)),
    );
    let response = ask(model, &get(&path)).await;
    if response.status == 404 {
        assert_problem(&response, 404, "account-not-open-yet");
        return None;
    }
    assert_eq!(response.status, 200, "{}", response.body);
    Some(body(&response))
}

/// The response that shows the view after this event at a time.
fn shown((view, _): &Projected, time: i64) -> Value {
    json!({
        "accountId": "a",
        "currency": "EUR",
        "balance": (view.sequence.get() - 1) * 100,
        "sequence": view.sequence.get(),
        "at": at(time).to_string(),
    })
}

proptest! {
    #[test]
    fn is_what_a_scan_of_the_whole_history_finds(
        times in prop::collection::vec(0_i64..40, 1..70),
        early in 0_usize..3,
    ) {
        in_virtual_time(async {
            let events = history(&times);
            let through = events.len().saturating_sub(early).max(1);
            let model = model(&events[..through]);
            put_entries(&model, &events[through..]);
            for time in -1..=41 {
                let scanned = events[..through]
                    .iter()
                    .take_while(|(_, entry)| entry.effective_at <= at(time))
                    .last()
                    .map(|event| shown(event, time));
                assert_eq!(view_at(&model, Some(time)).await, scanned, "at {time}");
            }
        });
    }

    #[test]
    fn reads_as_often_as_the_history_can_be_halved(entries in 1_usize..500, time in -1_i64..501) {
        in_virtual_time(async {
            let times: Vec<i64> = (0..).take(entries).collect();
            let model = model(&history(&times));
            view_at(&model, Some(time)).await;
            let most = entries.ilog2() as usize + 1;
            assert!(model.entries_read() <= most, "{} > {most}", model.entries_read());
        });
    }
}

#[tokio::test]
async fn the_current_view_is_the_views_own() {
    let events = history(&[10, 30, 20]);
    let model = model(&events);
    assert_eq!(view_at(&model, None).await, Some(shown(&events[2], NOW)));
    assert_eq!(view_at(&model, Some(30)).await, Some(shown(&events[2], 30)));
    assert_eq!(model.entries_read(), 0);
}

#[tokio::test]
async fn a_time_to_come_is_answered_for_the_latest_time_known() {
    let events = history(&[10, 30]);
    let shown_then = view_at(&model(&events), Some(NOW + 1)).await;
    assert_eq!(shown_then, Some(shown(&events[1], NOW)));
    // The writer's clock is ahead of the reader's.
    let ahead = history(&[10, NOW + 5]);
    let latest = Some(shown(&ahead[1], NOW + 5));
    assert_eq!(view_at(&model(&ahead), Some(NOW + 9)).await, latest);
    assert_eq!(view_at(&model(&ahead), None).await, latest);
    let before = view_at(&model(&ahead), Some(NOW + 4)).await;
    assert_eq!(before, Some(shown(&ahead[0], NOW + 4)));
}

#[tokio::test]
async fn before_the_first_event_there_is_none() {
    let model = model(&history(&[10, 30]));
    assert_eq!(view_at(&model, Some(9)).await, None);
    assert_eq!(model.entries_read(), 0);
}

#[tokio::test]
async fn a_missing_entry_is_an_error() {
    let model = model(&history(&[10, 20, 30]));
    model.remove_entry(&id(), sequence(2));
    let response = ask(&model, &get(&format!("{VIEW_AT}?at={}", at(20)))).await;
    assert_problem(&response, 500, "read-model-damaged");
    assert!(response.body.contains("history entry 2 is missing"));
}
