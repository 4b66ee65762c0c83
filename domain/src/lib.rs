//! The domain that Millrace ships with: a bank account.
//!
//! [`Accounts`] implements `millrace_core`'s `Domain` (commands, events, rules, what is published) and
//! `Project` (the read model). Everything else that the functions do is in `millrace-core` and in the
//! functions' crates, none of which knows accounts.
//!
//! Everything here is pure: no AWS, no clock, no randomness, no environment. Settings are read through
//! a function that the binary passes in.

mod accounts;
mod command;
mod event;
pub mod money;
mod public;
#[cfg(feature = "testing")]
pub mod testing;
mod view;

pub use accounts::{Accepted, Account, Accounts, DEFAULT_CURRENCY, SettingError};
pub use command::{Command, ListedCurrency};
pub use event::Event;
pub use public::{Context, PublicEvent};
pub use view::Transaction;
