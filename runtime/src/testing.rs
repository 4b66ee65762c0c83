//! Test doubles that every function's tests share (feature `testing`).

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lambda_runtime::{Context, LambdaEvent};
use millrace_core::Timestamp;
use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;

/// Mocks of the AWS SDK's clients, in the version that fits these crates.
pub use aws_smithy_mocks;

use crate::ambient::Ambient;
use crate::error::ServiceError;
use crate::metrics::Metric;
use crate::telemetry;

/// A clock and a source of randomness whose values a test sets. It keeps the measurements, which the
/// test reads. Ids count up: `id-0`, `id-1`, …. So do [random bits](Ambient::random_bits): 1, 2, ….
#[derive(Debug)]
pub struct TestAmbient {
    unix_millis: AtomicI64,
    fraction: f64,
    ids: AtomicU64,
    bits: AtomicU64,
    measured: Mutex<Vec<(Metric, Option<u64>)>>,
}

impl Default for TestAmbient {
    /// The clock shows 2027-01-15T08:00:00Z, and every [`Ambient::fraction`] is 0.5.
    fn default() -> Self {
        Self {
            unix_millis: AtomicI64::new(1_800_000_000_000),
            fraction: 0.5,
            ids: AtomicU64::new(0),
            bits: AtomicU64::new(1),
            measured: Mutex::default(),
        }
    }
}

impl TestAmbient {
    /// The default, except that the clock shows this time.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        let ambient = Self::default();
        ambient.set(time);
        ambient
    }

    /// The default, except that every [`Ambient::fraction`] is this value.
    #[must_use]
    pub fn with_fraction(fraction: f64) -> Self {
        Self {
            fraction,
            ..Self::default()
        }
    }

    /// Sets the clock.
    pub fn set(&self, time: Timestamp) {
        self.unix_millis
            .store(time.unix_millis(), Ordering::Relaxed);
    }

    /// The measurements up to now, in order.
    #[must_use]
    pub fn measured(&self) -> Vec<(Metric, Option<u64>)> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Metric, Option<u64>)>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ambient for TestAmbient {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.unix_millis.load(Ordering::Relaxed))
            .expect("it was set from a time")
    }

    fn unique_id(&self) -> String {
        format!("id-{}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn random_bits(&self) -> u64 {
        self.bits.fetch_add(1, Ordering::Relaxed)
    }

    fn measure(&self, _: &str, values: &[(Metric, Option<u64>)]) {
        self.lock().extend_from_slice(values);
    }
}

/// Runs a future in virtual time, in which waits take no real time. It is for tests that are not async
/// functions.
///
/// # Panics
/// If the runtime can't be built.
pub fn in_virtual_time<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("the runtime needs nothing of the system but memory")
        .block_on(case)
}

/// Like [`in_virtual_time`]. Also returns the log lines, as a function writes them.
///
/// # Panics
/// If the runtime can't be built.
pub fn logged<T>(case: impl Future<Output = T>) -> (T, Vec<Value>) {
    // While a process has one subscriber, a thread without it disables the spans and lines that it reaches first,
    // for all threads (`tracing_core::callsite`). So there are two.
    let _other = Dispatch::new(NoSubscriber::new());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = telemetry::subscriber(move || writer.clone(), None);
    let result = tracing::subscriber::with_default(subscriber, || in_virtual_time(case));
    let written = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = serde_json::Deserializer::from_slice(&written).into_iter::<Value>();
    let lines = lines.collect::<Result<_, _>>().expect("lines of JSON");
    (result, lines)
}

/// Log lines in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        io::Write::write(&mut *written, line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error of a call whose response was lost; the call may have taken effect.
#[must_use]
pub fn lost_call() -> ServiceError {
    ServiceError::new("a call", "it was lost")
}

/// An invocation with this event, whose deadline is one minute after this clock's time.
///
/// # Panics
/// If the clock's time is before 1970.
#[must_use]
pub fn invocation(ambient: &TestAmbient, event: &Value) -> LambdaEvent<Bytes> {
    let mut context = Context::default();
    let now = u64::try_from(ambient.now().unix_millis()).expect("after 1970");
    context.deadline = now + 60_000;
    LambdaEvent::new(event.to_string().into(), context)
}
