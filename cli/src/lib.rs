//! The `millrace` command: the commands around the local stack (`millrace-local-stack`), and those of
//! operators.
//!
//! The operator's commands, in `operate`, inspect and repair a deployment. They read the tables, publish and
//! project with the libraries of the functions.
//!
//! Invariant: this crate doesn't implement how events are stored, published or projected.
//!
//! # Use
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use millrace_cli::Application;
//! use millrace_cli::output::Output;
//! use millrace_domain::{Accounts, SettingError};
//! use millrace_local_stack::progress::Progress;
//! use millrace_local_stack::stack::Local;
//!
//! struct AccountsApp;
//!
//! impl Application for AccountsApp {
//!     type Domain = Accounts;
//!     type SettingError = SettingError;
//!
//!     const PACKAGE: &'static str = env!("CARGO_PKG_NAME");
//!     const NOUN: &'static str = "account";
//!     const FIRST_COMMANDS: &'static str = "curl -X POST $API/accounts";
//!
//!     fn domain(setting: impl Fn(&str) -> Option<String>) -> Result<Accounts, SettingError> {
//!         Accounts::read(setting)
//!     }
//!
//!     async fn walkthrough(_: &Local, output: Output, _: &Progress) -> anyhow::Result<()> {
//!         output.text("An account is opened, …")
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     millrace_cli::run::<AccountsApp>().await
//! }
//! ```

pub mod application;
pub mod args;
pub mod athena;
mod chart;
pub mod clients;
mod commands;
mod event_line;
pub mod follower;
pub mod named_query;
pub mod operate;
pub mod output;
mod signals;
mod terminal;

pub use application::Application;
pub use commands::run;
