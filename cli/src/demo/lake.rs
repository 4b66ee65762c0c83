//! The hops of the lake: the line in S3, and what Athena makes of it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState};
use serde_json::{Value, json};

use super::hops::{self, wait};
use super::trip::{Found, Record};
use crate::stack::Local;

const POLL: Duration = Duration::from_millis(50);

/// The event's line in an object of the lake.
pub(super) async fn line(
    client: &aws_sdk_s3::Client,
    local: &Local,
    record: &Record,
) -> Result<Found> {
    let bucket = &local.lake_bucket;
    let mut read = HashSet::new();
    let (key, line) = wait(async || {
        for key in keys(client, bucket).await? {
            if !read.insert(key.clone()) {
                continue;
            }
            let object = client.get_object().bucket(bucket).key(&key).send().await?;
            let content = object.body.collect().await?.into_bytes();
            for line in String::from_utf8_lossy(&content).lines() {
                // Other things may lie in the bucket, such as earlier answers of queries.
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                if line["id"] == record.event_id() {
                    return Ok(Some((key, line)));
                }
            }
        }
        Ok(None)
    })
    .await?;
    let at = Instant::now();
    hops::is_event(&line, record)?;
    Ok(Found {
        at,
        place: format!("s3://{bucket}/{key}"),
        data: line,
    })
}

async fn keys(client: &aws_sdk_s3::Client, bucket: &str) -> Result<Vec<String>> {
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .into_paginator()
        .send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("could not list {bucket}"))?;
        keys.extend(
            page.contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(|object| object.key),
        );
    }
    Ok(keys)
}

/// The account's events as Athena counts them, up to the record.
pub(super) async fn answer(
    client: &aws_sdk_athena::Client,
    local: &Local,
    record: &Record,
) -> Result<Found> {
    let sql = format!(
        "SELECT id, type, data.sequence, data.amount, data.currency FROM \"{}\" \
         WHERE id = '{}'",
        local.glue_table,
        record.event_id(),
    );
    let rows = wait(async || {
        let rows = query(client, local, &sql).await?;
        Ok((!rows.is_empty()).then_some(rows))
    })
    .await?;
    let at = Instant::now();
    let expected = [
        record.event_id(),
        "BalanceWithdrawn".to_owned(),
        record.sequence.to_string(),
        record.amount.to_string(),
        record.currency.clone(),
    ];
    // The lake may hold an event more than once.
    ensure!(
        rows.iter().all(|row| *row == expected),
        "expected {expected:?}, but Athena answered {rows:?}"
    );
    Ok(Found {
        at,
        place: sql,
        data: json!(rows),
    })
}

/// A query's rows, as text.
async fn query(
    client: &aws_sdk_athena::Client,
    local: &Local,
    sql: &str,
) -> Result<Vec<Vec<String>>> {
    let started = client
        .start_query_execution()
        .query_string(sql)
        .work_group(&local.athena_work_group)
        .query_execution_context(
            QueryExecutionContext::builder()
                .database(&local.glue_database)
                .build(),
        )
        .send()
        .await
        .context("could not start the query")?;
    let id = started
        .query_execution_id
        .context("Athena gave the query no id")?;
    wait_for(client, &id).await?;
    let answer = client
        .get_query_results()
        .query_execution_id(&id)
        .send()
        .await?;
    let rows = answer
        .result_set
        .and_then(|set| set.rows)
        .unwrap_or_default();
    let rows = rows.into_iter().map(|row| {
        let cells = row.data.unwrap_or_default().into_iter();
        cells
            .map(|cell| cell.var_char_value.unwrap_or_default())
            .collect()
    });
    // The first row holds the columns' names.
    Ok(rows.skip(1).collect())
}

async fn wait_for(client: &aws_sdk_athena::Client, id: &str) -> Result<()> {
    loop {
        let execution = client
            .get_query_execution()
            .query_execution_id(id)
            .send()
            .await?;
        let status = execution
            .query_execution
            .and_then(|execution| execution.status);
        let status = status.context("Athena does not know the query")?;
        match status.state {
            Some(QueryExecutionState::Succeeded) => return Ok(()),
            Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => bail!(
                "the query failed: {}",
                status.state_change_reason.unwrap_or_default()
            ),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
