//! The services that the reconciler needs besides the translator's own.
//!
//! Every method is one call of a service. Loops over pages and retries are the caller's.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use millrace_core::{Attributes, Domain, Timestamp};
use millrace_projector::ports::Saved;
use millrace_runtime::{Ambient, Budget, ServiceError};
use millrace_translator::ports::{CursorStore, EventRows, Publisher};
use millrace_translator::service::{PendingOutcome, Translator};
use serde_json::Value;
use strum::IntoStaticStr;

/// How many parts the events table is enumerated in. Each part has a position of its own.
pub const SEGMENTS: u32 = 4;

/// The translator, generic over its services. The reconciler publishes only with the translator's code.
pub trait Publishes: Send + Sync {
    /// The domain, with its settings.
    type Domain: Domain;
    /// The events table.
    type Rows: EventRows;
    /// The publication cursors.
    type Cursors: CursorStore;
    /// Time and randomness.
    type Ambient: Ambient;

    /// The domain.
    fn domain(&self) -> &Self::Domain;
    /// The events table.
    fn rows(&self) -> &Self::Rows;
    /// The publication cursors.
    fn cursors(&self) -> &Self::Cursors;
    /// Time and randomness.
    fn ambient(&self) -> &Self::Ambient;

    /// [`Translator::publish_pending`].
    fn publish_pending(
        &self,
        aggregates: Vec<String>,
        budget: Budget,
    ) -> impl Future<Output = BTreeMap<String, PendingOutcome>> + Send;
}

impl<D, R, C, P, A> Publishes for Translator<D, R, C, P, A>
where
    D: Domain,
    R: EventRows,
    C: CursorStore,
    P: Publisher,
    A: Ambient,
{
    type Domain = D;
    type Rows = R;
    type Cursors = C;
    type Ambient = A;

    fn domain(&self) -> &D {
        &self.domain
    }

    fn rows(&self) -> &R {
        &self.rows
    }

    fn cursors(&self) -> &C {
        &self.cursors
    }

    fn ambient(&self) -> &A {
        &self.ambient
    }

    async fn publish_pending(
        &self,
        aggregates: Vec<String>,
        budget: Budget,
    ) -> BTreeMap<String, PendingOutcome> {
        Self::publish_pending(self, aggregates, budget).await
    }
}

/// A marker whose items a sparse index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Marker {
    /// A cursor whose publication is blocked.
    Blocked,
    /// A cursor whose pending events are the reconciler's to publish.
    Parked,
    /// A view that is stale.
    Stale,
}

/// One page of an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarkedPage {
    /// The aggregates, in the order of the times at which they were marked.
    pub ids: Vec<String>,
    /// The key from which the next page continues; `None` on the last page.
    pub after: Option<Attributes>,
}

/// The tables' indices, and the enumeration of the events table.
pub trait Tables: Send + Sync {
    /// One page of the aggregates with this marker in one of the index's
    /// [partitions](millrace_core::spread). An index is eventually consistent: the item itself says
    /// whether the marker is still there.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn marked(
        &self,
        marker: Marker,
        partition: u8,
        after: Option<&Attributes>,
    ) -> impl Future<Output = Result<MarkedPage, ServiceError>> + Send;

    /// The first id that follows `after` in a segment of the events table, in the table's own order;
    /// `None` at the segment's end. Reads one row, however many an aggregate has. An aggregate whose first
    /// row is written meanwhile may be left out.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn next_id(
        &self,
        segment: u32,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Option<String>, ServiceError>> + Send;

    /// The row with an aggregate's highest `Version`, read consistently; `None` if it has none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn newest_row(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;
}

/// The view table.
pub trait Views: Send + Sync {
    /// An aggregate's view item, read consistently; `None` if there is none.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn view(
        &self,
        aggregate: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// Writes the stale attributes of a view again, as
    /// [`ReadModel::set_stale`](millrace_projector::ports::ReadModel::set_stale) does.
    ///
    /// # Errors
    /// [`ServiceError`]: they may be written.
    fn mark_stale(
        &self,
        aggregate: &str,
        attributes: Attributes,
        read: &Attributes,
    ) -> impl Future<Output = Result<Saved, ServiceError>> + Send;
}

