//! The projector: a consumer of the domain stream that keeps the read models.
//!
//! Like any other consumer, it knows domain events only. Delivery is at least once; core's
//! [sequence gate](millrace_core::SequenceGate) lets each event be applied once and in order.
//!
//! * [`handler`]: Lambda's batches to [records](millrace_runtime::kinesis), and the outcome to the
//!   response;
//! * [`service`]: the steps of a batch;
//! * [`stale`]: why a view is stale; [`history`]: history items in calls within DynamoDB's limits;
//! * [`ports`]: the read models as a trait; [`adapters`]: AWS behind it, and [`run`], the Lambda
//!   function.
//!
//! Left out on purpose: repairing a gap. Missing events come through the stream again
//! (`millrace republish`), for all consumers alike.
//!
//! Invariant: a view at sequence n is the fold of the events 1 to n, and only a write that is
//! conditional on the revision that was read changes it.

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
