//! The orders' part in the fault simulation ([`scenario`], which `tests/orders_simulation.rs` runs).

pub mod scenario;
