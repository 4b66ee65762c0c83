//! The conditions of the functions' own writes, evaluated by the emulator's DynamoDB, with two racing
//! writers each. The fault simulation has conditions of its own, typed again in Rust; these tests say
//! that the expressions mean the same.

pub(crate) mod cursor;
pub(crate) mod lease;
pub(crate) mod view;
pub(crate) mod writer;
