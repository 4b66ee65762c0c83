//! The projector over read models in memory, and its adapter over mocked responses.

mod accounts;
mod adapters;
mod behaviour;
mod handler;
mod limits;
mod together;
mod unencodable;
