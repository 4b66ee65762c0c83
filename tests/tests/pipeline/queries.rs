//! Queries: the read models over HTTP, and the lake through Athena.

use anyhow::{Context as _, Result, ensure};
use millrace_cli::athena;
use reqwest::StatusCode;

use crate::pipeline::{DEADLINE, Pipeline};
use crate::verify;

/// The documents are those that are checked in.
pub(crate) async fn the_documents_of_the_contract_are_shown(pipeline: &Pipeline) -> Result<()> {
    for (path, text) in millrace_contract::documents::<millrace_domain::Accounts>()? {
        let name = path.strip_prefix("contracts/");
        let Some(name) = name.filter(|name| *name != "lake.json") else {
            continue;
        };
        let answer = pipeline.get(&format!("/{name}")).await?;
        answer.expect(StatusCode::OK)?;
        let document: serde_json::Value = serde_json::from_str(&text)?;
        ensure!(answer.body == document, "{name}: {answer:?}");
    }
    let missing = pipeline.get("/schemas/Missing.1.json").await?;
    missing.expect(StatusCode::NOT_FOUND)
}

pub(crate) async fn queries_return_the_accepted_state(pipeline: &Pipeline) -> Result<()> {
    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 700).await?;
    let withdrawn = pipeline.accepted(&id, "withdraw", 50).await?;
    let view = verify::shows(pipeline, &id, 3).await?;
    ensure!(view["balance"] == 650, "{view}");

    let view = pipeline.get(&format!("/accounts/{id}")).await?;
    ensure!(
        view.header("etag") == withdrawn.header("etag"),
        "the view has another ETag than the command"
    );
    let unchanged = pipeline
        .send(
            reqwest::Method::GET,
            &format!("/accounts/{id}"),
            &[("if-none-match", view.header("etag"))],
            Vec::new(),
        )
        .await?;
    unchanged.expect(StatusCode::NOT_MODIFIED)?;

    let opened_at = view.body["openedAt"].as_str().context("a time")?;
    for (at, balance) in [(opened_at, 0), ("9999-01-01T00:00:00Z", 650)] {
        let answer = pipeline
            .get(&format!("/accounts/{id}/balance?at={at}"))
            .await?;
        answer.expect(StatusCode::OK)?;
        ensure!(answer.body["balance"] == balance, "{answer:?}");
    }

    // No event of this sequence is written, so the wait ends without a result.
    let ahead = pipeline
        .get(&format!("/accounts/{id}?minSequence=4"))
        .await?;
    ahead.expect(StatusCode::SERVICE_UNAVAILABLE)?;
    ensure!(ahead.header("retry-after") == "1", "{ahead:?}");
    Ok(())
}

pub(crate) async fn athena_returns_the_events_of_the_lake(pipeline: &Pipeline) -> Result<()> {
    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 900).await?;
    pipeline.accepted(&id, "withdraw", 1).await?;
    verify::has_exactly(pipeline, &id, 3).await?;
    let sql = format!(
        "SELECT DISTINCT type, data.sequence, data.amount FROM \"{}\" \
         WHERE subject = '{id}' ORDER BY data.sequence",
        pipeline.local.glue_table
    );
    let rows = ask(pipeline, &sql).await?;
    let expected = [
        ["AccountCreated", "1", ""],
        ["BalanceCredited", "2", "900"],
        ["BalanceWithdrawn", "3", "1"],
    ];
    ensure!(rows == expected, "Athena returned {rows:?}");
    Ok(())
}

/// The local Athena returns `time` as a timestamp, AWS as the string of the lake record. Both begin with the
/// day.
pub(crate) async fn athena_returns_times(pipeline: &Pipeline) -> Result<()> {
    let id = pipeline.open().await?;
    let view = verify::shows(pipeline, &id, 1).await?;
    verify::has_exactly(pipeline, &id, 1).await?;
    let sql = format!(
        "SELECT DISTINCT id, time FROM \"{}\" WHERE subject = '{id}'",
        pipeline.local.glue_table
    );
    let rows = ask(pipeline, &sql).await?;
    let day = &view["openedAt"].as_str().context("a time")?[..10];
    ensure!(
        matches!(&rows[..], [row] if row[1].starts_with(day)),
        "Athena returned {rows:?}, but the account was opened on {day}"
    );
    Ok(())
}

async fn ask(pipeline: &Pipeline, sql: &str) -> Result<Vec<Vec<String>>> {
    let (client, local) = (&pipeline.clients.athena, &pipeline.local);
    let (work_group, database) = (&local.athena_work_group, &local.glue_database);
    let query = athena::query(client, work_group, database, sql);
    tokio::time::timeout(DEADLINE, query).await?
}
