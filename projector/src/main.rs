//! The projector's Lambda function.

use std::marker::PhantomData;

use anyhow::Context;
use aws_sdk_dynamodb::Client;
use lambda_runtime::service_fn;
use millrace_domain::Accounts;
use millrace_projector::config::Config;
use millrace_projector::dynamodb::Tables;
use millrace_projector::handler::handle;
use millrace_projector::project::Projector;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{System, aws, telemetry, variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::read(variables::lookup).context("the projector can't start")?;
    let client = Client::new(&aws::config(Timeouts::BATCH).await);
    let projector = Projector {
        domain: PhantomData::<Accounts>,
        model: Tables::new(client, config.view_table, config.history_table),
        ambient: System,
    };
    lambda_runtime::run(service_fn(async |event| {
        Ok::<_, lambda_runtime::Error>(Box::pin(handle(&projector, event)).await)
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
