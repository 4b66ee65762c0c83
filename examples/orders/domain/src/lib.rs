//! An example domain: the orders of a shop.
//!
//! [`Orders`] implements `millrace_core`'s `Domain` (commands, events, rules, public events) and `Project`
//! (the read model). An order is placed, gets more lines, is shipped in parcels, and is completed or
//! cancelled.
//!
//! # Personal data
//!
//! An order has one personal attribute, its [`Recipient`]. Only the row of
//! [`OrderPlaced`](Event::OrderPlaced) contains it, so only that row needs protection and deletion:
//!
//! * no rule depends on it, so neither [`Order`] nor a snapshot contains it;
//! * [`PublicEvent`] doesn't contain it, so it is neither in the stream nor in read models or the lake;
//! * `Debug` hides it, and errors don't quote it, so it isn't logged.

mod article;
mod command;
mod contract;
mod event;
mod order;
mod orders;
mod public;
mod reason;
mod recipient;

pub use article::{Line, Lines, MAX_QUANTITY, Quantity, Sku};
pub use command::Command;
pub use event::Event;
pub use order::{Order, OrderLine, Status};
pub use orders::{Accepted, Entry, MAX_LINES, Orders};
pub use public::PublicEvent;
pub use reason::Reason;
pub use recipient::Recipient;
