//! The condition expressions of the functions' writes, with concurrent writers against the emulator's
//! DynamoDB. The deterministic simulation implements the conditions a second time in Rust; these tests check
//! that the expressions have the same meaning.

pub(crate) mod cursor;
pub(crate) mod lease;
pub(crate) mod view;
pub(crate) mod writer;
