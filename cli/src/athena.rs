//! Runs Athena queries.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_athena::Client;
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState};

/// The pause between two requests for the state of a query.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a query and returns its rows, as text, without the names of the columns. There is no timeout.
///
/// # Errors
/// If Athena doesn't accept the query, or the query fails. The error contains Athena's reason.
pub async fn query(
    client: &Client,
    work_group: &str,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<String>>> {
    let database = QueryExecutionContext::builder().database(database).build();
    let started = client
        .start_query_execution()
        .query_string(sql)
        .work_group(work_group)
        .query_execution_context(database)
        .send()
        .await
        .context("Athena did not accept the query")?;
    let id = started.query_execution_id.context("the query has no id")?;
    wait_for_end(client, &id).await?;
    let mut pages = client
        .get_query_results()
        .query_execution_id(&id)
        .into_paginator()
        .send();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.context("could not read Athena's response")?;
        let page = page.result_set.and_then(|set| set.rows).unwrap_or_default();
        rows.extend(page.into_iter().map(|row| {
            let cells = row.data.unwrap_or_default().into_iter();
            cells
                .map(|cell| cell.var_char_value.unwrap_or_default())
                .collect()
        }));
    }
    // The first row contains the names of the columns.
    Ok(rows.into_iter().skip(1).collect())
}

async fn wait_for_end(client: &Client, id: &str) -> Result<()> {
    loop {
        let execution = client.get_query_execution().query_execution_id(id);
        let status = execution.send().await?.query_execution;
        let status = status.and_then(|execution| execution.status);
        let status = status.context("Athena does not know the query")?;
        match status.state {
            Some(QueryExecutionState::Succeeded) => return Ok(()),
            Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => bail!(
                "the query failed: {}",
                status.state_change_reason.unwrap_or_default()
            ),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
