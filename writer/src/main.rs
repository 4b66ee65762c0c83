//! The writer's Lambda function.

use anyhow::Context;
use aws_sdk_dynamodb::Client;
use lambda_runtime::service_fn;
use millrace_domain::Settings;
use millrace_domain::accounts::Accounts;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{System, aws, telemetry, variables};
use millrace_writer::config::Config;
use millrace_writer::dynamodb::Tables;
use millrace_writer::execute::Writer;
use millrace_writer::handler::handle;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::read(variables::lookup).context("the writer can't start")?;
    let settings = Settings::read(variables::lookup).context("the writer can't start")?;
    let domain = Accounts { settings };
    let client = Client::new(&aws::config(Timeouts::INTERACTIVE).await);
    let store = Tables::new(client, config.events_table, config.idempotency_table);
    let kept = store.keep_settings(&domain).await;
    kept.context("the writer can't start")?;
    let writer = Writer {
        domain,
        store,
        ambient: System,
    };
    lambda_runtime::run(service_fn(async |event| {
        // Boxed: all that holds it would be as large, and as deep a type, as it is.
        Ok::<_, lambda_runtime::Error>(Box::pin(handle(&writer, event)).await)
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
