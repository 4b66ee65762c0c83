//! The archiver's Lambda function.

use std::marker::PhantomData;

use anyhow::Context;
use aws_sdk_firehose::Client;
use lambda_runtime::service_fn;
use millrace_archiver::archive::Archiver;
use millrace_archiver::config::Config;
use millrace_archiver::firehose::DeliveryStream;
use millrace_archiver::handler::handle;
use millrace_domain::Accounts;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{System, aws, telemetry, variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::read(variables::lookup).context("the archiver can't start")?;
    let client = Client::new(&aws::config(Timeouts::BATCH).await);
    let archiver = Archiver {
        domain: PhantomData::<Accounts>,
        delivery: DeliveryStream::new(client, config.delivery_stream),
        ambient: System,
    };
    lambda_runtime::run(service_fn(async |event| {
        Ok::<_, lambda_runtime::Error>(Box::pin(handle(&archiver, event)).await)
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
