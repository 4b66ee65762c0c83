//! The translator's Lambda function.

use anyhow::Context;
use lambda_runtime::service_fn;
use millrace_domain::Settings;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::dynamodb::stored_settings;
use millrace_runtime::{System, aws, telemetry, variables};
use millrace_translator::batch::Translator;
use millrace_translator::config::Config;
use millrace_translator::dynamodb::{CursorTable, EventsTable};
use millrace_translator::handler::handle;
use millrace_translator::kinesis::DomainStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::read(variables::lookup).context("the translator can't start")?;
    let settings = Settings::read(variables::lookup).context("the translator can't start")?;
    let aws = aws::config(Timeouts::BATCH).await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws);
    if let Some(stored) = stored_settings(&dynamodb, &config.events_table).await? {
        let checked = settings.check(&stored);
        checked.context("the translator can't start")?;
    }
    let translator = Translator {
        rows: EventsTable::new(dynamodb.clone(), config.events_table),
        cursors: CursorTable::new(dynamodb, config.cursor_table),
        publisher: DomainStream::new(aws_sdk_kinesis::Client::new(&aws), config.stream_name),
        ambient: System,
        settings,
    };
    lambda_runtime::run(service_fn(async |event| {
        Ok::<_, lambda_runtime::Error>(handle(&translator, event).await)
    }))
    .await
    .map_err(anyhow::Error::from_boxed)
}
