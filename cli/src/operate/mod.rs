//! The commands that inspect and repair a deployment, local or on AWS.
//!
//! The events table is the source of truth, the publication cursor records through which sequence each
//! aggregate is published, and every consumer has a sequence gate. So every repair publishes or projects
//! events from the table again. It is safe at any time, and can be repeated.
//!
//! The work of a command is generic over [`ports`], so that a simulation can run it with simulated services.
//! The functions that the command line calls print the results and determine the exit status.
//!
//! `replay` doesn't repair anything: it sends published events to one consumer.
//!
//! No command writes to the events table: people decide how a wrong row is repaired.

pub mod aggregates;
mod athena;
pub mod checkpoint;
pub mod days;
pub(crate) mod deployment;
pub mod dynamodb;
pub mod fold;
pub mod histories;
pub(crate) mod inspect;
pub(crate) mod lake;
mod lambda;
#[cfg(test)]
mod memory;
mod outcome;
pub mod ports;
pub mod publish;
pub(crate) mod query;
pub mod rebuild;
pub(crate) mod reconcile;
mod records;
pub(crate) mod redrive;
pub(crate) mod replay;
pub mod replayer;
pub(crate) mod republish;
mod republish_cursors;
pub(crate) mod restore;
pub(crate) mod roles;
pub mod standing;
mod survey;
pub(crate) mod tail;
pub mod targets;
pub(crate) mod verify;

/// The number of aggregates that a command processes concurrently.
pub(crate) const CONCURRENCY: usize = 16;
