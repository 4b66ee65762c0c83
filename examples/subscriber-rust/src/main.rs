//! The Lambda function.

use anyhow::{Context as _, Result};
use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use low_balance_notifier::{LowBalances, UndecodableTable};
use millrace_consumer::Consumer;
use millrace_consumer::dynamodb::DynamoDbPositions;
use serde_json::value::RawValue;

/// In minor units: 100.00 EUR.
const DEFAULT_THRESHOLD: i64 = 10_000;

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("the environment variable {name} is missing"))
}

fn threshold() -> Result<i64> {
    match std::env::var("LOW_BALANCE") {
        Ok(text) => {
            let threshold = text.parse().ok().filter(|threshold| *threshold > 0);
            threshold.with_context(|| {
                format!("the environment variable LOW_BALANCE is {text:?}, which is no amount in minor units above 0")
            })
        }
        Err(_) => Ok(DEFAULT_THRESHOLD),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().json().init();
    let positions = variable("POSITIONS_TABLE")?;
    let notifications = variable("NOTIFICATIONS_TABLE")?;
    let undecodable = variable("UNDECODABLE_TABLE")?;
    let threshold = threshold()?;
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let handler = LowBalances {
        threshold,
        notifications,
        undecodable: UndecodableTable {
            client: client.clone(),
            table: undecodable,
        },
    };
    let consumer = &Consumer::new(handler, DynamoDbPositions::new(client, positions));
    let process = async |event: LambdaEvent<Box<RawValue>>| {
        let outcome = consumer.process(event.payload.get().as_bytes()).await?;
        Ok::<_, Error>(outcome.response)
    };
    lambda_runtime::run(service_fn(process)).await
}
