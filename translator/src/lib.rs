//! The translator reads DynamoDB stream records and publishes domain events to Kinesis, in order per
//! aggregate.
//!
//! Its input is the stream of the events table, which is private. Its output is the domain stream,
//! which every consumer may read. It treats a stream record as a notification and not as the source
//! of truth: the stream promises no order between two rows of one aggregate, delivers records more
//! than once, and trims them after a day. The source of truth is the events table. An aggregate's
//! publication cursor contains the highest sequence that was published.
//!
//! * [`handler`]: converts the invocation's records to [change notifications](notification), and the
//!   batch's outcome to the response;
//! * [`service`]: the steps of a batch;
//! * `publication`: one aggregate's state machine: which event is next, and where it is read from;
//! * [`publishing`]: ordered publishing with retries;
//! * [`cursor`]: the publication cursor;
//! * [`published`]: reads the published events of an aggregate again, for programs that send them to one
//!   consumer;
//! * [`ports`]: the services as traits;
//! * [`adapters`]: the traits' implementations on AWS, and [`run`], the Lambda function.
//!
//! Invariant: no put contains two events of one aggregate, and an event is put only after the previous
//! event was acknowledged.
//!
//! Invariant: a cursor never passes what Kinesis has acknowledged.
//!
//! # Use
//!
//! The translator is a program of the application, with the application's domain:
//!
//! ```no_run
//! use millrace_domain::Accounts;
//! use millrace_runtime::variables;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let accounts = Accounts::read(variables::lookup)?;
//!     Ok(millrace_translator::run(accounts).await?)
//! }
//! ```

pub mod adapters;
pub mod config;
pub mod cursor;
pub mod handler;
pub mod notification;
pub mod ports;
mod publication;
pub mod published;
pub mod publishing;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::lambda::run;
pub use publication::{Counters, MAX_PENDING, MAX_READY_BYTES};
