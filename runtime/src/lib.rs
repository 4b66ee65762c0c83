//! What every Millrace function needs and no domain decides: time and randomness behind one seam,
//! the invocation's time budget, backoff, configuration, logs, metrics, AWS clients, the HTTP that the
//! writer and the reader share, the Kinesis batches that the consumers share,
//! and the outcome of the batch puts of the translator and the archiver.
//!
//! Left out on purpose: anything about events. Ordering, publishing and projecting are in the
//! functions, and what an aggregate is, in the domain.

pub mod ambient;
pub mod aws;
pub mod backoff;
pub mod batch_put;
pub mod budget;
pub mod dynamodb;
pub mod error;
pub mod http;
pub mod item_size;
pub mod kinesis;
pub mod metrics;
pub mod panics;
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
