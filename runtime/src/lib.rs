//! What the Millrace functions share, independent of the domain: a trait for time and randomness, the
//! invocation's time budget, backoff, configuration, logs, metrics, AWS clients, the HTTP types of the
//! writer and the reader, the batches of a program that invokes a consumer itself, and the outcome of the
//! batch puts of the translator and the archiver.
//!
//! It contains nothing about events. Ordering, publishing and projecting are in the functions' crates,
//! and an aggregate's rules are in the domain.

pub mod ambient;
pub mod aws;
pub mod backoff;
pub mod batch_put;
pub mod budget;
pub mod dynamodb;
pub mod error;
pub mod http;
pub mod item_size;
pub mod items;
pub mod kinesis_event;
pub mod metrics;
pub mod panics;
pub mod raw_body;
pub mod retry;
pub mod start;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod variables;

pub use ambient::{Ambient, System};
pub use backoff::Backoff;
pub use budget::Budget;
pub use error::{Chain, ServiceError};
pub use panics::{Panicked, isolated, isolated_future};
pub use retry::{ConcurrentCalls, retry};
pub use start::StartError;
