//! The writer over tables in memory, and its adapter with a mocked DynamoDB client.

mod ambiguity;
mod commands;
mod dynamodb;
mod fixtures;
mod handling;
mod idempotency;
mod input;
mod limits;
mod shelves;
