//! The reader over a read model in memory, and its adapter with a mocked DynamoDB client.

mod answers;
mod dynamodb;
mod fixtures;
mod handling;
mod pages;
mod shelves;
mod times;
mod waiting;
