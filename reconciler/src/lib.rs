//! The reconciler finds and repairs problems without waiting for another event of the aggregate, and reports them
//! until they are resolved.
//!
//! The translator and the consumers work when a stream delivers a record. An aggregate that is blocked,
//! an aggregate whose notification was lost, a view that is stale, a batch that Lambda has discarded, and
//! a mapping that is disabled have one thing in common: if no further event arrives, no function is
//! invoked that could notice. A schedule invokes the reconciler.
//!
//! * [`handler`]: the invocation: its event, and the report as its response;
//! * [`service`]: the steps of a run, under a lease, so that no two runs overlap;
//! * `suspended`: blocked and parked aggregates, which an index lists;
//! * `views`: stale views, which an index lists, and the events that a view lacks;
//! * [`discarded`] and `batches`: batches that Lambda has put into the failure bucket;
//! * [`mapping`]: the health of the mappings;
//! * `pass`: the slow pass over all aggregates, which continues from run to run;
//! * [`report`]: what a run found, as JSON;
//! * [`state`]: what is stored between runs;
//! * [`ports`]: the services as traits;
//! * [`adapters`]: the traits' implementations on AWS, and [`run`], the Lambda function.
//!
//! Invariant: what is published is published by the translator's own code, so its order and its cursor
//! rules hold.
//!
//! Invariant: a source that could not be read has no gauge, and is named in the report.
//!
//! # Use
//!
//! The reconciler is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//! use millrace_runtime::variables;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let accounts = Accounts::read(variables::lookup)?;
//!     Ok(millrace_reconciler::run(accounts).await?)
//! }
//! ```

pub mod adapters;
mod batches;
pub mod config;
pub mod discarded;
pub mod handler;
pub mod mapping;
mod pass;
pub mod ports;
pub mod report;
pub mod service;
pub mod state;
mod suspended;
#[cfg(feature = "testing")]
pub mod testing;
mod views;

pub use adapters::lambda::run;
