//! The projector: a consumer of the domain stream that keeps the read models.
//!
//! It stands right of Kinesis and knows domain events only, as any other consumer. Delivery is at least
//! once; core's sequence gate lets each event through once.
//!
//! * [`handler`]: Lambda's batches to [records](millrace_runtime::kinesis), and the outcome to the answer.
//! * [`project`], [`stale`], [`history`], [`model`]: what is done with a batch; [`dynamodb`]
//!   implements the ports with the tables.
//!
//! Left out on purpose: repairing a gap. What is missing comes through the stream again
//! (`millrace republish`), for all consumers alike.
//!
//! Invariant: a view at sequence n is the fold of the events 1 to n, and only a write that is
//! conditional on the revision that was read changes it.

pub mod config;
pub mod dynamodb;
pub mod handler;
pub mod history;
pub mod model;
pub mod project;
pub mod stale;
