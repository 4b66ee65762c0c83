//! The reader's Lambda function for accounts.

use anyhow::{Context as _, Result};
use millrace_domain::Accounts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    millrace_reader::run::<Accounts>()
        .await
        .context("the reader ended")
}
