//! The account that the walkthrough sends commands to, as the API's responses describe it.

/// The account after the last accepted command.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) sequence: u64,
    pub(super) balance: i64,
    pub(super) etag: String,
}
