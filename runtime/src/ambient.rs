//! The clock and the source of randomness as a trait, and the recording of metrics. A simulation
//! replaces the clock and the randomness with deterministic ones, and a test reads the recorded values.
//!
//! Waiting is not part of the trait: code waits with `tokio::time`, which a test can pause.

use std::time::{SystemTime, UNIX_EPOCH};

use millrace_core::Timestamp;

use crate::metrics::{self, Metric};

/// The source of time and randomness, and the receiver of measurements.
pub trait Ambient: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// An id that no other call returns.
    fn unique_id(&self) -> String;

    /// A uniformly distributed number from 0 (included) to 1 (excluded).
    fn fraction(&self) -> f64;

    /// 64 random bits, for ids whose form is binary.
    fn random_bits(&self) -> u64;

    /// Records an invocation's measurements; a value of `None` is left out. If telemetry was started,
    /// they are written as a log line of metrics.
    fn measure(&self, request_id: &str, values: &[(Metric, Option<u64>)]) {
        metrics::record(request_id, self.now().unix_millis(), values);
    }
}

impl<T: Ambient> Ambient for &T {
    fn now(&self) -> Timestamp {
        T::now(self)
    }

    fn unique_id(&self) -> String {
        T::unique_id(self)
    }

    fn fraction(&self) -> f64 {
        T::fraction(self)
    }

    fn random_bits(&self) -> u64 {
        T::random_bits(self)
    }

    fn measure(&self, request_id: &str, values: &[(Metric, Option<u64>)]) {
        T::measure(self, request_id, values);
    }
}

/// The operating system's clock and randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Ambient for System {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock shows a time after 1970");
        i64::try_from(since_epoch.as_millis())
            .ok()
            .and_then(Timestamp::from_unix_millis)
            .expect("the clock shows a time before the year 10000")
    }

    fn unique_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    fn fraction(&self) -> f64 {
        fastrand::f64()
    }

    fn random_bits(&self) -> u64 {
        // Six bits of a UUID are fixed, none of them at the same place in both halves.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        high ^ low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_gives_the_present_and_fresh_ids() {
        let system = System;
        assert!(system.now() > Timestamp::parse("2026-01-01T00:00:00Z").expect("valid"));
        assert_ne!(system.unique_id(), system.unique_id());
        let fractions: Vec<f64> = (0..100).map(|_| system.fraction()).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)));
        let spread = |part: std::ops::Range<f64>| fractions.iter().any(|it| part.contains(it));
        assert!(spread(0.0..0.5) && spread(0.5..1.0), "{fractions:?}");
    }

    #[test]
    fn every_random_bit_is_sometimes_0_and_sometimes_1() {
        let drawn: Vec<u64> = (0..100).map(|_| System.random_bits()).collect();
        assert_eq!(drawn.iter().fold(0, |any, bits| any | bits), u64::MAX);
        assert_eq!(drawn.iter().fold(u64::MAX, |all, bits| all & bits), 0);
    }
}
