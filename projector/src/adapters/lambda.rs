//! The Lambda function.

use std::marker::PhantomData;

use aws_sdk_dynamodb::Client;
use millrace_core::Project;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{StartError, System, aws, raw_body, telemetry, variables};

use super::dynamodb::Tables;
use crate::config::Config;
use crate::handler::handle;
use crate::service::Projector;

/// Runs the projector as a Lambda function until the environment is shut down. The tables' names come
/// from the environment variables `VIEW_TABLE` and `HISTORY_TABLE`.
///
/// # Errors
/// [`StartError`] if the function can't start or Lambda's runtime API fails.
pub async fn run<D: Project>() -> Result<(), StartError> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let client = Client::new(&aws::config(Timeouts::BATCH).await);
    let projector = Projector {
        domain: PhantomData::<D>,
        model: Tables::new(client, config.view_table, config.history_table),
        ambient: System,
    };
    raw_body::run(async |event| Ok(Box::pin(handle(&projector, event)).await?)).await
}
