//! The archiver's Lambda function for accounts.

use anyhow::Context;
use millrace_domain::Accounts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    millrace_archiver::run::<Accounts>()
        .await
        .context("the archiver ended")
}
