//! The translator's Lambda function for accounts.

use anyhow::{Context as _, Result};
use millrace_domain::Accounts;
use millrace_runtime::variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let accounts = Accounts::read(variables::lookup).context("the translator can't start")?;
    millrace_translator::run(accounts)
        .await
        .context("the translator ended")
}
