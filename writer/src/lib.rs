//! The writer: commands over HTTP in, rows of the events table out.
//!
//! It stands at the beginning of the flow. It decides a command against the aggregate's newest rows
//! and appends under the condition that no other writer has appended meanwhile; after a version
//! conflict it reloads the rows and decides again. What was appended reaches the world through the
//! translator, so nothing here publishes anything.
//!
//! * [`handler`]: API Gateway's event to a request, and the answer back.
//! * [`service`]: load, decide, append, and again after a version conflict; what an answer may say.
//! * `request`, `precondition`: what a request must be before a service is asked anything.
//! * [`idempotency`]: the outcome of a command that carried a key, kept for its repeats.
//! * [`ports`]: what is read and appended; [`adapters`]: the tables, and the Lambda function.
//! * `testing` (feature `testing`): the tables in memory.
//!
//! Invariant: an answer of status 2xx means that exactly one command's events are in the table, and
//! any other answer but 503 means that none of it is. After a 503 that is unknown, and repeating the
//! request with the same `Idempotency-Key` is what clears it up.

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
