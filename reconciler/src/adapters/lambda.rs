//! The Lambda function.

use lambda_runtime::service_fn;
use millrace_core::{Domain, settings};
use millrace_runtime::aws::Timeouts;
use millrace_runtime::dynamodb::stored_settings;
use millrace_runtime::{StartError, System, aws, telemetry, variables};
use millrace_translator::adapters::dynamodb::{CursorTable, EventsTable};
use millrace_translator::adapters::kinesis::DomainStream;
use millrace_translator::service::Translator;

use super::aws::AwsServices;
use crate::config::{Config, PASS_AGGREGATES};
use crate::handler::handle;
use crate::service::Reconciler;

/// Runs the reconciler as a Lambda function until the environment is shut down. Configuration comes
/// from the environment variables of [`Config`].
///
/// # Errors
/// [`StartError`] if the function can't start or Lambda's runtime API fails.
pub async fn run<D: Domain>(domain: D) -> Result<(), StartError> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let aws = aws::config(Timeouts::BATCH).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws);
    if let Some(stored) = stored_settings(&dynamodb, &config.events_table).await? {
        settings::check(&domain, &stored)?;
    }
    let services = AwsServices::new(
        dynamodb.clone(),
        aws_sdk_lambda::Client::new(&aws),
        aws_sdk_s3::Client::new(&aws),
        &config,
    );
    let reconciler = Reconciler {
        translator: Translator {
            domain,
            rows: EventsTable::new(dynamodb.clone(), config.events_table),
            cursors: CursorTable::new(dynamodb, config.cursor_table),
            publisher: DomainStream::new(aws_sdk_kinesis::Client::new(&aws), config.stream_name),
            ambient: System,
        },
        services,
        functions: config.functions,
        pass_aggregates: PASS_AGGREGATES,
    };
    lambda_runtime::run(service_fn(async |event| {
        let handling = handle(&reconciler, event);
        Box::pin(handling)
            .await
            .map_err(lambda_runtime::Error::from)
    }))
    .await
    .map_err(StartError::Runtime)
}
