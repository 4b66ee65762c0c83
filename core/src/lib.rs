//! The general half of Millrace: what every domain shares.
//!
//! Everything here is pure: no AWS, no runtime, no clock, no randomness, no environment. Time, ids and
//! settings come in as arguments.
//!
//! * [`ids`]: the aggregate's id, and the ids that travel with commands and events;
//! * [`layout`]: versions of rows, sequence numbers of events, and where snapshots are;
//! * [`time`]: points in time, to the millisecond;
//! * [`attribute`]: a table's item as plain values.

pub mod attribute;
pub mod ids;
pub mod layout;
pub mod time;

pub use attribute::{Attribute, Attributes};
pub use ids::{AggregateId, Trace};
pub use layout::{Sequence, Version};
pub use time::Timestamp;
