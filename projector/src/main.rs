//! The projector's Lambda function for accounts.

use anyhow::Context;
use millrace_domain::Accounts;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    millrace_projector::run::<Accounts>()
        .await
        .context("the projector ended")
}
