//! The value of an aggregate at a time: what it was after the last event effective by then.
//!
//! A line's effective time never runs backwards along the sequence, and the sequences up to the
//! view's have no hole, so the line is found by halving: 20 reads for a million events. A second
//! index by time would find it in one, and make every event's write cost twice.

use millrace_domain::view::ValueAt;
use millrace_domain::{HistoryEntry, Sequence, Timestamp, View};

use crate::store::{ReadError, ReadModel};

/// The value at `at`, or now; `None` if nothing had happened by then.
///
/// An answer for a time before the view's last event is final. For a later one it may still change:
/// an event not projected yet may have been effective by then. A time to come is answered for now,
/// since nobody knows what will have happened.
///
/// # Errors
/// [`ReadError`]: the service failed, a line can't be understood, or one is missing.
pub async fn value_at(
    model: &impl ReadModel,
    view: &View,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<ValueAt>, ReadError> {
    // A writer's clock may be ahead of this one, and with it the view.
    let latest = now.max(view.updated_at);
    let at = at.map_or(latest, |at| at.min(latest));
    if at >= view.updated_at {
        return Ok(Some(view.value_at(at)));
    }
    if at < view.opened_at {
        return Ok(None);
    }
    let line = last_effective_by(model, view, at).await?;
    Ok(Some(line.value_at(at)))
}

/// The last line effective by `at`, which lies before the view's last event and not before its
/// first.
async fn last_effective_by(
    model: &impl ReadModel,
    view: &View,
    at: Timestamp,
) -> Result<HistoryEntry, ReadError> {
    let mut effective: Option<HistoryEntry> = None;
    // What is effective by `at` ends within low..high: `low` is, `high` isn't.
    let (mut low, mut high) = (1, view.sequence.get());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let line = line(model, view, middle).await?;
        if line.effective_at <= at {
            low = middle;
            effective = Some(line);
        } else {
            high = middle;
        }
    }
    match effective {
        Some(line) => Ok(line),
        None => line(model, view, low).await,
    }
}

async fn line(
    model: &impl ReadModel,
    view: &View,
    sequence: u64,
) -> Result<HistoryEntry, ReadError> {
    let sequence = Sequence::new(sequence).expect("no higher than the view's");
    model
        .entry(&view.id, sequence)
        .await?
        .ok_or(ReadError::Hole(sequence))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Memory, at, blocking, history, id};

    const NOW: i64 = 1_000_000;

    async fn ask(model: &Memory, time: Option<i64>) -> Option<ValueAt> {
        let view = model.view(&id()).await.expect("reads").expect("there");
        value_at(model, &view, time.map(at), at(NOW))
            .await
            .expect("an answer")
    }

    proptest! {
        #[test]
        fn is_what_a_scan_of_the_whole_history_finds(
            times in prop::collection::vec(0_i64..40, 1..70),
            early in 0_usize..3,
        ) {
            blocking(async {
                let events = history(&times);
                let shown = events.len().saturating_sub(early).max(1);
                let model = Memory::of(&events[..shown]);
                model.write_lines(&events[shown..]);
                for time in -1..=41 {
                    let scanned = events[..shown]
                        .iter()
                        .take_while(|(_, line)| line.effective_at <= at(time))
                        .last()
                        .map(|(_, line)| line.value_at(at(time)));
                    assert_eq!(ask(&model, Some(time)).await, scanned, "at {time}");
                }
            });
        }

        #[test]
        fn reads_as_often_as_the_history_can_be_halved(lines in 1_usize..500, time in -1_i64..501) {
            blocking(async {
                let times: Vec<i64> = (0..).take(lines).collect();
                let model = Memory::of(&history(&times));
                ask(&model, Some(time)).await;
                let most = lines.ilog2() as usize + 1;
                assert!(model.lines_read() <= most, "{} > {most}", model.lines_read());
            });
        }
    }

    #[tokio::test]
    async fn the_current_value_is_the_views_own() {
        let events = history(&[10, 30, 20]);
        let model = Memory::of(&events);
        let (view, _) = &events[2];
        assert_eq!(ask(&model, None).await, Some(view.value_at(at(NOW))));
        assert_eq!(ask(&model, Some(30)).await, Some(view.value_at(at(30))));
        assert_eq!(model.lines_read(), 0);
    }

    #[tokio::test]
    async fn a_time_to_come_is_answered_for_the_latest_time_known() {
        let events = history(&[10, 30]);
        let value = ask(&Memory::of(&events), Some(NOW + 1)).await;
        assert_eq!(value, Some(events[1].0.value_at(at(NOW))));
        let ahead = history(&[10, NOW + 5]);
        let value = ask(&Memory::of(&ahead), Some(NOW + 9)).await;
        assert_eq!(value, Some(ahead[1].0.value_at(at(NOW + 5))));
        assert_eq!(ask(&Memory::of(&ahead), None).await, value);
        let value = ask(&Memory::of(&ahead), Some(NOW + 4)).await;
        assert_eq!(value, Some(ahead[0].1.value_at(at(NOW + 4))));
    }

    #[tokio::test]
    async fn before_the_first_event_there_is_none() {
        let model = Memory::of(&history(&[10, 30]));
        assert_eq!(ask(&model, Some(9)).await, None);
        assert_eq!(model.lines_read(), 0);
    }

    #[tokio::test]
    async fn a_missing_line_is_an_error() {
        let model = Memory::of(&history(&[10, 20, 30]));
        model.lose_line(2);
        let view = model.view(&id()).await.expect("reads").expect("there");
        let failed = value_at(&model, &view, Some(at(20)), at(NOW)).await;
        assert!(matches!(failed, Err(ReadError::Hole(hole)) if hole.get() == 2));
    }
}
