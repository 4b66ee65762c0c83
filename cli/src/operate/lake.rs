//! What Athena says of the lake.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState};

use super::deployment::Deployment;

/// Between two looks at a query.
const PAUSE: Duration = Duration::from_millis(200);
/// A query over a large lake takes minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// How many different events of each aggregate the lake holds; of one alone if it is named.
pub(crate) async fn events(
    deployment: &Deployment,
    aggregate: Option<&str>,
) -> Result<HashMap<String, u64>> {
    let which = aggregate.map_or_else(String::new, |id| {
        format!(" AND subject = '{}'", id.replace('\'', "''"))
    });
    let sql = format!(
        "SELECT subject, count(DISTINCT id) FROM \"{}\" WHERE type <> '{}'{which} GROUP BY subject",
        deployment.names.glue_table,
        millrace_projector::line::UNREADABLE,
    );
    let rows = query(deployment, &sql).await?;
    rows.into_iter()
        .map(|row| match &row[..] {
            [subject, count] => Ok((subject.clone(), count.parse()?)),
            _ => bail!("Athena answered a row of {} columns", row.len()),
        })
        .collect()
}

async fn query(deployment: &Deployment, sql: &str) -> Result<Vec<Vec<String>>> {
    let (athena, names) = (&deployment.clients.athena, &deployment.names);
    let database = QueryExecutionContext::builder()
        .database(&names.glue_database)
        .build();
    let started = athena
        .start_query_execution()
        .query_string(sql)
        .work_group(&names.athena_work_group)
        .query_execution_context(database)
        .send()
        .await
        .context("Athena did not take the query")?;
    let id = started.query_execution_id.context("the query has no id")?;
    tokio::time::timeout(PATIENCE, ended(athena, &id))
        .await
        .context("the query did not end")??;
    let mut pages = athena
        .get_query_results()
        .query_execution_id(&id)
        .into_paginator()
        .send();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.context("Athena's answer could not be read")?;
        let page = page.result_set.and_then(|set| set.rows).unwrap_or_default();
        rows.extend(page.into_iter().map(|row| {
            let cells = row.data.unwrap_or_default().into_iter();
            cells
                .map(|cell| cell.var_char_value.unwrap_or_default())
                .collect()
        }));
    }
    // The first row holds the columns' names.
    Ok(rows.into_iter().skip(1).collect())
}

async fn ended(athena: &aws_sdk_athena::Client, id: &str) -> Result<()> {
    loop {
        let execution = athena.get_query_execution().query_execution_id(id);
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
