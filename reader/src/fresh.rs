//! The view, once it is as new as the client needs it: how one reads one's own writes.
//!
//! A command answers with the sequence it led to, and the projector is there a moment later. A
//! query that names the sequence waits for that moment, but not for long: a wait holds a running
//! function, and a read model that stands still would hold them all.

use std::time::Duration;

use millrace_domain::{AggregateId, Sequence, View};
use millrace_runtime::{Ambient, Backoff, Budget};

use crate::store::{ReadError, ReadModel};

/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The least time between two looks, whatever the jitter: every look is a read that is paid for.
const PAUSE: Duration = Duration::from_millis(25);
/// What comes on top of it.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(25),
    cap: Duration::from_millis(200),
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// The view, at the sequence asked for or behind it.
    View(View),
    /// There is no view, and the client asked for no sequence.
    Unknown,
    /// The view, if there is one, didn't get there in time.
    Behind,
}

/// The view of `id` once it is at `at_least`, after a wait of [`LONGEST_WAIT`] at most, and never
/// beyond `budget`. With [`Sequence::NONE`] the first look decides.
///
/// # Errors
/// [`ReadError`], at once: a look that fails was tried again by the SDK already, and an item that
/// can't be understood won't mend itself.
pub async fn view(
    model: &impl ReadModel,
    ambient: &impl Ambient,
    id: &AggregateId,
    at_least: Sequence,
    budget: Budget,
) -> Result<Fresh, ReadError> {
    let patience = Budget::lasting(budget.left().min(LONGEST_WAIT));
    let mut looks = 0;
    loop {
        match model.view(id).await? {
            Some(view) if view.sequence >= at_least => return Ok(Fresh::View(view)),
            None if at_least == Sequence::NONE => return Ok(Fresh::Unknown),
            Some(_) | None => {}
        }
        let pause = PAUSE + BACKOFF.delay(looks, ambient);
        if !patience.allows(pause) {
            return Ok(Fresh::Behind);
        }
        tokio::time::sleep(pause).await;
        looks += 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::memory::{Always, Memory, history, id};

    fn sequence(sequence: u64) -> Sequence {
        Sequence::new(sequence).expect("valid")
    }

    async fn look(model: &Memory, at_least: u64, budget: Duration) -> Result<Fresh, ReadError> {
        let budget = Budget::lasting(budget);
        view(model, &Always(0.5), &id(), sequence(at_least), budget).await
    }

    const AMPLE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_view_that_is_there_is_taken_at_once() {
        let model = Memory::of(&history(&[0, 1, 2]));
        let started = Instant::now();
        for at_least in [0, 2, 3] {
            let found = look(&model, at_least, AMPLE).await.expect("reads");
            assert!(matches!(found, Fresh::View(view) if view.sequence == sequence(3)));
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(model.views_read(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_sequence_a_missing_view_is_unknown_at_once() {
        let started = Instant::now();
        for model in [Memory::default(), Memory::stub()] {
            let found = look(&model, 0, AMPLE).await.expect("reads");
            assert_eq!(found, Fresh::Unknown);
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_sequence_and_no_longer() {
        for before in [0, 1, 2] {
            let events = history(&[0, 1, 2]);
            let model = Memory::of(&events[..before]);
            let started = Instant::now();
            let projecting = async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                model.apply(&events[before..]);
            };
            let (found, ()) = tokio::join!(look(&model, 3, AMPLE), projecting);
            assert!(matches!(found, Ok(Fresh::View(view)) if view.sequence == sequence(3)));
            let waited = started.elapsed();
            assert!(waited >= Duration::from_millis(700), "{waited:?}");
            assert!(waited <= Duration::from_secs(1), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_longest_wait() {
        // The pauses grow, so there are fewer looks than pauses of the first length would allow.
        for (fraction, looks) in [(0.0, 81), (0.5, 20), (0.999, 14)] {
            for model in [
                Memory::default(),
                Memory::stub(),
                Memory::of(&history(&[0])),
            ] {
                let started = Instant::now();
                let budget = Budget::lasting(AMPLE);
                let found = view(&model, &Always(fraction), &id(), sequence(2), budget).await;
                assert_eq!(found.expect("reads"), Fresh::Behind);
                let waited = started.elapsed();
                assert!(waited <= LONGEST_WAIT, "{waited:?}");
                assert!(waited >= LONGEST_WAIT.mul_f64(0.85), "{waited:?}");
                assert!(model.views_read() <= looks, "{}", model.views_read());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn never_waits_beyond_the_budget() {
        for (budget, looks) in [(300, 2..10), (0, 1..2)] {
            let budget = Duration::from_millis(budget);
            let model = Memory::default();
            let started = Instant::now();
            let found = look(&model, 1, budget).await.expect("reads");
            assert_eq!(found, Fresh::Behind);
            assert!(started.elapsed() <= budget);
            assert!(looks.contains(&model.views_read()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_ends_the_wait() {
        let model = Memory::default();
        model.fail();
        let started = Instant::now();
        let failed = look(&model, 1, AMPLE).await;
        assert!(matches!(failed, Err(ReadError::Service(_))));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
