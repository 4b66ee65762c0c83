//! The publication cursor's attributes, and the domain's context next to them.

use crate::attribute::Attributes;
use crate::columns::Columns;
use crate::decode::decode_struct;
use crate::domain::Domain;
use crate::encode::encode_struct;
use crate::error::{DecodeError, EncodeError};

/// The table's hash key: the aggregate's id.
pub const ID: &str = "Id";
/// The highest sequence that Kinesis has acknowledged together with all before it.
pub const PUBLISHED_THROUGH: &str = "PublishedThrough";
/// Why publication is suspended, and since when.
pub const BLOCKED: &str = "Blocked";
/// That publication is suspended because more events are pending than one invocation publishes, and since
/// when.
pub const PARKED: &str = "Parked";
/// While publication is suspended: the hash key of the index of suspended aggregates, `blocked/K` or
/// `parked/K`, K being [`partition`](crate::spread::partition).
pub const SUSPENDED_IN: &str = "SuspendedIn";
/// While publication is suspended: the index's range key, the time since when.
pub const SUSPENDED_SINCE: &str = "SuspendedSince";

/// Whether core claims an attribute of this name in a cursor's item.
#[must_use]
pub fn is_reserved_column(name: &str) -> bool {
    matches!(
        name,
        ID | PUBLISHED_THROUGH | BLOCKED | PARKED | SUSPENDED_IN | SUSPENDED_SINCE
    )
}

/// Reads the context that public events through [`PUBLISHED_THROUGH`] left.
///
/// # Errors
/// [`DecodeError`] that names the attribute which is missing or wrong.
pub fn read_context<D: Domain>(cursor: &Attributes) -> Result<D::Context, DecodeError> {
    decode_struct(&Columns::from(cursor), is_reserved_column)
}

/// The attributes that contain the context.
///
/// # Errors
/// [`EncodeError`] if the context is no struct, or a field has no form as an attribute.
pub fn context_columns<D: Domain>(context: &D::Context) -> Result<Attributes, EncodeError> {
    encode_struct(context)
}
