//! What the demo knows of the account that it follows: what it sent, and what it was answered.

/// The account, as the last accepted command left it.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) balance: i64,
    pub(super) etag: String,
}
