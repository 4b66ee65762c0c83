//! The translator: DynamoDB Stream records in, domain events on Kinesis out, in order per
//! aggregate.
//!
//! It stands between the events table, which is private, and the domain stream, which everyone may
//! read. It treats stream records as news, not as truth: the stream promises no order between two
//! rows of one aggregate, delivers more than once, and forgets after a day. The truth is the events
//! table, and how far each aggregate is published stands in its publication cursor.
//!
//! * [`handler`]: the invocation's records to [change notifications](notification), and the batch's
//!   outcome to the response;
//! * [`service`]: the steps of a batch;
//! * `publication`: one aggregate's state machine: which event comes next, and from where;
//! * [`publishing`]: ordered publishing with retries;
//! * [`cursor`]: the publication cursor;
//! * [`ports`]: the services as traits; [`adapters`]: AWS behind them, and [`run`], the Lambda function.
//!
//! Invariant: no put carries two events of one aggregate, and an event is put only after the one
//! before it was acknowledged.
//!
//! Invariant: a cursor never passes what Kinesis has acknowledged.

pub mod adapters;
pub mod config;
pub mod cursor;
pub mod handler;
pub mod notification;
pub mod ports;
mod publication;
pub mod publishing;
pub mod service;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::lambda::run;
pub use publication::{Counters, MAX_READY_BYTES};
