//! The archiver over a delivery stream in memory, and its adapter over mocked responses.

mod archiving;
mod firehose;
mod handling;
mod limits;
mod memory;
