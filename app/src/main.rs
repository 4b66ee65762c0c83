//! The `millrace` command for accounts.

use std::process::ExitCode;

use millrace_app::AccountsApp;

#[tokio::main]
async fn main() -> ExitCode {
    millrace_cli::run::<AccountsApp>().await
}
