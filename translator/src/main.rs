//! The translator's Lambda function for accounts.

use anyhow::Context;
use millrace_domain::Settings;
use millrace_domain::accounts::Accounts;
use millrace_runtime::variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::read(variables::lookup).context("the translator can't start")?;
    millrace_translator::run(Accounts { settings })
        .await
        .context("the translator ended")
}
