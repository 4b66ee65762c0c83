//! The record that the walkthrough follows, and the record as it was found at a stage.

use std::time::Instant;

use serde_json::Value;

/// The record that the walkthrough follows: the values that it must have at every stage.
pub(super) struct Record {
    pub(super) account: String,
    pub(super) currency: String,
    pub(super) sequence: u64,
    pub(super) amount: i64,
    pub(super) balance: i64,
    pub(super) correlation_id: String,
}

/// The record as it was found at one stage: when, where, and with which content.
pub(super) struct Found {
    pub(super) at: Instant,
    pub(super) place: String,
    pub(super) data: Value,
}

impl Record {
    /// The event's id: the account's id and the sequence.
    pub(super) fn event_id(&self) -> String {
        format!("{}:{}", self.account, self.sequence)
    }
}
