//! The translator's Lambda function for orders.

use anyhow::{Context as _, Result};
use orders_domain::Orders;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    millrace_translator::run(Orders)
        .await
        .context("the translator ended")
}
