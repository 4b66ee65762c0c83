//! The `millrace` command for orders.

use std::process::ExitCode;

use orders_app::OrdersApp;

#[tokio::main]
async fn main() -> ExitCode {
    millrace_cli::run::<OrdersApp>().await
}
