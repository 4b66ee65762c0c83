//! What the `millrace` command is made of: the local stack, and the commands around it.
//!
//! It stands outside the flow of events. It builds the functions, starts an AWS emulator, deploys
//! the one CDK app to it, and watches what travels through. The same library gives the end-to-end
//! tests their stack, through [`stack::LocalStack`].
//!
//! The operator's commands, in `operate`, see and mend a deployment: they read what the functions
//! keep through the functions' own libraries, and publish and project through them.
//!
//! Invariant: how events are stored, published and projected is written nowhere here.

pub mod args;
pub mod athena;
pub mod clients;
pub mod commands;
mod demo;
mod event_line;
mod files;
pub mod follower;
mod lock;
pub mod operate;
mod output;
pub mod prerequisites;
pub mod progress;
pub mod setup;
mod signals;
pub mod stack;
mod stamp;
mod terminal;
mod tool;
mod version;
mod workspace;

pub use workspace::Workspace;
