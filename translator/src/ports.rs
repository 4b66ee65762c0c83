//! The services that the translator needs: the events table, the publication cursors, the domain stream.

use std::collections::HashMap;
use std::future::Future;

use millrace_core::{Attributes, DecodeError, TraceId, Version};
use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::RecordOutcome;

use crate::cursor::{Block, Cursor};

/// The most aggregates of one [`CursorStore::load`]
/// ([BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
pub const MAX_LOADED: usize = 100;

/// The most cursors of one [`CursorStore::advance`]
/// ([PartiQL batches](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.multiplestatements.batching.html)).
pub const MAX_ADVANCED: usize = 25;

/// The most rows of one page.
pub const MAX_PAGE_ROWS: usize = 500;

/// The most records of one put
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)).
pub const MAX_RECORDS: usize = 500;

/// The most bytes of one put, data and partition keys together, before base64
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)).
pub const MAX_PUT_BYTES: usize = 10 * 1024 * 1024;

/// The most bytes of one record, data and partition key together, before base64. Every stream accepts
/// this size. The setting `MaxRecordSizeInKiB` raises a stream's limit to 10 MiB at most
/// ([large records](https://docs.aws.amazon.com/streams/latest/dev/large-records.html)). The
/// translator keeps to the default even if the setting is higher, so that every consumer can rely on it.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Consecutive rows of one aggregate, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Attributes>,
    /// Whether more rows of the range may follow.
    pub more: bool,
}

/// Reads rows; every read is consistent.
pub trait EventRows: Send + Sync {
    /// One page of at most `limit` rows, from 1 to [`MAX_PAGE_ROWS`], whose `Version` is above `after` and
    /// below `before`, if these are given. The page includes rows whose `Version` isn't an integer.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, ServiceError>> + Send;

    /// The row whose `Version` is this number, as stored; `None` if there is no such row.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;
}

/// The result of one [`CursorStore::load`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The cursors by aggregate, or the error if a cursor can't be read. An aggregate that is neither
    /// here nor in `unprocessed` has no cursor.
    pub found: HashMap<String, Result<Cursor, DecodeError>>,
    /// The aggregates that the service left unprocessed; they have to be loaded again.
    pub unprocessed: Vec<String>,
}

/// How saving a cursor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The stored cursor contains everything that this cursor contains.
    Stored,
    /// Nothing is saved, because another invocation has blocked the cursor, lifted its block or passed
    /// it, and this cursor depends on the state before. The cursor has to be loaded again.
    Changed,
}

/// A cursor that [only advances](Cursor::only_advances).
#[derive(Debug, Clone, Copy)]
pub struct Advance<'a> {
    /// The aggregate's id.
    pub aggregate: &'a str,
    /// The cursor to be stored.
    pub cursor: &'a Cursor,
    /// The cursor that was loaded; the default if there was none.
    pub read: &'a Cursor,
}

impl Advance<'_> {
    /// Whether no cursor was stored when it was loaded.
    #[must_use]
    pub fn is_new(&self) -> bool {
        *self.read == Cursor::default()
    }
}

/// Loads and saves the publication cursors.
pub trait CursorStore: Send + Sync {
    /// The cursors of up to [`MAX_LOADED`] aggregates, read consistently in one call. The service may
    /// leave some of them unprocessed.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn load(
        &self,
        aggregates: &[&str],
    ) -> impl Future<Output = Result<Loaded, ServiceError>> + Send;

    /// Replaces the stored cursor if its block is still the block of `read`, the cursor that was loaded.
    ///
    /// If the stored cursor's sequence is as high as this cursor's and this cursor isn't blocked, nothing
    /// is written: the stored cursor contains everything that this cursor contains, and its block stays.
    /// A block that says that the cursor is ahead is saved only if the stored sequence is still that of
    /// `read`, because the cursor may have been reset.
    ///
    /// # Errors
    /// [`ServiceError`]: the cursor may be unchanged. Saving it again, and publishing again from its
    /// sequence, is safe.
    fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;

    /// Stores up to [`MAX_ADVANCED`] cursors that only advance, of different aggregates, in one call. Returns
    /// for each, in order, whether it is stored. A cursor is stored only if [`CursorStore::save`] would
    /// store it.
    ///
    /// A cursor that isn't stored, for whatever reason, is saved by [`CursorStore::save`] then. This
    /// implementation stores none; a store that saves each cursor in a call of its own needs no other.
    ///
    /// # Errors
    /// [`ServiceError`]: any of the cursors may be stored. Saving them again is safe.
    fn advance(
        &self,
        advances: &[Advance<'_>],
    ) -> impl Future<Output = Result<Vec<bool>, ServiceError>> + Send {
        std::future::ready(Ok(vec![false; advances.len()]))
    }

    /// Saves a block for an aggregate whose cursor can't be read or saved, and leaves the rest of the
    /// cursor unchanged.
    ///
    /// # Errors
    /// [`ServiceError`]: the block may not be saved.
    fn mark(
        &self,
        aggregate: &str,
        block: &Block,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// One record for Kinesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The aggregate's id.
    pub partition_key: String,
    /// The bytes of the event's envelope.
    pub data: Vec<u8>,
    /// The event's trace, for the log.
    pub trace_id: Option<TraceId>,
}

impl Record {
    /// The record's size in bytes as Kinesis counts it: data and partition key.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// Why a put failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The service failed, or refuses every call at present. The records may be stored or not; they are
    /// put again.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The service refuses this call because of its content, such as a record that is too large, and
    /// has stored nothing. It would refuse the same call again.
    #[error("the call was refused: {code}")]
    Refused {
        /// The service's own error code.
        code: String,
    },
}

/// Puts records to the domain stream.
pub trait Publisher: Send + Sync {
    /// Puts up to [`MAX_RECORDS`] records of up to [`MAX_RECORD_BYTES`] each and [`MAX_PUT_BYTES`]
    /// together in one call. Returns one entry per record, in order. A record is acknowledged only if its
    /// entry is `Ok`.
    ///
    /// # Errors
    /// [`PutError`] if the call failed as a whole.
    fn put(
        &self,
        records: &[Record],
    ) -> impl Future<Output = Result<Vec<RecordOutcome>, PutError>> + Send;
}
