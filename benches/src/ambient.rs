//! What the handlers need next to their services: a clock that shows one time, Lambda's context and tokio's runtime.

use millrace_core::Timestamp;
use millrace_runtime::Ambient;
use millrace_runtime::metrics::Metric;
use tokio::runtime::Runtime;

/// 2027-01-15T08:00:00Z, in milliseconds since 1970.
const NOW: u64 = 1_800_000_000_000;
/// The time that an invocation has, in milliseconds.
const TIMEOUT: u64 = 60_000;

/// A clock that always shows the same time. It forgets measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedAmbient;

impl Ambient for FixedAmbient {
    fn now(&self) -> Timestamp {
        let millis = i64::try_from(NOW).ok();
        let now = millis.and_then(Timestamp::from_unix_millis);
        now.expect("a time after 1970")
    }

    fn unique_id(&self) -> String {
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned()
    }

    fn fraction(&self) -> f64 {
        0.5
    }

    fn random_bits(&self) -> u64 {
        0x00f0_67aa_0ba9_02b7
    }

    fn measure(&self, _: &str, _: &[(Metric, Option<u64>)]) {}
}

/// The context of an invocation.
pub(crate) fn context() -> lambda_runtime::Context {
    let mut context = lambda_runtime::Context::default();
    context.deadline = NOW + TIMEOUT;
    context
}

/// A runtime of one thread, as the functions have.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the runtime needs nothing of the system but memory")
}
