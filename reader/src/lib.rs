//! The reader: HTTP queries over the read model, the query side of CQRS.
//!
//! It stands at the end of the flow: the projector writes the read model from the domain stream,
//! the reader shows it. It never sees the events table, so a query costs the writer nothing and
//! may be a moment behind it; a client that can't have that says how far the answer has to reach
//! (`minSequence`).
//!
//! * [`handler`]: API Gateway's events in and out.
//! * [`service`]: a request to a response, statuses and headers; in modules of its own, the view once
//!   it is as new as the client needs it (`fresh`), and the two queries over the history (`page`,
//!   `view_at`).
//! * `query`: what a request asks for.
//! * [`ports`]: the read model as a trait; [`adapters`]: the tables, and the Lambda function.
//! * `testing` (feature `testing`): the read model in memory.
//!
//! Invariant: an answer tells of events up to the view's sequence and of none behind it. The
//! projector writes history first, so entries may be there early; the queries agree because all of
//! them start from the view.
//!
//! Invariant: every read is consistent, so a later query never knows less than an earlier one.
//!
//! Left out on purpose: what an aggregate is and how it looks in JSON (the domain), and who may ask
//! (API Gateway's authorizer).

pub mod adapters;
mod config;
mod fresh;
pub mod handler;
mod page;
pub mod ports;
mod query;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;
mod view_at;

pub use adapters::lambda::run;
