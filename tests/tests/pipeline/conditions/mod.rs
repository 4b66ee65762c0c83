//! The conditions of the functions' own writes, evaluated by the emulator's DynamoDB, with two racing
//! writers each. The deterministic simulation implements the conditions a second time in Rust; these tests
//! show that the expressions have the same meaning.

pub(crate) mod cursor;
pub(crate) mod lease;
pub(crate) mod view;
pub(crate) mod writer;
