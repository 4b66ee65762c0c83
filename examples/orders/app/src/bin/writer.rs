//! The writer's Lambda function for orders.

use anyhow::{Context as _, Result};
use orders_domain::Orders;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    millrace_writer::run(Orders)
        .await
        .context("the writer ended")
}
