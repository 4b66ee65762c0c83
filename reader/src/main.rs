//! The reader's Lambda function.

use aws_sdk_dynamodb::Client;
use lambda_runtime::{Error, service_fn};
use millrace_reader::config::Config;
use millrace_reader::dynamodb::Tables;
use millrace_reader::handler::handle;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{System, aws, telemetry, variables};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::start();
    let config = Config::read(variables::lookup)?;
    let tables = Tables::new(
        Client::new(&aws::config(Timeouts::INTERACTIVE).await),
        config,
    );
    lambda_runtime::run(service_fn(|event| handle(&tables, &System, event))).await
}
