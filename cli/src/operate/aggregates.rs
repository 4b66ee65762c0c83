//! Which aggregates there are, and their rows.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use millrace_domain::{Attributes, Sequence, row};
use millrace_runtime::dynamodb::from_item;

use super::deployment::Deployment;
use crate::progress::Step;

/// How many segments a table is scanned in side by side.
const SEGMENTS: i32 = 4;
/// Among so many newest rows at least one is an event: snapshots never stand side by side.
const NEWEST: i32 = 3;

/// The ids of all aggregates in a table whose hash key is `Id`, in order. Ids alone are kept, so a
/// million of them take some dozens of megabytes.
pub(crate) async fn ids(
    client: &Client,
    table: &str,
    filter: Option<&str>,
    step: &Step,
) -> Result<BTreeSet<String>> {
    let segments = (0..SEGMENTS).map(|segment| async move {
        let mut pages = client
            .scan()
            .table_name(table)
            .consistent_read(true)
            .segment(segment)
            .total_segments(SEGMENTS)
            .projection_expression("#id")
            .expression_attribute_names("#id", row::ID)
            .set_filter_expression(filter.map(str::to_owned))
            .into_paginator()
            .send();
        let mut found = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("could not scan {table}"))?;
            for item in page.items.unwrap_or_default() {
                if let Some(AttributeValue::S(id)) = item.get(row::ID) {
                    found.insert(id.clone());
                }
            }
            step.detail(&format!("{} aggregates in a part of {table}", found.len()));
        }
        Ok::<_, anyhow::Error>(found)
    });
    Ok(try_join_all(segments)
        .await?
        .into_iter()
        .flatten()
        .collect())
}

/// The ids of all aggregates that have rows.
pub(crate) async fn all(deployment: &Deployment, step: &Step) -> Result<BTreeSet<String>> {
    let client = &deployment.clients.dynamodb;
    ids(client, &deployment.names.events_table, None, step).await
}

/// The one aggregate that was named.
///
/// # Errors
/// When it has no events.
pub(crate) async fn one(deployment: &Deployment, id: &str) -> Result<BTreeSet<String>> {
    if newest(deployment, id).await?.is_none() {
        bail!("the events table holds no account {id}");
    }
    Ok([id.to_owned()].into())
}

/// An aggregate's newest row that is no snapshot, read consistently; `None` where there is none.
pub(crate) async fn newest(deployment: &Deployment, id: &str) -> Result<Option<Attributes>> {
    let table = &deployment.names.events_table;
    let answer = deployment
        .clients
        .dynamodb
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("#id = :id")
        .expression_attribute_names("#id", row::ID)
        .expression_attribute_values(":id", AttributeValue::S(id.to_owned()))
        .scan_index_forward(false)
        .limit(NEWEST)
        .send()
        .await
        .with_context(|| format!("could not query {table}"))?;
    let mut rows = answer.items.unwrap_or_default().into_iter().map(from_item);
    Ok(rows.find(|row| !row::is_plainly_a_snapshot(row)))
}

/// The sequence that a row's place gives it, as far as the place can be read.
pub(crate) fn sequence_of(row: &Attributes) -> Option<Sequence> {
    row::version(row)
        .ok()
        .map(millrace_domain::Version::sequence)
}

/// Every item of an aggregate in a table, by its range key, read consistently.
pub(crate) async fn items(client: &Client, table: &str, id: &str) -> Result<Vec<Attributes>> {
    let mut pages = client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("#id = :id")
        .expression_attribute_names("#id", row::ID)
        .expression_attribute_values(":id", AttributeValue::S(id.to_owned()))
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(from_item(
            item.with_context(|| format!("could not query {table}"))?,
        ));
    }
    Ok(items)
}

/// One item of a table whose only key is `Id`, read consistently.
pub(crate) async fn item(client: &Client, table: &str, id: &str) -> Result<Option<Attributes>> {
    let answer = client
        .get_item()
        .table_name(table)
        .consistent_read(true)
        .key(row::ID, AttributeValue::S(id.to_owned()))
        .send()
        .await
        .with_context(|| format!("could not read {table}"))?;
    Ok(answer.item.map(from_item))
}
