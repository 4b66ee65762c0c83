//! The two consumers over services in memory, and their adapters over mocked answers.

mod archiving;
mod dynamodb;
mod firehose;
mod handling;
mod limits;
mod memory;
mod projecting;
