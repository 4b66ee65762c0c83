//! The archiver over a delivery stream in memory, and its adapter over mocked responses.

mod accounts;
mod adapters;
mod behaviour;
mod handler;
mod limits;
