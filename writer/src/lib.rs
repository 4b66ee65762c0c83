//! The writer: commands over HTTP in, rows of the events table out.
//!
//! It stands at the beginning of the flow. It decides a command against the aggregate's newest rows
//! and appends under the condition that no other writer has appended meanwhile; after a version
//! conflict it reloads the rows and decides again. What was appended reaches the world through the
//! translator, so nothing here publishes anything.
//!
//! * [`handler`]: API Gateway's event to a request, and the answer back.
//! * [`request`], [`precondition`]: what a request must be before a service is asked anything.
//! * [`execute`]: load, decide, append, and again after a version conflict; what an answer may say.
//! * [`idempotency`]: the outcome of a command that carried a key, kept for its repeats.
//! * [`store`]: what is read and appended; [`dynamodb`] puts the tables behind it.
//!
//! Invariant: an answer of status 2xx means that exactly one command's events are in the table, and
//! any other answer but 503 means that none of it is. After a 503 that is unknown, and repeating the
//! request with the same `Idempotency-Key` is what clears it up.

pub mod config;
pub mod dynamodb;
pub mod execute;
pub mod handler;
pub mod idempotency;
pub mod precondition;
pub mod request;
pub mod store;
