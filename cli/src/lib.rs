//! The `millrace` command: the commands around the local stack (`millrace-local-stack`), and those of
//! operators.
//!
//! The operator's commands, in `operate`, see and mend a deployment: they read what the functions
//! keep through the functions' own libraries, and publish and project through them.
//!
//! Invariant: how events are stored, published and projected is written nowhere here.

pub mod application;
pub mod args;
pub mod athena;
pub mod clients;
mod commands;
mod event_line;
pub mod follower;
pub mod operate;
pub mod output;
mod signals;
mod terminal;

pub use application::Application;
pub use commands::run;
