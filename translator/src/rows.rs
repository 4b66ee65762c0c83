//! The events table as the translator reads it.

use std::future::Future;

use millrace_domain::{Attributes, Version};
use millrace_runtime::ServiceError;

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
