//! The Lambda function.

use std::marker::PhantomData;

use aws_sdk_firehose::Client;
use millrace_core::Domain;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{StartError, System, aws, raw_body, telemetry, variables};

use super::firehose::DeliveryStream;
use crate::config::Config;
use crate::handler::handle;
use crate::service::Archiver;

/// Runs the archiver as a Lambda function until the environment is shut down. The delivery stream's
/// name comes from the environment variable `DELIVERY_STREAM`.
///
/// # Errors
/// [`StartError`] if the function can't start or Lambda's runtime API fails.
pub async fn run<D: Domain>() -> Result<(), StartError> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let client = Client::new(&aws::config(Timeouts::BATCH).await);
    let archiver = Archiver {
        domain: PhantomData::<D>,
        delivery: DeliveryStream::new(client, config.delivery_stream),
        ambient: System,
    };
    raw_body::run(async |event| Ok(Box::pin(handle(&archiver, event)).await?)).await
}
