//! The writer's Lambda function.

use anyhow::Context as _;
use millrace_domain::Settings;
use millrace_domain::accounts::Accounts;
use millrace_runtime::variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::read(variables::lookup).context("the writer can't start")?;
    let run = millrace_writer::run(Accounts { settings });
    run.await.context("the writer can't start")
}
