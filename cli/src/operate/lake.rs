//! Compares the lake with the events, by Athena queries.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use millrace_core::Project;
use millrace_core::Sequence;

use super::deployment::Deployment;
use crate::athena;

/// The timeout of a query. Over a large lake, a query takes minutes.
const PATIENCE: Duration = Duration::from_mins(10);

/// The aggregates of which the lake lacks events, each with a text that says how many events it has. `due`
/// maps an aggregate to the last sequence that must be in the lake.
///
/// The number of distinct events alone doesn't show whether all due events are among them, because later ones
/// may be in the lake already. If the highest sequence is greater than the due one and differs from the
/// number, a second query counts the due events.
pub(crate) async fn lacking<D: Project + Clone, S: BuildHasher>(
    deployment: &Deployment<D>,
    aggregate: Option<&str>,
    due: &HashMap<String, Sequence, S>,
) -> Result<Vec<(String, String)>> {
    // Athena would read the lake for nothing.
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let which = aggregate.map_or_else(String::new, of_one);
    let columns = "subject, count(DISTINCT id), max(data.sequence)";
    let rows = query(deployment, columns, &format!("{which} GROUP BY subject")).await?;
    let mut lake = HashMap::new();
    for row in rows {
        let [subject, count, highest] = &row[..] else {
            bail!("Athena returned a row of {} columns", row.len());
        };
        let highest: u64 = highest.parse().unwrap_or_default();
        lake.insert(subject.clone(), (count.parse::<u64>()?, highest));
    }
    let mut lacking = Vec::new();
    for (id, due) in due {
        let due = due.get();
        let (count, highest) = lake.get(id).copied().unwrap_or_default();
        let there = if due == 0 || (count == highest && highest >= due) {
            continue;
        } else if count <= due && highest <= due {
            count
        } else {
            let which = format!("{} AND data.sequence <= {due}", of_one(id));
            let rows = query(deployment, "count(DISTINCT id)", &which).await?;
            let count = rows.first().and_then(|row| row.first());
            count.context("Athena returned no row")?.parse()?
        };
        if there < due {
            lacking.push((id.clone(), format!("the lake has {there} of {due} events")));
        }
    }
    lacking.sort();
    Ok(lacking)
}

fn of_one(id: &str) -> String {
    format!(" AND subject = '{}'", id.replace('\'', "''"))
}

async fn query<D: Project + Clone>(
    deployment: &Deployment<D>,
    columns: &str,
    which: &str,
) -> Result<Vec<Vec<String>>> {
    let names = &deployment.names;
    let sql = format!(
        "SELECT {columns} FROM \"{}\" WHERE type <> '{}'{which}",
        names.glue_table,
        millrace_archiver::line::UNREADABLE,
    );
    let query = athena::query(
        &deployment.clients.athena,
        &names.athena_work_group,
        &names.glue_database,
        &sql,
    );
    tokio::time::timeout(PATIENCE, query)
        .await
        .context("the query did not end")?
}
