//! A page of an aggregate's history, newest line first.
//!
//! A page begins below a sequence, so lines that arrive between two pages, which are above it, neither
//! shift nor repeat anything.

use millrace_domain::view::HistoryPage;
use millrace_domain::{HistoryEntry, Sequence, View};

use crate::store::{ReadError, ReadModel};

/// The page of `limit` lines that begins below `before`, or with the line of the view's own
/// sequence.
///
/// # Errors
/// [`ReadError`]: the service failed, a line can't be understood, or one is missing. A page with a
/// hole would look like any other.
pub async fn page(
    model: &impl ReadModel,
    view: &View,
    limit: usize,
    before: Option<Sequence>,
) -> Result<HistoryPage, ReadError> {
    let newest = before.map_or(view.sequence, |before| preceding(before).min(view.sequence));
    let lines = model.history(&view.id, newest, limit).await?;
    let last = without_hole(&lines, newest, limit)?;
    let next = Some(last).filter(|last| preceding(*last) != Sequence::NONE);
    Ok(HistoryPage::new(view.id.clone(), lines, next))
}

fn preceding(sequence: Sequence) -> Sequence {
    Sequence::new(sequence.get().saturating_sub(1)).expect("lower than a sequence")
}

/// The last line's sequence, if the lines are `newest`, the one below it, and so on, `limit` of
/// them or down to the first event.
fn without_hole(
    lines: &[HistoryEntry],
    newest: Sequence,
    limit: usize,
) -> Result<Sequence, ReadError> {
    let mut last = newest.next();
    let mut expected = newest;
    for line in lines {
        if line.sequence != expected {
            return Err(ReadError::Hole(expected));
        }
        last = expected;
        expected = preceding(expected);
    }
    if lines.len() < limit && expected != Sequence::NONE {
        return Err(ReadError::Hole(expected));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::memory::{Memory, blocking, history, id};

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    /// A page's sequences, and its `next`.
    fn shown(page: &HistoryPage) -> (Vec<u64>, Option<Sequence>) {
        let page = serde_json::to_value(page).expect("serialises");
        let lines = page["transactions"].as_array().expect("an array");
        (
            lines
                .iter()
                .map(|line| line["sequence"].as_u64().expect("a number"))
                .collect(),
            page.get("next").and_then(Value::as_u64).map(sequence),
        )
    }

    async fn turn(
        model: &Memory,
        limit: usize,
        before: Option<Sequence>,
    ) -> (Vec<u64>, Option<Sequence>) {
        let view = model.view(&id()).await.expect("reads").expect("there");
        shown(&page(model, &view, limit, before).await.expect("a page"))
    }

    proptest! {
        #[test]
        fn pages_are_the_history_whatever_arrives_between_them(
            lines in 1_usize..60,
            limits in prop::collection::vec(1_usize..25, 1..5),
            arrivals in prop::collection::vec(0_usize..5, 1..5),
        ) {
            blocking(async {
                let events = history(&vec![0; lines + 80 * 5]);
                let model = Memory::of(&events[..lines]);
                let (mut arrived, mut before, mut seen) = (lines, None, Vec::new());
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
                    model.apply(&events[arrived..arrived + more]);
                    arrived += more;
                }
                let history: Vec<u64> = (1..=lines as u64).rev().collect();
                assert_eq!(seen, history);
            });
        }
    }

    #[tokio::test]
    async fn a_full_last_page_has_no_next() {
        let model = Memory::of(&history(&[0; 4]));
        assert_eq!(turn(&model, 4, None).await, (vec![4, 3, 2, 1], None));
        let (sequences, next) = turn(&model, 3, None).await;
        assert_eq!(sequences, [4, 3, 2]);
        assert_eq!(next, Some(sequence(2)));
        assert_eq!(turn(&model, 3, next).await, (vec![1], None));
        assert_eq!(turn(&model, 3, Some(sequence(1))).await, (vec![], None));
    }

    #[tokio::test]
    async fn lines_behind_the_view_are_not_shown() {
        let events = history(&[0; 5]);
        let model = Memory::of(&events[..3]);
        model.write_lines(&events[3..]);
        assert_eq!(turn(&model, 10, None).await, (vec![3, 2, 1], None));
        assert_eq!(turn(&model, 10, Some(sequence(6))).await.0, [3, 2, 1]);
    }

    #[tokio::test]
    async fn a_missing_line_is_an_error_and_never_left_out_in_silence() {
        for missing in 1..=4 {
            let model = Memory::of(&history(&[0; 4]));
            model.lose_line(missing);
            let view = model.view(&id()).await.expect("reads").expect("there");
            let failed = page(&model, &view, 4, None).await;
            assert!(
                matches!(failed, Err(ReadError::Hole(hole)) if hole == sequence(missing)),
                "{failed:?}"
            );
        }
    }
}
