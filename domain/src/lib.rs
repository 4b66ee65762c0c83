//! The domain that Millrace comes with: a bank account.
//!
//! [`Accounts`] implements `millrace_core`'s `Domain` (commands, events, rules, what is published) and
//! `Project` (the read model). `millrace-core` and the functions' crates don't depend on this crate.
//!
//! Everything here is pure: no AWS, no clock, no randomness, no environment. The binary passes in the
//! function that looks up an environment variable ([`Accounts::read`]).

mod accounts;
mod channel;
mod command;
mod contract;
mod event;
pub mod money;
mod public;
#[cfg(feature = "testing")]
pub mod testing;
mod view;

pub use accounts::{Accepted, Account, Accounts, DEFAULT_CURRENCY, SettingError};
pub use channel::{Channel, StoredChannel};
pub use command::{Command, ListedCurrency};
pub use event::Event;
pub use public::{Context, PublicEvent};
pub use view::Transaction;
