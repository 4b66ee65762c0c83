//! The domain that Millrace ships with: a bank account.
//!
//! Everything here is pure: no AWS, no clock, no randomness. Time, ids and settings come in as
//! arguments, so every rule can be tested with plain values and every replay gives the same bytes.
//!
//! This is the only crate that knows accounts by name. The functions around it speak of an
//! aggregate (here: one account) with an id, rows with a version, and events with a sequence. What no
//! domain replaces is in `millrace-core` and re-exported here ([`ids`], [`layout`], [`time`],
//! [`attribute`]). [`accounts`] is the account as `millrace_core`'s `Domain`, which the functions don't
//! use yet. The other modules of this crate are the account's as the functions use it: [`money`],
//! [`account`] (commands, events, `decide`, `evolve`), [`row`] (how events are stored in the table),
//! [`envelope`] (the public contract), [`view`] (the read model), [`api`] (routes, bodies and answers),
//! [`settings`], and [`history`], which loads and continues an account.
//!
//! Left out on purpose: anything that waits, retries or talks to a service. That belongs to the
//! functions.

pub mod account;
pub mod accounts;
pub mod api;
pub mod attribute;
pub mod envelope;
pub mod history;
mod json;
pub mod lake;
pub mod money;
pub mod row;
pub mod settings;
#[cfg(test)]
mod specification;
pub mod view;

pub use millrace_core::{layout, time};

/// The ids that travel with every command and event: [`millrace_core::ids`].
pub mod ids {
    pub use millrace_core::ids::*;

    pub use Metadata as Trace;
}

pub use account::{Command, Event, Refusal, RefusalKind, State, decide, evolve};
pub use attribute::{Attribute, Attributes};
pub use envelope::Envelope;
pub use history::History;
pub use ids::{AggregateId, Trace};
pub use layout::{Sequence, Version};
pub use row::{RecordedEvent, RowError, Snapshot, StoredRow};
pub use settings::Settings;
pub use time::Timestamp;
pub use view::{HistoryEntry, View};
