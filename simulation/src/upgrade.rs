//! The upgrade from the previous version to this one. Before it, all invocations are of the previous version;
//! during it, invocations of both versions run concurrently; after it, all invocations are of this version and
//! read the items of both.
//!
//! The previous version is simulated with this version's code: the items that it stores are converted, and
//! attributes that the previous version didn't know are removed from the items that it reads.

use fastrand::Rng;
use millrace_core::{Attribute, Attributes};
use millrace_writer::idempotency::KEY;
use millrace_writer::ports::Append;

use super::dynamodb::events::text;
use super::functions::Simulated;

/// The time of the upgrade, in milliseconds from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upgrade {
    begins: u64,
    ends: u64,
}

impl Upgrade {
    /// All functions are of this version from the start.
    pub(crate) const NONE: Self = Self { begins: 0, ends: 0 };

    /// Draws the time of the upgrade. Some seeds have none: all functions are of this version from the start.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let begins = if rng.u8(0..3) == 0 {
            rng.u64(0..40_000)
        } else {
            0
        };
        let takes = if begins == 0 { 0 } else { rng.u64(0..40_000) };
        Self {
            begins,
            ends: begins + takes,
        }
    }

    /// Whether the run has functions of the previous version.
    pub(crate) const fn is_part_of_the_run(self) -> bool {
        self.ends > 0
    }

    /// Draws whether an invocation that begins now is of the previous version.
    pub(crate) fn is_previous(self, now: u64, rng: &mut Rng) -> bool {
        now < self.begins || now < self.ends && rng.bool()
    }
}

/// The append that the previous version makes: rows of its own form, without `Actor` and `TraceParent`, and with the
/// keys of all callers in one namespace.
pub(crate) fn previous_append(scenario: &dyn Simulated, mut append: Append) -> Append {
    for (_, row) in &mut append.rows {
        row.remove("Actor");
        row.remove("TraceParent");
        scenario.previous_row(row);
    }
    if let Some(record) = &mut append.record {
        let key = text(record, KEY);
        let key = key.rsplit('\n').next().unwrap_or_default();
        record.insert(KEY.to_owned(), Attribute::text(key));
    }
    append
}

/// A view's item without the attributes that the previous version doesn't know.
pub(crate) fn previous_view(mut item: Attributes) -> Attributes {
    item.remove("Revision");
    item.remove("StaleIn");
    item
}

/// Whether the previous version has records of this key. Its keys are those that clients sent, without the caller.
pub(crate) fn is_previous_key(key: &str) -> bool {
    !key.contains('\n')
}
