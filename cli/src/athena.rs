//! Runs Athena queries.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_sdk_athena::Client;
use aws_sdk_athena::types::{QueryExecutionContext, QueryExecutionState, Row};

/// The pause between two requests for the state of a query.
const PAUSE: Duration = Duration::from_millis(100);

/// Athena accepted a query, and ended it without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query failed: {reason}")]
pub struct Failed {
    /// Athena's reason.
    pub reason: String,
}

/// Parts of the reasons with which Athena ends a query that reads too much: more bytes than the work group allows
/// ([limits](https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html)), or more
/// than the query's memory can sort.
const TOO_LARGE: [&str; 2] = ["bytes scanned limit", "query exhausted resources"];

impl Failed {
    /// Whether a query of less data may succeed.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let reason = self.reason.to_lowercase();
        TOO_LARGE.iter().any(|part| reason.contains(part))
    }
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a value for every column. `None` is `NULL`.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many bytes the query read in S3. Athena charges for them.
    pub scanned_bytes: Option<u64>,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type in SQL, such as `bigint`.
    pub sql_type: String,
}

/// Runs a query and returns its rows, as text, without the names of the columns. `NULL` is an empty text. There is no
/// timeout.
///
/// # Errors
/// If Athena doesn't accept the query, or the query fails. The error contains Athena's reason.
pub async fn query(
    client: &Client,
    work_group: &str,
    database: &str,
    sql: &str,
) -> Result<Vec<Vec<String>>> {
    let id = start(client, work_group, database, sql, &[]).await?;
    let rows = answer(client, &id).await?.rows.into_iter();
    let rows = rows.map(|row| row.into_iter().map(Option::unwrap_or_default).collect());
    Ok(rows.collect())
}

/// Starts a query. The parameters are literals of SQL for the `?` in the query. Returns the query's id.
///
/// # Errors
/// If Athena doesn't accept the query.
pub async fn start(
    client: &Client,
    work_group: &str,
    database: &str,
    sql: &str,
    parameters: &[String],
) -> Result<String> {
    let database = QueryExecutionContext::builder().database(database).build();
    let started = client
        .start_query_execution()
        .query_string(sql)
        .set_execution_parameters((!parameters.is_empty()).then(|| parameters.to_vec()))
        .work_group(work_group)
        .query_execution_context(database)
        .send()
        .await
        .context("Athena did not accept the query")?;
    started.query_execution_id.context("the query has no id")
}

/// Waits for the end of a query, and returns its result. There is no timeout.
///
/// # Errors
/// If the query fails: [`Failed`], with Athena's reason.
pub async fn answer(client: &Client, id: &str) -> Result<Answer> {
    let mut answer = Answer {
        scanned_bytes: wait_for_end(client, id).await?,
        ..Answer::default()
    };
    let mut pages = client
        .get_query_results()
        .query_execution_id(id)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.context("could not read Athena's response")?;
        let set = page.result_set.context("a page has no result")?;
        if answer.columns.is_empty() {
            let columns = set.result_set_metadata.and_then(|it| it.column_info);
            let columns = columns.unwrap_or_default().into_iter();
            let columns = columns.map(|column| Column {
                name: column.name,
                sql_type: column.r#type,
            });
            answer.columns = columns.collect();
        }
        let rows = set.rows.unwrap_or_default();
        answer.rows.extend(rows.into_iter().map(values));
    }
    // The first row contains the names of the columns.
    answer.rows.drain(..1.min(answer.rows.len()));
    Ok(answer)
}

fn values(row: Row) -> Vec<Option<String>> {
    let data = row.data.unwrap_or_default().into_iter();
    data.map(|datum| datum.var_char_value).collect()
}

/// Waits for the end of a query, and returns its result to be read page by page. There is no timeout.
///
/// # Errors
/// If the query fails: [`Failed`], with Athena's reason.
pub async fn pages(client: &Client, id: &str) -> Result<Pages> {
    wait_for_end(client, id).await?;
    Ok(Pages {
        client: client.clone(),
        query: id.to_owned(),
        next: Next::First,
    })
}

/// The result of a query, page by page. Only one page is in memory.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    query: String,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    None,
}

impl Pages {
    /// Reads the rows of the next page. `None` after the last page.
    ///
    /// # Errors
    /// If Athena can't be read. The call can be repeated.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<Option<String>>>>> {
        // The first row of the first page contains the names of the columns.
        let (token, names) = match &self.next {
            Next::First => (None, 1),
            Next::After(token) => (Some(token.clone()), 0),
            Next::None => return Ok(None),
        };
        let page = self
            .client
            .get_query_results()
            .query_execution_id(&self.query)
            .set_next_token(token)
            .send()
            .await
            .context("could not read Athena's response")?;
        self.next = page.next_token.map_or(Next::None, Next::After);
        let rows = page.result_set.and_then(|set| set.rows).unwrap_or_default();
        Ok(Some(rows.into_iter().skip(names).map(values).collect()))
    }
}

/// Stops a query, so that it reads no more.
///
/// # Errors
/// If Athena can't be reached.
pub async fn stop(client: &Client, id: &str) -> Result<()> {
    let stopping = client.stop_query_execution().query_execution_id(id);
    stopping.send().await.context("could not stop the query")?;
    Ok(())
}

/// Waits for the end of a query. Returns how many bytes it read.
async fn wait_for_end(client: &Client, id: &str) -> Result<Option<u64>> {
    loop {
        let execution = client.get_query_execution().query_execution_id(id);
        let execution = execution.send().await?.query_execution;
        let execution = execution.context("Athena does not know the query")?;
        let scanned = execution.statistics.and_then(|it| it.data_scanned_in_bytes);
        let status = execution.status.context("the query has no state")?;
        match status.state {
            Some(QueryExecutionState::Succeeded) => {
                return Ok(scanned.and_then(|bytes| bytes.try_into().ok()));
            }
            Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => bail!(Failed {
                reason: status.state_change_reason.unwrap_or_default(),
            }),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_reads_too_much_is_told_from_other_failures() {
        for (reason, is_too_large) in [
            ("Bytes scanned limit was exceeded", true),
            ("Query cancelled! : Bytes scanned limit was exceeded", true),
            ("Query exhausted resources at this scale factor", true),
            (
                "SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved",
                false,
            ),
            ("HIVE_CURSOR_ERROR: Row is not a valid JSON Object", false),
            ("", false),
        ] {
            let failed = Failed {
                reason: reason.to_owned(),
            };
            assert_eq!(failed.is_too_large(), is_too_large, "{reason}");
        }
    }
}
