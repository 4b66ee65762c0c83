//! The writer over tables in memory, and its adapter over mocked answers of DynamoDB.

mod ambiguity;
mod commands;
mod dynamodb;
mod fixtures;
mod handling;
mod idempotency;
mod input;
mod limits;
mod shelves;
