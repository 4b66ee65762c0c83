//! The services that the translator needs: the events table, the publication cursors, the domain stream.

use std::collections::HashMap;
use std::future::Future;

use millrace_core::{Attributes, DecodeError, Version};
use millrace_runtime::ServiceError;

use crate::cursor::{Block, Cursor};

/// The most aggregates that one [`CursorStore::load`] takes
/// ([BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html)).
pub const MAX_LOADED: usize = 100;

/// The most records of one put
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)).
pub const MAX_RECORDS: usize = 500;

/// The most bytes of one put, data and partition keys together, before base64
/// ([PutRecords](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html)).
pub const MAX_PUT_BYTES: usize = 10 * 1024 * 1024;

/// The most bytes of one record, data and partition key together, before base64: what every stream
/// takes. The setting `MaxRecordSizeInKiB` raises a stream's limit to 10 MiB at most
/// ([large records](https://docs.aws.amazon.com/streams/latest/dev/large-records.html)). The
/// translator keeps to the default whatever the setting is, so that every consumer can rely on it.
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
    /// One page of the rows whose `Version` lies above `after` and below `before`, where these are
    /// given. A row may have a `Version` that isn't a whole number; it is among them.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn page(
        &self,
        aggregate: &str,
        after: Option<Version>,
        before: Option<Version>,
    ) -> impl Future<Output = Result<Page, ServiceError>> + Send;

    /// The row whose `Version` is this number, as stored; `None` where there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn row(
        &self,
        aggregate: &str,
        version: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;
}

/// What one [`CursorStore::load`] returned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The cursors that there are; one that can't be read comes as the error that says why. An
    /// aggregate that has no cursor and isn't unprocessed is left out.
    pub found: HashMap<String, Result<Cursor, DecodeError>>,
    /// The aggregates that have to be asked for again.
    pub unprocessed: Vec<String>,
}

/// Where cursors are kept.
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

    /// Replaces the stored cursor, which was `read` before, if its block is still the one that was read.
    ///
    /// If the stored cursor has got as far and this cursor isn't blocked, nothing is written: the
    /// stored cursor contains all that this one does, and its block stays. A block that says that the
    /// cursor is ahead is saved only if the position is the one that was read: the cursor may have been
    /// reset.
    ///
    /// # Errors
    /// [`ServiceError`]: the cursor may stand where it was; publishing again from there is safe. It
    /// is also the answer where someone else has blocked it, lifted its block or passed it, and what
    /// was decided here rests on what was read before: then it is to be read again.
    fn save(
        &self,
        aggregate: &str,
        cursor: &Cursor,
        read: &Cursor,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Marks an aggregate whose cursor can't be understood, and leaves the rest as it is.
    ///
    /// # Errors
    /// [`ServiceError`]: the mark may be missing.
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
    /// The envelope's bytes.
    pub data: Vec<u8>,
}

impl Record {
    /// What Kinesis counts of the record, in bytes: data and partition key.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// Kinesis did not store a record: throttled, or an internal failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub struct Rejected {
    /// Kinesis' own error code.
    pub code: String,
}

/// Why a put failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The service failed, or refuses every call at present: the records are put again. They may be
    /// stored all the same.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The service refuses this call for what it contains, such as a record that is too large, and
    /// has stored nothing. Put again it would be refused again.
    #[error("the call was refused: {code}")]
    Refused {
        /// The service's own error code.
        code: String,
    },
}

/// Puts records on the stream.
pub trait Publisher: Send + Sync {
    /// Puts up to [`MAX_RECORDS`] records of up to [`MAX_RECORD_BYTES`] each and [`MAX_PUT_BYTES`]
    /// together in one call. The answer has one entry per record, in order; only an `Ok` says that
    /// the record is stored.
    ///
    /// # Errors
    /// [`PutError`] when the call failed as a whole.
    fn put(
        &self,
        records: &[Record],
    ) -> impl Future<Output = Result<Vec<Result<(), Rejected>>, PutError>> + Send;
}
