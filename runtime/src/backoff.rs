//! How long to wait before trying again.

use std::time::Duration;

use crate::ambient::Ambient;

/// Exponential backoff with full jitter: before retry `n` (from 0), wait evenly spread between 0
/// and `base * 2^n`, at most `cap`. Jitter keeps clients that failed together from coming back
/// together ([AWS Builders' Library](https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)).
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The longest wait before the first retry.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before retry `retry`, counted from 0.
    #[must_use]
    pub fn delay(&self, retry: u32, ambient: &impl Ambient) -> Duration {
        let longest = 2_u32
            .checked_pow(retry)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap));
        longest.mul_f64(ambient.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestAmbient;

    #[test]
    fn doubles_up_to_the_cap_and_spreads_evenly() {
        let backoff = Backoff {
            base: Duration::from_millis(10),
            cap: Duration::from_millis(50),
        };
        let delays = |fraction| {
            [0, 1, 2, 3, 31, 32, u32::MAX].map(|n| {
                backoff
                    .delay(n, &TestAmbient::with_fraction(fraction))
                    .as_millis()
            })
        };
        assert_eq!(delays(1.0), [10, 20, 40, 50, 50, 50, 50]);
        assert_eq!(delays(0.5), [5, 10, 20, 25, 25, 25, 25]);
        assert_eq!(delays(0.0), [0; 7]);
    }
}
