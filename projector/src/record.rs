//! A record of the domain stream as the two consumers see it.

use millrace_domain::Timestamp;

/// A record, at its place in the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its place in the batch.
    pub position: usize,
    /// What the stream calls it; unique to it.
    pub stream_id: String,
    /// The aggregate's id, where one of ours has put it.
    pub partition_key: String,
    /// When it came onto the stream.
    pub arrival: Option<Timestamp>,
    /// The event, or whatever somebody has put.
    pub data: Vec<u8>,
}