/// The stream that a mapping reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The events table's stream.
    Events,
    /// The domain stream.
    Domain,
}

/// An event source mapping as Lambda describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its id, a UUID.
    pub id: String,
    /// The name of the function that it invokes.
    pub function: String,
    /// The stream that it reads.
    pub source: Source,
    /// Lambda's state, such as `Enabled`.
    pub state: String,
    /// Lambda's last processing result, such as `OK`; absent until there is one.
    pub last_result: Option<String>,
}

/// The longest time that the response of a function is waited for: the timeout of the translator, the
/// projector and the archiver, and five seconds for the call.
pub const INVOCATION: Duration = Duration::from_secs(65);

/// Lambda: the mappings, and functions to invoke.
pub trait Functions: Send + Sync {
    /// All mappings that read this stream, those of other teams' functions included.
    ///
    /// # Errors
    /// [`ServiceError`]: some of them are not known.
    fn mappings(
        &self,
        source: Source,
    ) -> impl Future<Output = Result<Vec<Mapping>, ServiceError>> + Send;

    /// Invokes a function once, waits for at most [`INVOCATION`], and returns its response.
    ///
    /// # Errors
    /// [`ServiceError`]: the function could not be invoked, failed, or took too long. The function may
    /// have taken effect, and may still run.
    fn invoke(
        &self,
        function: &str,
        payload: &Value,
    ) -> impl Future<Output = Result<Value, ServiceError>> + Send;
}

/// An object of the failure bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// When it was written.
    pub written: Timestamp,
}

/// One page of the failure bucket's objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPage {
    /// The objects, by key.
    pub objects: Vec<ObjectInfo>,
    /// The last key, from which the next page continues; `None` on the last page.
    pub after: Option<String>,
}

/// The failure bucket: discarded batches as Lambda writes them.
pub trait FailureBucket: Send + Sync {
    /// One page of the objects whose key follows `after`.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn objects(
        &self,
        after: Option<&str>,
    ) -> impl Future<Output = Result<ObjectPage, ServiceError>> + Send;

    /// An object's content; `None` if it is gone.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn object(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, ServiceError>> + Send;
}

/// One page of the items of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredPage {
    /// The items, by name.
    pub items: Vec<(String, Attributes)>,
    /// Whether more items may follow the last one.
    pub more: bool,
}

/// The reconciler's own table: items by kind and name. Only the owner of the lease writes them.
pub trait Store: Send + Sync {
    /// Acquires the lease until `until`, unless another owner has it and it ends after `now`. Returns
    /// whether this owner has the lease.
    ///
    /// # Errors
    /// [`ServiceError`]: this owner may have the lease. It expires.
    fn acquire(
        &self,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<bool, ServiceError>> + Send;

    /// Releases the lease if this owner has it.
    ///
    /// # Errors
    /// [`ServiceError`]: the lease may be unchanged. It expires.
    fn release(&self, owner: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// An item, read consistently.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn item(
        &self,
        kind: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Attributes>, ServiceError>> + Send;

    /// Replaces an item.
    ///
    /// # Errors
    /// [`ServiceError`]: the item may be replaced.
    fn put_item(
        &self,
        kind: &str,
        name: &str,
        attributes: Attributes,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Removes an item.
    ///
    /// # Errors
    /// [`ServiceError`]: the item may be removed.
    fn delete_item(
        &self,
        kind: &str,
        name: &str,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// One page of the items of a kind whose name follows `after`, read consistently.
    ///
    /// # Errors
    /// [`ServiceError`]: nothing was read.
    fn items(
        &self,
        kind: &str,
        after: Option<&str>,
    ) -> impl Future<Output = Result<StoredPage, ServiceError>> + Send;
}

/// All services that the reconciler needs besides the translator's.
pub trait Services: Tables + Views + Functions + FailureBucket + Store {}

impl<S: Tables + Views + Functions + FailureBucket + Store> Services for S {}
