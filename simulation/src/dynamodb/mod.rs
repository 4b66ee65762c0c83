//! The tables: what DynamoDB promises of conditions, transactions and consistent reads, behind the
//! functions' own traits.

pub(crate) mod events;
pub(crate) mod operators;
pub(crate) mod read_model;
pub(crate) mod reader;
pub(crate) mod repair;
pub(crate) mod translator;
pub(crate) mod writer;
