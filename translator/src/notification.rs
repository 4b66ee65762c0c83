//! The change notifications of a batch: rows that may be events, by aggregate, in row order.

use std::borrow::Cow;
use std::collections::BTreeMap;

use millrace_core::row::{self, SNAPSHOT};
use millrace_core::{
    Attribute, Attributes, BorrowedRowOf, Columns, DecodeError, Domain, StoredRow, TraceId,
    TraceParent, Version,
};
use millrace_runtime::isolated;

/// A change notification: a row that was inserted. Its strings may be borrowed from the invocation's
/// bytes.
#[derive(Debug)]
pub struct InsertedRow<'c, 'a> {
    /// The stream record's position in the batch.
    pub position: usize,
    /// The row's hash key, as stored.
    pub aggregate: Cow<'a, str>,
    /// The row. Decoding it changes the columns to those of the current schema version.
    pub columns: &'c mut Columns<'a>,
}

/// The change notifications of a batch. Each row is decoded when it is added, and only what the
/// translator needs of it is kept.
pub struct ChangeNotifications<'a, D: Domain>(BTreeMap<Cow<'a, str>, Notifications<'a, D>>);

/// A row after decoding, which may have failed.
pub(crate) struct RowImage<'a, D: Domain> {
    /// Its version; `None` if `Version` can't be read.
    pub(crate) version: Option<Version>,
    /// `Version` as stored; a block names the row by it.
    pub(crate) stored_version: Option<Cow<'a, str>>,
    /// The event or snapshot, or the error if the row can't be decoded.
    pub(crate) row: Result<BorrowedRowOf<'a, D>, DecodeError>,
}

/// A batch's notifications of one aggregate.
pub(crate) struct Notifications<'a, D: Domain> {
    /// The position of the aggregate's first record in the batch. If the aggregate is incomplete, the
    /// batch is delivered again from there or from an earlier record.
    pub(crate) first_position: usize,
    /// The trace of this record's event, for the log.
    pub(crate) trace_id: Option<TraceId>,
    /// The rows, sorted by version, without duplicates; rows whose version can't be read are last.
    pub(crate) images: Vec<RowImage<'a, D>>,
}

impl<'a, D: Domain> RowImage<'a, D> {
    /// Decodes a row. A domain's code that panics makes the row undecodable.
    fn read(domain: &D, columns: &mut Columns<'a>) -> Self {
        let version = columns.get(row::VERSION);
        let stored_version = match version {
            Some(Attribute::Number(number)) => Some(number.clone()),
            Some(_) | None => None,
        };
        Self {
            version: row::read_version(version).ok(),
            stored_version,
            row: isolated(|| BorrowedRowOf::<D>::read_columns(domain, columns))
                .unwrap_or_else(|_| Err(DecodeError::whole("decoding the row panicked"))),
        }
    }

    /// Decodes a row of the events table.
    pub(crate) fn stored(domain: &D, row: &'a Attributes) -> Self {
        Self::read(domain, &mut Columns::from(row))
    }

    /// The trace of the row's event. Also a row that can't be decoded may name one in its columns.
    fn trace_id(&self, columns: &Columns<'_>) -> Option<TraceId> {
        let trace_parent = match &self.row {
            Ok(StoredRow::Event(event)) => event.metadata.trace_parent,
            Ok(StoredRow::Snapshot(_)) => None,
            Err(_) => TraceParent::parse(columns.text(row::TRACE_PARENT)?).ok(),
        };
        trace_parent.map(TraceParent::trace_id)
    }

    /// Whether both are the same row. Where comparing them panics, both are kept.
    fn is_same(&self, other: &Self) -> bool {
        (self.version, &self.stored_version) == (other.version, &other.stored_version)
            && isolated(|| self.row == other.row).unwrap_or(false)
    }
}

impl<D: Domain> Default for ChangeNotifications<'_, D> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'a, D: Domain> ChangeNotifications<'a, D> {
    /// Adds a notification. Plain snapshots are left out; the mapping's filter already discards most of
    /// them before the function is invoked.
    pub fn add(&mut self, domain: &D, inserted: InsertedRow<'_, 'a>) {
        let InsertedRow {
            position,
            aggregate,
            columns,
        } = inserted;
        if columns.text(row::TYPE) == Some(SNAPSHOT) {
            return;
        }
        let image = RowImage::read(domain, columns);
        let notifications = self.0.entry(aggregate).or_insert_with(|| Notifications {
            first_position: position,
            trace_id: image.trace_id(columns),
            images: Vec::new(),
        });
        notifications.images.push(image);
    }

    /// The notifications by aggregate, each aggregate's sorted by version.
    pub(crate) fn into_sorted(self) -> BTreeMap<String, Notifications<'a, D>> {
        let sorted = self.0.into_iter().map(|(aggregate, mut notifications)| {
            let images = &mut notifications.images;
            images.sort_by_key(|image| (image.version.is_none(), image.version));
            images.dedup_by(|later, earlier| later.is_same(earlier));
            (aggregate.into_owned(), notifications)
        });
        sorted.collect()
    }
}
