//! What Athena says of the lake.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::deployment::Deployment;
use crate::athena;

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
    let names = &deployment.names;
    let sql = format!(
        "SELECT subject, count(DISTINCT id) FROM \"{}\" WHERE type <> '{}'{which} GROUP BY subject",
        names.glue_table,
        millrace_projector::line::UNREADABLE,
    );
    let query = athena::query(
        &deployment.clients.athena,
        &names.athena_work_group,
        &names.glue_database,
        &sql,
    );
    let rows = tokio::time::timeout(PATIENCE, query)
        .await
        .context("the query did not end")??;
    rows.into_iter()
        .map(|row| match &row[..] {
            [subject, count] => Ok((subject.clone(), count.parse()?)),
            _ => bail!("Athena answered a row of {} columns", row.len()),
        })
        .collect()
}
