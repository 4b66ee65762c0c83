//! What must hold of an account once everything is through.

use anyhow::{Context as _, Result, ensure};
use millrace_domain::envelope::Context;
use millrace_domain::row::StoredRow;
use millrace_domain::{Envelope, Settings, State, evolve};
use reqwest::StatusCode;
use serde_json::Value;

use crate::journal::first_occurrences;
use crate::pipeline::{Pipeline, wait};

/// The stack's default currency.
fn settings() -> Settings {
    Settings::read(|_| Some("EUR".to_owned())).expect("a listed currency")
}

/// Makes sure that an account has exactly so many events: in the table, on the stream in order and
/// byte by byte, in the view, in the history, and in the lake.
pub(crate) async fn has_exactly(pipeline: &Pipeline, id: &str, events: usize) -> Result<()> {
    let mut context = None;
    let mut state = State::Unopened;
    let mut expected = Vec::new();
    for row in pipeline.rows(id).await? {
        if let StoredRow::Event(event) = StoredRow::read(&row, &settings())? {
            context = Context::after(context, &event);
            let envelope = Envelope::of(&event, context.context("an opening comes first")?);
            expected.push(envelope.to_bytes());
            state = evolve(state, &event.event);
        }
    }
    ensure!(
        expected.len() == events,
        "the table holds {} events, not {events}",
        expected.len()
    );

    let records = pipeline.journal.records_of(id, events).await?;
    let first = first_occurrences(&records);
    ensure!(
        first.iter().map(|record| &record.bytes).eq(&expected),
        "the stream does not hold the account's events in order"
    );
    ensure!(
        records
            .iter()
            .all(|record| expected.contains(&record.bytes)),
        "a repeat has other bytes"
    );

    let State::Open { currency, balance } = state else {
        anyhow::bail!("the account is not open");
    };
    let view = shows(pipeline, id, events).await?;
    ensure!(
        view["balance"] == balance.minor_units()
            && view["sequence"] == events
            && view["currency"] == currency.as_str(),
        "the view is {view}, but the events fold to {balance:?}"
    );
    has_history(pipeline, id, events).await?;
    pipeline.lake.holds(&expected).await
}

/// The view, once it is so far.
pub(crate) async fn shows(pipeline: &Pipeline, id: &str, sequence: usize) -> Result<Value> {
    let path = format!("/accounts/{id}?minSequence={sequence}");
    wait("the view", async || {
        let answer = pipeline.get(&path).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
            _ => {
                answer.expect(StatusCode::OK)?;
                Ok(Some(answer.body))
            }
        }
    })
    .await
}

/// The history, page by page, newest first and without a hole.
async fn has_history(pipeline: &Pipeline, id: &str, events: usize) -> Result<()> {
    let mut sequences = Vec::new();
    let mut path = format!("/accounts/{id}/transactions?limit=7");
    loop {
        let page = pipeline.get(&path).await?;
        page.expect(StatusCode::OK)?;
        let lines = page.body["transactions"].as_array().context("lines")?;
        sequences.extend(lines.iter().map(|line| line["sequence"].clone()));
        let Some(next) = page.body["next"].as_u64() else {
            break;
        };
        path = format!("/accounts/{id}/transactions?limit=7&before={next}");
    }
    let expected: Vec<Value> = (1..=events).rev().map(Value::from).collect();
    ensure!(sequences == expected, "the history holds {sequences:?}");
    Ok(())
}
