//! The archiver: a consumer of the domain stream that sends events to Firehose for the lake.
//!
//! Like any other consumer, it knows domain events only. It and the projector are separate
//! functions, so that an outage of one sink never causes redeliveries to the other. Delivery is at least
//! once: the lake keeps duplicates, and `id` identifies them.
//!
//! * [`handler`]: converts Lambda's batches to [records](millrace_consumer::batch), and the outcome to
//!   the response;
//! * [`service`]: the steps of a batch;
//! * [`line`](mod@line): converts records of the domain stream to lake records, each one JSON line;
//! * `pack`: packs lake records into Firehose records;
//! * [`ports`]: the delivery stream as a trait;
//! * [`adapters`]: the trait's implementation on AWS, and [`run`], the Lambda function.
//!
//! The archiver doesn't repair a gap. `millrace republish` puts the missing events on the stream again,
//! for all consumers.
//!
//! Invariant: a batch is acknowledged only up to the first record that Firehose has not acknowledged.
//!
//! # Use
//!
//! The archiver is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Ok(millrace_archiver::run::<Accounts>().await?)
//! }
//! ```

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
