//! The deterministic simulation of the account: see `millrace_simulation`.

use std::process::ExitCode;

use millrace_tests::scenario::AccountScenario;

fn main() -> ExitCode {
    millrace_simulation::harness::main(AccountScenario)
}
