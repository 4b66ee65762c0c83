//! Operating a deployment, local or on AWS: seeing how far each aggregate is, and mending it.
//!
//! The events table is the truth, the publication cursor says how far each aggregate is published,
//! and every consumer gates by sequence. So every repair is the same move, publishing or projecting
//! again from the table, and is safe at any time and as often as one likes.
//!
//! What a command does is generic over [`ports`], so that a simulation can run it over simulated
//! services; the functions that the command line calls print it and choose the exit status.
//!
//! Left out on purpose: writing to the events table. What is wrong there is for people to decide.

pub mod aggregates;
pub mod checkpoint;
pub(crate) mod deployment;
pub mod dynamodb;
pub mod fold;
pub(crate) mod inspect;
pub(crate) mod lake;
#[cfg(test)]
mod memory;
mod outcome;
pub mod ports;
pub mod publish;
pub mod rebuild;
pub(crate) mod reconcile;
pub(crate) mod redrive;
mod replay;
pub(crate) mod republish;
pub(crate) mod roles;
pub mod standing;
pub(crate) mod tail;
pub(crate) mod verify;

/// How many aggregates are worked on side by side.
pub(crate) const CONCURRENCY: usize = 16;
