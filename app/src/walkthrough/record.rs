//! The record that the walkthrough follows, and where it was found.

use std::time::Instant;

use serde_json::Value;

/// The record that is followed, and what every hop must show of it.
pub(super) struct Record {
    pub(super) account: String,
    pub(super) currency: String,
    pub(super) sequence: u64,
    pub(super) amount: i64,
    pub(super) balance: i64,
    pub(super) correlation_id: String,
}

/// Where the record was found.
pub(super) struct Found {
    pub(super) at: Instant,
    pub(super) place: String,
    pub(super) data: Value,
}

impl Record {
    /// The event's id.
    pub(super) fn event_id(&self) -> String {
        format!("{}:{}", self.account, self.sequence)
    }
}
