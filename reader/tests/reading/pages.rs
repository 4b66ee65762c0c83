//! The history, page by page.

use millrace_reader::testing::InMemoryReadModel;
use millrace_runtime::testing::in_virtual_time;
use proptest::prelude::*;
use serde_json::Value;

use crate::fixtures::{
    HISTORY, ask, assert_problem, body, get, history, id, model, project, put_entries, sequence,
};

/// The sequences of the page before a sequence, and the page's `next`.
async fn turn(
    model: &InMemoryReadModel,
    limit: usize,
    before: Option<u64>,
) -> (Vec<u64>, Option<u64>) {
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    let path = format!("{HISTORY}?limit={limit}{before}");
    let response = ask(model, &get(&path)).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let page = body(&response);
    let entries = page["transactions"].as_array().expect("an array");
    let sequences = entries.iter().map(|entry| entry["sequence"].as_u64());
    (
        sequences.map(|it| it.expect("a number")).collect(),
        page.get("next").and_then(Value::as_u64),
    )
}

proptest! {
    #[test]
    fn pages_are_the_history_whatever_arrives_between_them(
        entries in 1_usize..60,
        limits in prop::collection::vec(1_usize..25, 1..5),
        arrivals in prop::collection::vec(0_usize..5, 1..5),
    ) {
        in_virtual_time(async {
            let events = history(&vec![0; entries + 80 * 5]);
            let model = model(&events[..entries]);
            let (mut arrived, mut before, mut seen) = (entries, None, Vec::new());
            for turned in 0.. {
                let limit = limits[turned % limits.len()];
                let (sequences, next) = turn(&model, limit, before).await;
                assert!(sequences.len() <= limit);
                seen.extend(sequences);
                if next.is_none() {
                    break;
                }
                before = next;
                let more = arrivals[turned % arrivals.len()];
                project(&model, &events[arrived..arrived + more]);
                arrived += more;
            }
            let history: Vec<u64> = (1..=entries as u64).rev().collect();
            assert_eq!(seen, history);
        });
    }
}

#[tokio::test]
async fn a_full_last_page_has_no_next() {
    let model = model(&history(&[0; 4]));
    assert_eq!(turn(&model, 4, None).await, (vec![4, 3, 2, 1], None));
    assert_eq!(turn(&model, 3, None).await, (vec![4, 3, 2], Some(2)));
    assert_eq!(turn(&model, 3, Some(2)).await, (vec![1], None));
    assert_eq!(turn(&model, 3, Some(1)).await, (vec![], None));
}

#[tokio::test]
async fn entries_after_the_view_are_not_shown() {
    let events = history(&[0; 5]);
    let model = model(&events[..3]);
    put_entries(&model, &events[3..]);
    assert_eq!(turn(&model, 10, None).await, (vec![3, 2, 1], None));
    assert_eq!(turn(&model, 10, Some(4)).await.0, [3, 2, 1]);
}

#[tokio::test]
async fn a_missing_entry_is_an_error_and_never_left_out_in_silence() {
    for missing in 1..=4 {
        let model = model(&history(&[0; 4]));
        model.remove_entry(&id(), sequence(missing));
        let response = ask(&model, &get(&format!("{HISTORY}?limit=4"))).await;
        assert_problem(&response, 500, "read-model-damaged");
        let detail = body(&response)["detail"].to_string();
        assert!(
            detail.contains(&format!("history entry {missing} is missing")),
            "{detail}"
        );
    }
}
