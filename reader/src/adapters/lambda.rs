//! The reader as a Lambda function.

use std::marker::PhantomData;

use aws_sdk_dynamodb::Client;
use lambda_runtime::service_fn;
use millrace_core::Project;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{StartError, System, aws, telemetry, variables};

use crate::adapters::dynamodb::Tables;
use crate::config::Config;
use crate::handler::handle;
use crate::service::{Documents, Reader};

/// Runs the function until Lambda ends it. It also shows these documents, such as those of the contract.
///
/// # Errors
/// [`StartError`]: the function can't start, or Lambda's runtime API failed.
pub async fn run<D: Project>(documents: Documents) -> Result<(), StartError> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let client = Client::new(&aws::config(Timeouts::INTERACTIVE).await);
    let reader = Reader {
        domain: PhantomData::<D>,
        documents,
        model: Tables::new(client, config.view_table, config.history_table),
        ambient: System,
    };
    let service = service_fn(async |event| {
        // Boxed, so that the futures around it don't become as large, nor their types as deep.
        Ok::<_, lambda_runtime::Error>(Box::pin(handle(&reader, event)).await)
    });
    lambda_runtime::run(service)
        .await
        .map_err(StartError::Runtime)
}
