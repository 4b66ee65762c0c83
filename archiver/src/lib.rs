//! The archiver: a consumer of the domain stream that sends events to Firehose for the lake.
//!
//! Like any other consumer, it knows domain events only. It is a function apart from the projector, so
//! that an outage of one sink never causes redeliveries to the other. Delivery is at least once: the lake
//! keeps duplicates, and `id` identifies them.
//!
//! * [`handler`]: Lambda's batches to [records](millrace_runtime::kinesis), and the outcome to the
//!   response;
//! * [`service`]: the steps of a batch;
//! * [`line`](mod@line) and `pack`: records to lines, and lines to Firehose records;
//! * [`ports`]: the delivery stream as a trait; [`adapters`]: AWS behind it, and [`run`], the Lambda
//!   function.
//!
//! Left out on purpose: repairing a gap. Missing events come through the stream again
//! (`millrace republish`), for all consumers alike.
//!
//! Invariant: a batch is acknowledged only up to the first record that Firehose has not acknowledged.

pub mod adapters;
mod config;
pub mod handler;
pub mod line;
mod pack;
pub mod ports;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::lambda::run;
