//! The local stack: an AWS emulator on this machine, with the CDK app deployed to it.
//!
//! * [`prerequisites`]: the programs that must be installed;
//! * [`setup`]: the Python and Node environments and the Lambda functions, each set up once;
//! * [`stack`]: the emulator and the deployment;
//! * [`Workspace`]: the repository that the functions and the CDK app are built from;
//! * [`progress`]: shows the progress of set-up and deployment;
//! * [`files`]: writes files so that a killed process never leaves an incomplete file.
//!
//! # Use
//!
//! A test starts a stack of its repository, sends commands, and stops the stack:
//!
//! ```no_run
//! use millrace_local_stack::Workspace;
//! use millrace_local_stack::stack::{LocalStack, Options};
//!
//! # async fn test() -> anyhow::Result<()> {
//! let state = std::env::temp_dir().join("stack-of-a-test");
//! let stack = LocalStack::start(Options::new(Workspace::find()?, state)).await?;
//! println!("POST {}/orders", stack.local().api_url);
//! stack.stop()?;
//! # Ok(())
//! # }
//! ```

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
