//! Queries: the read models over HTTP, and the lake through Athena.

use anyhow::{Context as _, Result, ensure};
use millrace_cli::athena;
use reqwest::StatusCode;
use serde_json::json;

use crate::pipeline::{DEADLINE, Pipeline, wait};
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

/// Texts that look like times or ids are compared as texts, and a column that no line has is null.
pub(crate) async fn athena_has_the_types_of_the_catalogue(pipeline: &Pipeline) -> Result<()> {
    let id = pipeline.open().await?;
    verify::has_exactly(pipeline, &id, 1).await?;
    let event = pipeline.journal.records_of(&id, 1).await?.remove(0);
    let event: serde_json::Value = serde_json::from_slice(&event.bytes)?;
    let time = event["time"].as_str().context("a time")?;
    let sql = format!(
        "SELECT DISTINCT time, substr(time, 1, 10), data.accountId, data_base64 FROM \"{}\" \
         WHERE subject = '{id}' AND causationid <> 'not a UUID' AND time >= '{}'",
        pipeline.local.glue_table,
        &time[..10],
    );
    let rows = ask(pipeline, &sql).await?;
    ensure!(
        rows == [[time, &time[..10], &id, ""]],
        "Athena returned {rows:?}"
    );
    Ok(())
}

/// The view has neither the duplicate that was delivered on another day nor the record that is no event.
pub(crate) async fn athena_has_each_event_once_in_the_view(pipeline: &Pipeline) -> Result<()> {
    const EARLIER: &str = "2026-01-02";

    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 900).await?;
    verify::has_exactly(pipeline, &id, 2).await?;
    let mut lines = pipeline.journal.records_of(&id, 2).await?.remove(0).bytes;
    let unreadable = json!({
        "id": format!("{id}-unreadable"),
        "type": "UnreadableRecord",
        "subject": id,
        "data_base64": "AA==",
    });
    lines.extend(format!("\n{unreadable}\n").into_bytes());
    pipeline
        .clients
        .s3
        .put_object()
        .bucket(&pipeline.local.lake_bucket)
        .key(format!("events/dt={EARLIER}/{id}"))
        .body(lines.into())
        .send()
        .await?;

    let days = |table: &str| {
        format!(
            "SELECT type, count(*), count(DISTINCT dt), min(dt) = '{EARLIER}' FROM {table} \
             WHERE subject = '{id}' GROUP BY type ORDER BY type"
        )
    };
    let rows = ask(pipeline, &days(&pipeline.local.glue_table)).await?;
    let days_of_the_opening = rows.first().and_then(|row| row.get(2));
    ensure!(
        days_of_the_opening.is_some_and(|days| days == "2") && rows.len() == 3,
        "the table has {rows:?}"
    );
    let rows = ask(pipeline, &days("domain_events")).await?;
    let expected = [
        ["AccountCreated", "1", "1", "true"],
        ["BalanceCredited", "1", "1", "false"],
    ];
    ensure!(rows == expected, "the view has {rows:?}");
    Ok(())
}

/// Athena's SQL, with the results that Athena documents.
pub(crate) async fn athena_computes_as_on_aws(pipeline: &Pipeline) -> Result<()> {
    let expected = [
        ("7 / 2", "3"),
        ("format('%s-%03d', 'a', 7)", "a-007"),
        ("regexp_extract('a12', '(\\d+)', 1)", "12"),
        (
            "element_at(map(ARRAY['EUR', 'JPY'], ARRAY[2, 0]), 'JPY')",
            "0",
        ),
        (
            "date_diff('day', timestamp '2026-11-20 23:00:00', timestamp '2026-11-21 01:00:00')",
            "0",
        ),
        ("date_add('day', -1, date '2026-03-01')", "2026-02-28"),
        (
            "date_format(from_iso8601_timestamp('2026-11-20T23:30:00Z'), '%Y-%m-%d %H:%i')",
            "2026-11-20 23:30",
        ),
        (
            "from_iso8601_timestamp('2026-11-20T23:30:00.5Z')",
            "2026-11-20 23:30:00.500 UTC",
        ),
        (
            "CAST(9007199254740991 AS decimal(38, 0)) * decimal '0.01'",
            "90071992547409.91",
        ),
        (
            "(SELECT array_agg(n ORDER BY n) FROM (VALUES 2, NULL, 1) AS t(n))",
            "[1, 2, null]",
        ),
        ("approx_percentile(n, 0.5)", "2"),
    ];
    let (functions, results): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    let sql = format!(
        "SELECT {} FROM UNNEST(sequence(1, 3)) AS t(n)",
        functions.join(", ")
    );
    let rows = ask(pipeline, &sql).await?;
    ensure!(rows == [results], "Athena returned {rows:?}");
    Ok(())
}

/// A query with parameters is sent without [`athena::query`], which has none.
pub(crate) async fn athena_reads_parameters_as_literals(pipeline: &Pipeline) -> Result<()> {
    let (client, local) = (&pipeline.clients.athena, &pipeline.local);
    let start = |parameters: [&str; 2]| {
        client
            .start_query_execution()
            .query_string("SELECT n FROM (VALUES 'a', 'b', '?') AS t(n) WHERE n = ? OR length(n) > ? OR n = '?'")
            .work_group(&local.athena_work_group)
            .set_execution_parameters(Some(parameters.map(str::to_owned).into()))
            .send()
    };
    let started = start(["'b'", "1"]).await?;
    let id = started.query_execution_id.context("an id")?;
    let results = wait("the result of the query", async || {
        let results = client.get_query_results().query_execution_id(&id);
        Ok(results.send().await.ok())
    })
    .await?;
    let rows = results.result_set.and_then(|set| set.rows);
    let rows: Vec<_> = rows
        .unwrap_or_default()
        .into_iter()
        .flat_map(|row| row.data.unwrap_or_default())
        .filter_map(|cell| cell.var_char_value)
        .collect();
    ensure!(rows == ["n", "b", "?"], "Athena returned {rows:?}");

    let refused = start(["'b' OR true", "1"]).await;
    ensure!(refused.is_err(), "Athena accepted an expression");
    Ok(())
}

/// An error names the table, the function or the object.
pub(crate) async fn athena_says_what_is_wrong(pipeline: &Pipeline) -> Result<()> {
    for (sql, expected) in [
        ("SELECT 1 FROM missing", "missing' does not exist"),
        ("SELECT missing(1)", "missing does not exist"),
        ("SELECT FROM events WHERE", "SYNTAX_ERROR: line 1:"),
        (
            "CREATE VIEW another AS SELECT 1",
            "the local Athena executes one SELECT",
        ),
    ] {
        let error = ask(pipeline, sql).await.err().context(sql)?.to_string();
        ensure!(error.contains(expected), "{sql}: {error}");
    }
    Ok(())
}

pub(crate) async fn ask(pipeline: &Pipeline, sql: &str) -> Result<Vec<Vec<String>>> {
    let (client, local) = (&pipeline.clients.athena, &pipeline.local);
    let (work_group, database) = (&local.athena_work_group, &local.glue_database);
    let query = athena::query(client, work_group, database, sql);
    tokio::time::timeout(DEADLINE, query).await?
}
