//! The general half of Millrace: what every domain shares.
//!
//! Everything here is pure: no AWS, no runtime, no clock, no randomness, no environment. Time, ids and
//! settings come in as arguments.
//!
//! * [`ids`]: the aggregate's id, and the ids that travel with commands and events;
//! * [`layout`]: versions of rows, sequence numbers of events, and where snapshots are;
//! * [`time`]: points in time, to the millisecond;
//! * [`attribute`]: a table's item as plain values;
//! * [`decode`] and [`encode`]: a domain's own types as attributes and back, through serde;
//! * [`columns`]: a row's columns, for a domain to edit before they are read;
//! * [`error`]: errors that name the attribute and never quote a value.

pub mod attribute;
pub mod columns;
pub mod decode;
pub mod encode;
pub mod error;
pub mod ids;
pub mod layout;
pub mod time;

pub use attribute::{Attribute, Attributes};
pub use columns::Columns;
pub use error::{DecodeError, EncodeError, InvalidValue};
pub use ids::{AggregateId, Trace};
pub use layout::{Sequence, Version};
pub use time::Timestamp;
