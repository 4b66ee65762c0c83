//! The fault simulation of orders: see `millrace_simulation`.

use std::process::ExitCode;

use orders_tests::scenario::OrdersScenario;

/// The number of seeds in every test run. `SIMULATION_SEEDS=20000` runs more.
const SEEDS: u64 = 2_000;

fn main() -> ExitCode {
    millrace_simulation::harness::main_without_breaks(OrdersScenario, SEEDS)
}
