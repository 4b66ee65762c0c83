//! The fault simulation of orders: see `millrace_simulation`.

use std::process::ExitCode;

use orders_tests::scenario::OrdersScenario;

/// The number of seeds. They take less than a minute in a debug build. `SIMULATION_SEEDS=2000` runs more.
const SEEDS: u64 = 40;

fn main() -> ExitCode {
    millrace_simulation::harness::main_without_breaks(OrdersScenario, SEEDS)
}
