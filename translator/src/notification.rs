//! The change notifications of a batch: rows that may be events, by aggregate, in row order.

use std::collections::BTreeMap;

use millrace_core::row::{self, is_plainly_a_snapshot};
use millrace_core::{Attribute, Attributes, DecodeError, Domain, StoredRowOf, Version};
use millrace_runtime::isolated;

/// A change notification: a row that was inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InsertedRow {
    /// The stream record's position in the batch.
    pub position: usize,
    /// The row's hash key, as stored.
    pub aggregate: String,
    /// The row.
    pub image: Attributes,
}

/// A row after decoding, which may have failed.
pub(crate) struct RowImage<D: Domain> {
    /// Its version; `None` if `Version` can't be read.
    pub(crate) version: Option<Version>,
    /// `Version` as stored; a block names the row by it.
    pub(crate) stored_version: Option<String>,
    /// The event or snapshot, or the error if the row can't be decoded.
    pub(crate) row: Result<StoredRowOf<D>, DecodeError>,
}

/// A batch's notifications of one aggregate.
pub(crate) struct Notifications<D: Domain> {
    /// The position of the aggregate's first record in the batch. If the aggregate is incomplete, the
    /// batch is delivered again from there or from an earlier record.
    pub(crate) first_position: usize,
    /// The rows, sorted by version, without duplicates; rows whose version can't be read are last.
    pub(crate) images: Vec<RowImage<D>>,
}

impl<D: Domain> RowImage<D> {
    /// Decodes a row. A domain's code that panics makes the row undecodable.
    pub(crate) fn read(domain: &D, attributes: &Attributes) -> Self {
        let stored_version = match attributes.get(row::VERSION) {
            Some(Attribute::Number(number)) => Some(number.clone()),
            Some(_) | None => None,
        };
        Self {
            version: row::version(attributes).ok(),
            stored_version,
            row: isolated(|| StoredRowOf::<D>::read(domain, attributes))
                .unwrap_or_else(|_| Err(DecodeError::whole("decoding the row panicked"))),
        }
    }

    /// Whether both are the same row. Where comparing them panics, both are kept.
    fn is_same(&self, other: &Self) -> bool {
        (self.version, &self.stored_version) == (other.version, &other.stored_version)
            && isolated(|| self.row == other.row).unwrap_or(false)
    }
}

/// Groups the rows by aggregate and sorts each group by version. Plain snapshots are left out; the
/// mapping's filter already discards most of them before the function is invoked.
pub(crate) fn by_aggregate<D: Domain>(
    inserted: Vec<InsertedRow>,
    domain: &D,
) -> BTreeMap<String, Notifications<D>> {
    let mut notifications: BTreeMap<String, Notifications<D>> = BTreeMap::new();
    for InsertedRow {
        position,
        aggregate,
        image,
    } in inserted
    {
        if is_plainly_a_snapshot(&image) {
            continue;
        }
        notifications
            .entry(aggregate)
            .or_insert_with(|| Notifications {
                first_position: position,
                images: Vec::new(),
            })
            .images
            .push(RowImage::read(domain, &image));
    }
    for Notifications { images, .. } in notifications.values_mut() {
        images.sort_by_key(|image| (image.version.is_none(), image.version));
        images.dedup_by(|later, earlier| later.is_same(earlier));
    }
    notifications
}
