//! Lists the aggregates, and reads their rows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use millrace_core::{Attributes, Project, Sequence, row};
use millrace_local_stack::progress::Step;
use millrace_runtime::ServiceError;
use millrace_runtime::dynamodb::from_item;

use super::deployment::Deployment;
use super::dynamodb::ScannedTable;
use super::ports::{AggregateIds, EventLog as _, Segment};

/// The number of segments in which a table is scanned in parallel.
const SEGMENTS: u32 = 4;

/// Lists all aggregates, each once, in order, and calls `listed` after each page with the number of ids read
/// so far. Only the ids are in memory: a million of them need some dozens of megabytes.
///
/// # Errors
/// [`ServiceError`] if a page could not be read.
pub async fn list(
    source: &impl AggregateIds,
    listed: impl Fn(usize) + Send + Sync,
) -> Result<BTreeSet<String>, ServiceError> {
    let (total, listed) = (AtomicUsize::new(0), &listed);
    let segments = (0..SEGMENTS).map(|index| {
        let (total, count) = (&total, SEGMENTS);
        async move {
            let mut found = BTreeSet::new();
            let mut last = None;
            loop {
                let page = source
                    .ids_page(Segment { index, count }, last.as_ref())
                    .await?;
                let read = page.ids.len();
                found.extend(page.ids);
                listed(total.fetch_add(read, Ordering::Relaxed) + read);
                last = page.last;
                if last.is_none() {
                    return Ok(found);
                }
            }
        }
    });
    Ok(try_join_all(segments)
        .await?
        .into_iter()
        .flatten()
        .collect())
}

/// Lists the aggregates in a table whose hash key is `Id`.
pub(crate) async fn ids(client: &Client, table: &str, step: &Step) -> Result<BTreeSet<String>> {
    let source = ScannedTable::all(client.clone(), table.to_owned());
    list(&source, |read| {
        step.detail(&format!("{read} items of {table}"));
    })
    .await
    .with_context(|| format!("could not scan {table}"))
}

/// The ids of all aggregates that have rows.
pub(crate) async fn all<D: Project + Clone>(
    deployment: &Deployment<D>,
    step: &Step,
) -> Result<BTreeSet<String>> {
    let client = &deployment.clients.dynamodb;
    ids(client, &deployment.names.events_table, step).await
}

/// The set of this one aggregate.
///
/// # Errors
/// If the aggregate has no events, or its rows could not be read.
pub(crate) async fn one<D: Project + Clone>(
    deployment: &Deployment<D>,
    id: &str,
) -> Result<BTreeSet<String>> {
    if newest(deployment, id).await?.is_none() {
        bail!(
            "the events table contains no {} {id}",
            deployment.words.noun
        );
    }
    Ok([id.to_owned()].into())
}

/// An aggregate's newest row that is no snapshot, read consistently; `None` if there is none.
pub(crate) async fn newest<D: Project + Clone>(
    deployment: &Deployment<D>,
    id: &str,
) -> Result<Option<Attributes>> {
    let newest = deployment.events().newest_event_row(id).await;
    newest.with_context(|| format!("could not query {}", deployment.names.events_table))
}

/// The sequence that follows from a row's version; `None` if the version can't be read.
#[must_use]
pub fn sequence_of(row: &Attributes) -> Option<Sequence> {
    row::version(row).ok().map(millrace_core::Version::sequence)
}

/// All items of an aggregate in a table, in the order of their range keys, read consistently.
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::memory::Ids;
    use super::*;

    #[tokio::test]
    async fn every_page_of_every_segment_is_listed_and_counted() {
        let ids: Vec<String> = (0..25).map(|n| format!("a{:02}", n % 20)).collect();
        let (source, counts) = (Ids(ids), Mutex::new(Vec::new()));
        let count = |read| counts.lock().expect("unpoisoned").push(read);
        let listed = list(&source, count).await.expect("listed");
        let listed: Vec<String> = listed.into_iter().collect();
        let expected: Vec<String> = (0..20).map(|n| format!("a{n:02}")).collect();
        assert_eq!(listed, expected);
        let counts = counts.into_inner().expect("unpoisoned");
        assert!(
            counts.is_sorted() && counts.last() == Some(&25),
            "{counts:?}"
        );
    }
}
