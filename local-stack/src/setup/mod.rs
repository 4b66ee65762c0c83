//! The set-up before a stack can start. A step runs only if its inputs have changed since it last ran.
//!
//! Invariant: several processes may start the same step at once, and each may be killed at any time. A step
//! holds a lock while it runs, and writes its stamp last.

pub(crate) mod functions;
pub mod node;
pub mod python;
