//! The conditions of the reconciler's lease, in a table of the scenario's own, because the deployed reconciler
//! acquires the lease in its table while the scenario runs.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use futures_util::future::try_join_all;
use millrace_core::Timestamp;
use millrace_reconciler::adapters::aws::AwsServices;
use millrace_reconciler::config::Config;
use millrace_reconciler::ports::Store as _;

use crate::pipeline::Pipeline;

const TABLE: &str = "conditions-of-the-lease";
const ROUNDS: i64 = 10;
/// The duration of a lease, in milliseconds.
const LEASE: i64 = 1_000;

async fn create(pipeline: &Pipeline) -> Result<()> {
    let client = &pipeline.clients.dynamodb;
    let mut table = client
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, key) in [("Kind", KeyType::Hash), ("Name", KeyType::Range)] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(key);
        table = table
            .attribute_definitions(attribute.build()?)
            .key_schema(key.build()?);
    }
    table.send().await?;
    Ok(())
}

fn services(pipeline: &Pipeline) -> Result<AwsServices> {
    let config = Config::read(|name| {
        let is_own = name == "RECONCILER_TABLE";
        Some(if is_own { TABLE } else { "unused" }.to_owned())
    })?;
    let clients = &pipeline.clients;
    Ok(AwsServices::new(
        clients.dynamodb.clone(),
        clients.lambda.clone(),
        clients.s3.clone(),
        &config,
    ))
}

/// Tries to acquire the lease for each owner concurrently, and returns the owners that got it.
async fn acquire(services: &AwsServices, now: i64, owners: &[&str]) -> Result<Vec<String>> {
    let at = |millis| Timestamp::from_unix_millis(millis).context("a time");
    let (now, until) = (at(now)?, at(now + LEASE)?);
    let given = owners
        .iter()
        .map(|owner| services.acquire(owner, now, until));
    let given = try_join_all(given).await?;
    let owners = owners.iter().zip(given);
    Ok(owners
        .filter(|(_, is_given)| *is_given)
        .map(|(owner, _)| (*owner).to_owned())
        .collect())
}

pub(crate) async fn one_of_several_runs_has_the_lease(pipeline: &Pipeline) -> Result<()> {
    const OWNERS: [&str; 4] = ["a", "b", "c", "d"];
    create(pipeline).await?;
    let services = services(pipeline)?;
    for round in 0..ROUNDS {
        // In even rounds the lease of the previous round has expired; in odd rounds it was released.
        let now = 1_800_000_000_000 + round * LEASE;
        let given = acquire(&services, now, &OWNERS).await?;
        ensure!(given.len() == 1, "round {round}: {given:?}");
        let owner = &given[0];

        let others: Vec<&str> = OWNERS.into_iter().filter(|it| it != owner).collect();
        let just_before = now + LEASE - 1;
        let given = acquire(&services, just_before, &others).await?;
        ensure!(
            given.is_empty(),
            "{owner} has the lease, and so has {given:?}"
        );
        for other in &others {
            services.release(other).await?;
        }
        let given = acquire(&services, just_before, &others).await?;
        ensure!(
            given.is_empty(),
            "another run has released the lease of {owner}"
        );

        // The owner acquires the lease again, as the SDK does if the response to an attempt was lost.
        let given = acquire(&services, now, &[owner]).await?;
        ensure!(
            given == [owner.clone()],
            "{owner} could not acquire its own lease again"
        );
        if round % 2 == 0 {
            services.release(owner).await?;
            services.release(owner).await?;
            let given = acquire(&services, now, &others[..1]).await?;
            ensure!(given.len() == 1, "the lease was not released");
            services.release(others[0]).await?;
        }
    }
    Ok(())
}
