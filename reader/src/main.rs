//! The reader's Lambda function for accounts.

use anyhow::Context as _;
use millrace_domain::Accounts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    millrace_reader::run::<Accounts>()
        .await
        .context("the reader ended")
}
