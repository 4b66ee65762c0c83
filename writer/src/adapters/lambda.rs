//! The writer as a Lambda function.

use aws_sdk_dynamodb::Client;
use lambda_runtime::service_fn;
use millrace_core::Domain;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{StartError, System, aws, telemetry, variables};

use crate::adapters::dynamodb::Tables;
use crate::config::Config;
use crate::handler::handle;
use crate::service::Writer;

/// Runs the function until Lambda ends it.
///
/// # Errors
/// [`StartError`]: the function can't start, or Lambda's runtime API failed.
pub async fn run<D: Domain>(domain: D) -> Result<(), StartError> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let client = Client::new(&aws::config(Timeouts::INTERACTIVE).await);
    let store = Tables::new(client, config.events_table, config.idempotency_table);
    store.keep_settings(&domain).await?;
    let writer = Writer {
        domain,
        store,
        ambient: System,
    };
    let service = service_fn(async |event| {
        // Boxed, so that the futures around it don't become as large, nor their types as deep.
        Ok::<_, lambda_runtime::Error>(Box::pin(handle(&writer, event)).await)
    });
    lambda_runtime::run(service)
        .await
        .map_err(StartError::Runtime)
}
