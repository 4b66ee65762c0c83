//! What the tests of the orders share: their part in the fault simulation ([`scenario`], which
//! `tests/orders_simulation.rs` runs).

pub mod scenario;
