//! The projector: a consumer of the domain stream that updates the read models.
//!
//! Like any other consumer, it knows domain events only. Delivery is at least once; with core's
//! [sequence gate](millrace_core::SequenceGate), the projector applies each event once and in order.
//!
//! * [`handler`]: converts Lambda's batches to [records](millrace_consumer::batch), and the outcome to
//!   the response;
//! * [`service`]: the steps of a batch;
//! * [`stale`]: the reasons why a view is stale;
//! * [`history`]: groups history items into calls within DynamoDB's limits;
//! * [`ports`]: the read models as a trait;
//! * [`adapters`]: the trait's implementation on AWS, and [`run`], the Lambda function.
//!
//! The projector doesn't repair a gap. `millrace republish` puts the missing events on the stream again,
//! for all consumers.
//!
//! Invariant: a view at sequence n is the fold of the events 1 to n, and only a write that is
//! conditional on the revision that was read changes it.
//!
//! # Use
//!
//! The projector is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Ok(millrace_projector::run::<Accounts>().await?)
//! }
//! ```

pub mod adapters;
mod config;
pub mod handler;
pub mod history;
pub mod ports;
pub mod service;
pub mod stale;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::lambda::run;
