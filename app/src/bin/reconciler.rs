//! The reconciler's Lambda function for accounts.

use anyhow::{Context as _, Result};
use millrace_domain::Accounts;
use millrace_runtime::variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let accounts = Accounts::read(variables::lookup).context("the reconciler can't start")?;
    millrace_reconciler::run(accounts)
        .await
        .context("the reconciler ended")
}
