//! The stages of the lake: the record in S3, and the result of an Athena query.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use millrace_cli::athena;
use millrace_local_stack::stack::Local;
use serde_json::{Value, json};

use super::record::{Found, Record};
use super::stages::{self, wait};

/// Waits for the event's record in an object of the lake, and checks it.
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
                // The bucket may contain other objects, such as results of earlier queries. They are skipped.
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
    stages::is_event(&line, record)?;
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

/// Queries the event with Athena until there is a result, and checks every row of the result.
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
        let (work_group, database) = (&local.athena_work_group, &local.glue_database);
        let rows = athena::query(client, work_group, database, &sql).await?;
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
    // The lake may contain an event more than once.
    ensure!(
        rows.iter().all(|row| *row == expected),
        "expected {expected:?}, but Athena returned {rows:?}"
    );
    Ok(Found {
        at,
        place: sql,
        data: json!(rows),
    })
}
