//! The time budget of an invocation.

use std::time::Duration;

use lambda_runtime::Context;
use tokio::time::Instant;

use crate::ambient::Ambient;

/// The time until which a function may work. Lambda ends an invocation at its deadline without a notice.
/// So the budget ends earlier, by the time that the response and the last writes take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    until: Instant,
}

impl Budget {
    /// The invocation's time, less `reserve`.
    #[must_use]
    pub fn of(context: &Context, reserve: Duration, ambient: &impl Ambient) -> Self {
        let now = u64::try_from(ambient.now().unix_millis()).unwrap_or_default();
        let left = Duration::from_millis(context.deadline.saturating_sub(now));
        Self::lasting(left.saturating_sub(reserve))
    }

    /// This long from now.
    #[must_use]
    pub fn lasting(time: Duration) -> Self {
        Self {
            until: Instant::now() + time,
        }
    }

    /// The budget with this much more time, which was reserved for the last writes.
    #[must_use]
    pub fn extended(self, by: Duration) -> Self {
        Self {
            until: self.until + by,
        }
    }

    /// The remaining time; zero after the end of the budget.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether a wait of this length fits into the remaining time.
    #[must_use]
    pub fn allows(&self, wait: Duration) -> bool {
        wait < self.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::System;

    fn context(millis_left: i64) -> Context {
        let mut context = Context::default();
        context.deadline =
            u64::try_from(System.now().unix_millis() + millis_left).expect("after 1970");
        context
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_reserve_out() {
        let budget = Budget::of(&context(10_000), Duration::from_secs(2), &System);
        assert!(budget.left() <= Duration::from_secs(8));
        assert!(budget.left() > Duration::from_secs(7));
        assert!(budget.allows(Duration::from_secs(7)));
        assert!(!budget.allows(Duration::from_secs(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn is_spent_when_its_time_is_over() {
        let budget = Budget::lasting(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.left(), Duration::ZERO);
        assert!(!budget.allows(Duration::ZERO));
        let late = Budget::of(&context(-5_000), Duration::from_secs(1), &System);
        assert_eq!(late.left(), Duration::ZERO);
        let extended = budget.extended(Duration::from_secs(2));
        assert_eq!(extended.left(), Duration::from_secs(2));
    }
}
