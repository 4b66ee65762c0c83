//! Two consumers of the domain stream: the projector, which keeps the read models, and the archiver,
//! which hands events to Firehose for the lake.
//!
//! They stand right of Kinesis and know domain events only, as any other consumer. They are functions
//! apart, so that one sink's outage never replays into the other. Delivery is at least once, so each
//! has its way with repeats: the projector's [`gate`] lets each event through once, the lake keeps
//! repeats and shows them by their `id`.
//!
//! * [`handler`]: Lambda's batches to [records](millrace_runtime::kinesis), and the outcome to the answer.
//! * [`gate`], [`project`], [`stale`], [`history`], [`model`]: the projector; [`dynamodb`] implements its
//!   ports with the tables.
//! * [`line`], [`pack`], [`archive`]: the archiver; [`firehose`] puts the delivery stream behind it.
//!
//! Left out on purpose: repairing a gap. What is missing comes through the stream again
//! (`millrace republish`), for all consumers alike.
//!
//! Invariant: a view at sequence n is the fold of the events 1 to n, and only a write that is
//! conditional on the revision that was read changes it.

pub mod archive;
pub mod config;
pub mod dynamodb;
pub mod firehose;
pub mod gate;
pub mod handler;
pub mod history;
pub mod line;
pub mod model;
pub mod pack;
pub mod project;
pub mod stale;
