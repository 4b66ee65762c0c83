//! The translator: DynamoDB Stream records in, domain events on Kinesis out, in order per
//! aggregate.
//!
//! It stands between the events table, which is private, and the domain stream, which everyone may
//! read. It treats stream records as news, not as truth: the stream promises no order between two
//! rows of one aggregate, delivers more than once, and forgets after a day. The truth is the events
//! table, and how far each aggregate is published stands in its publication cursor.
//!
//! * [`handler`]: the invocation's records to [`news`], and the batch's outcome to the answer.
//! * [`batch`]: what is done with a batch, step by step.
//! * [`run`]: one aggregate's way: which row comes next, and from where.
//! * [`publish`]: ordered publishing with retries.
//! * [`cursor`], [`rows`]: what is kept and read elsewhere; [`dynamodb`] and [`kinesis`] put the
//!   services behind them.
//!
//! Invariant: no put carries two events of one aggregate, and an event is put only after the one
//! before it was acknowledged.
//!
//! Invariant: a cursor never passes what Kinesis has acknowledged.

pub mod batch;
pub mod config;
pub mod cursor;
pub mod dynamodb;
pub mod handler;
pub mod kinesis;
pub mod news;
pub mod publish;
pub mod rows;
pub mod run;
