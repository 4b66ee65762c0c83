//! What is set up before a stack can start, each step at most once for the same inputs.
//!
//! Invariant: a step may run in several processes at once, and be killed at any moment. Each holds
//! a lock while it works and leaves its stamp last.

pub(crate) mod functions;
pub mod node;
pub mod python;
