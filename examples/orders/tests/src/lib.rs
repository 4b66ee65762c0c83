//! The [`scenario`] of orders for the fault simulation. `tests/orders_simulation.rs` runs it.

pub mod scenario;
