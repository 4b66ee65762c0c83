//! Checks of an account whose events are all published, projected and archived.

use anyhow::{Context as _, Result, ensure};
use millrace_core::row::StoredRow;
use millrace_core::{Domain, Envelope};
use millrace_domain::{Account, Accounts};
use millrace_tests::accounts_in_euro;
use reqwest::StatusCode;
use serde_json::Value;

use crate::journal::first_occurrences;
use crate::pipeline::{Pipeline, wait};

/// Checks that an account has exactly this number of events in the events table, in the view, in the history,
/// in the lake, and in the stream, there in order and with the expected bytes.
pub(crate) async fn has_exactly(pipeline: &Pipeline, id: &str, events: usize) -> Result<()> {
    let mut context = <Accounts as Domain>::Context::default();
    let mut account = None;
    let mut expected = Vec::new();
    for row in pipeline.rows(id).await? {
        if let StoredRow::Event(event) = StoredRow::read(&accounts_in_euro(), &row)? {
            let envelope = Envelope::publish::<Accounts>(&mut context, &event);
            let envelope = envelope.context("the first event isn't an opening")?;
            expected.push(envelope.to_bytes::<Accounts>()?);
            account = Accounts::evolve(account, &event.event);
        }
    }
    ensure!(
        expected.len() == events,
        "the table has {} events, not {events}",
        expected.len()
    );

    let records = pipeline.journal.records_of(id, events).await?;
    let first = first_occurrences(&records);
    ensure!(
        first.iter().map(|record| &record.bytes).eq(&expected),
        "the stream does not have the account's events in order"
    );
    ensure!(
        records
            .iter()
            .all(|record| expected.contains(&record.bytes)),
        "a duplicate has other bytes"
    );

    let Account { currency, balance } = account.context("the account is not open")?;
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

/// Waits until the view contains the event of this sequence.
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

/// Checks that the history has all entries, page by page, newest first and without a gap.
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
    ensure!(sequences == expected, "the history has {sequences:?}");
    Ok(())
}
