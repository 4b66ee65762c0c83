//! The simulated tables: they implement the functions' traits, with DynamoDB's documented conditions,
//! transactions and consistent reads.

pub(crate) mod events;
pub(crate) mod operators;
pub(crate) mod read_model;
pub(crate) mod reader;
pub(crate) mod repair;
pub(crate) mod translator;
pub(crate) mod writer;
