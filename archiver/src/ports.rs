//! The service that the archiver calls, as a trait.

use std::future::Future;

use millrace_runtime::ServiceError;
use millrace_runtime::batch_put::RecordOutcome;

/// A Firehose record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The position in the batch of the stream record of the first lake record.
    pub first: usize,
    /// The lake records, each one line.
    pub data: Vec<u8>,
}

/// Sends records to the delivery stream.
pub trait Delivery: Send + Sync {
    /// Sends records in one call. The archiver keeps to Firehose's limits: 500 records, 1,000 KiB in
    /// each and 4 MiB in all. The response has one entry per record, in order; only an `Ok` says that
    /// Firehose has accepted the record.
    ///
    /// # Errors
    /// [`ServiceError`] if the call failed as a whole. Firehose may have accepted the records all the
    /// same.
    fn put(
        &self,
        records: &[Packed],
    ) -> impl Future<Output = Result<Vec<RecordOutcome>, ServiceError>> + Send;
}
