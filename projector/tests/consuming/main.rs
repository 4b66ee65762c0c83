//! The projector over read models in memory, and its adapter over mocked answers.

mod dynamodb;
mod handling;
mod limits;
mod memory;
mod projecting;
