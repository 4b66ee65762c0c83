//! The reader: HTTP queries over the read model, the query side of CQRS.
//!
//! It stands at the end of the flow: the projector writes the read model from the domain stream,
//! the reader shows it. It never sees the events table, so a query costs the writer nothing and
//! may be a moment behind it; a client that can't have that says how far the answer has to reach
//! (`minSequence`).
//!
//! * [`handler`]: API Gateway's events in and out.
//! * [`answer`]: a request to a response, statuses and headers.
//! * [`query`]: what is asked.
//! * [`fresh`]: the view, once it is as new as the client needs it.
//! * [`page`], [`value_at`]: the two queries over the history.
//! * [`store`]: the read model as a trait; [`dynamodb`] puts the tables behind it.
//!
//! Invariant: an answer tells of events up to the view's sequence and of none behind it. The
//! projector writes history first, so lines may stand there early; the queries agree because all of
//! them start from the view.
//!
//! Invariant: every read is consistent, so a later query never knows less than an earlier one.
//!
//! Left out on purpose: what an aggregate is and how it looks in JSON (the domain), and who may ask
//! (API Gateway's authorizer).

pub mod answer;
pub mod config;
pub mod dynamodb;
pub mod fresh;
pub mod handler;
#[cfg(test)]
mod memory;
pub mod page;
pub mod query;
pub mod store;
pub mod value_at;
