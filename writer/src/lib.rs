//! The writer receives commands over HTTP and appends rows to the events table.
//!
//! It decides a command on the aggregate's newest rows, and appends only if no other writer has appended
//! in the meantime. After a version conflict it reloads the rows and decides again. The writer publishes
//! nothing: the translator publishes the appended events.
//!
//! * [`handler`]: converts API Gateway's event to a request, and the response back.
//! * [`service`]: loads, decides and appends, again after a version conflict; determines the response.
//! * `request`, `precondition`: check a request before any call to a service.
//! * [`idempotency`]: the stored outcome of a command that had an idempotency key, for its duplicates.
//! * [`ports`]: the tables as a trait.
//! * [`adapters`]: the trait's implementation on DynamoDB, and the Lambda function.
//! * `testing` (feature `testing`): the tables in memory.
//!
//! Invariant: a response with status 2xx means that the command's events are in the table exactly once.
//! Any other response but 503 means that none of its events are in the table. After a 503 this is
//! unknown; the client finds it out with the same request and the same `Idempotency-Key`.
//!
//! # Use
//!
//! The writer is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//! use millrace_runtime::variables;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let accounts = Accounts::read(variables::lookup)?;
//!     Ok(millrace_writer::run(accounts).await?)
//! }
//! ```

pub mod adapters;
mod config;
pub mod handler;
pub mod idempotency;
pub mod ports;
mod precondition;
mod request;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::lambda::run;
