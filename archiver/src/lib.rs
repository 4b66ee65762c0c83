//! The archiver: a consumer of the domain stream that sends events to Firehose for the lake.
//!
//! Like any other consumer, it knows domain events only. It is a function apart from the projector, so
//! that an outage of one sink never causes redeliveries to the other. Delivery is at least once: the lake
//! keeps duplicates, and `id` identifies them.
//!
//! * [`handler`]: Lambda's batches to [records](millrace_runtime::kinesis), and the outcome to the response.
//! * [`line`](mod@line), [`pack`], [`archive`]: records to lines, lines to Firehose records, and their delivery.
//! * [`firehose`]: the adapter of the delivery stream.
//!
//! Left out on purpose: repairing a gap. Missing events come through the stream again
//! (`millrace republish`), for all consumers alike.
//!
//! Invariant: a batch is acknowledged only up to the first record that Firehose has not acknowledged.

pub mod archive;
pub mod config;
pub mod firehose;
pub mod handler;
pub mod line;
pub mod pack;
