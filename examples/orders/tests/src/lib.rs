//! What the tests of the orders share: the functions over services in memory ([`pipeline`]), and the orders'
//! part in the fault simulation ([`scenario`], which `tests/orders_simulation.rs` runs).

pub mod pipeline;
pub mod scenario;
