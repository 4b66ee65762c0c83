//! The Lambda function.

use millrace_core::{Domain, settings};
use millrace_runtime::aws::Timeouts;
use millrace_runtime::dynamodb::stored_settings;
use millrace_runtime::{StartError, System, aws, raw_body, telemetry, variables};

use super::dynamodb::{CursorTable, EventsTable};
use super::kinesis::DomainStream;
use crate::config::Config;
use crate::handler::handle;
use crate::service::Translator;

/// Runs the translator as a Lambda function until the environment is shut down. Configuration comes
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
    let translator = Translator {
        domain,
        rows: EventsTable::new(dynamodb.clone(), config.events_table),
        cursors: CursorTable::new(dynamodb, config.cursor_table),
        publisher: DomainStream::new(aws_sdk_kinesis::Client::new(&aws), config.stream_name),
        ambient: System,
    };
    raw_body::run(async |event| Ok(Box::pin(handle(&translator, event)).await?)).await
}
