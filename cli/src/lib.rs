//! What the `millrace` command is made of: the local stack, and the commands around it.
//!
//! It stands outside the flow of events. It builds the functions, starts an AWS emulator, deploys
//! the one CDK app to it, and watches what travels through. The same library gives the end-to-end
//! tests their stack, through [`stack::LocalStack`].
//!
//! Left out on purpose: any knowledge of how events are stored or published. What is shown is read
//! through the public contracts, as any other client would read it.

pub mod args;
pub mod clients;
pub mod commands;
mod demo;
mod event_line;
mod files;
pub mod follower;
mod lock;
mod output;
pub mod prerequisites;
pub mod progress;
pub mod setup;
mod signals;
pub mod stack;
mod stamp;
mod tool;
mod version;
mod workspace;

pub use workspace::Workspace;
