//! The local stack: an AWS emulator with the CDK app deployed to it, on this machine.
//!
//! * [`prerequisites`]: what has to be installed;
//! * [`setup`]: the Python and Node environments and the Lambda functions, each set up once;
//! * [`stack`]: the emulator and the deployment; [`Workspace`]: the checkout that they are built from;
//! * [`progress`]: what is shown while that lasts; [`files`]: files that a kill can't cut short.

pub mod files;
mod lock;
pub mod names;
pub mod prerequisites;
pub mod progress;
pub mod setup;
pub mod stack;
mod stamp;
mod tool;
mod version;
mod workspace;

pub use workspace::Workspace;
