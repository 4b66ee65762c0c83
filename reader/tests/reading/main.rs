//! The reader over a read model in memory, and its adapter over mocked answers of DynamoDB.

mod answers;
mod dynamodb;
mod fixtures;
mod handling;
mod pages;
mod shelves;
mod times;
mod waiting;
