//! The way of this project: typed rows in one pass over the bytes.

use millrace_core::BorrowedRowOf;
use millrace_core::stream::read_records;
use millrace_domain::Accounts;

use crate::{accounts, published};

/// The rows of an event, as the translator's handler decodes them.
///
/// # Panics
/// If the event isn't one of [`stream_event`](crate::stream_event).
#[must_use]
pub fn decode(json: &[u8]) -> Vec<BorrowedRowOf<'_, Accounts>> {
    let (accounts, _) = accounts();
    let mut rows = Vec::new();
    let read = read_records(json, |_, record| {
        let row = BorrowedRowOf::<Accounts>::read_columns(&accounts, record.item());
        rows.push(row.expect("a row"));
    });
    read.expect("an event");
    rows
}

/// The bytes of the public events.
///
/// # Panics
/// Like [`decode`].
#[must_use]
pub fn translate(json: &[u8]) -> Vec<Vec<u8>> {
    published(&decode(json))
}
