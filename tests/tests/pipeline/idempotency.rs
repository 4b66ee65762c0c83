//! Concurrent requests with one `Idempotency-Key`.

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde_json::json;

use crate::pipeline::{Answer, Pipeline};
use crate::verify;

const AT_ONCE: usize = 20;
const ROUNDS: usize = 25;
const COPIES: usize = 12;

pub(crate) async fn concurrent_commands_with_one_key_append_one_event(
    pipeline: &Pipeline,
) -> Result<()> {
    let id = pipeline.open().await?;
    pipeline.accepted(&id, "credit", 500).await?;
    let path = format!("/accounts/{id}/withdraw");
    let key = format!("key of {id}");
    let headers = [("idempotency-key", key.as_str())];

    let body = json!({ "amount": 200 });
    let requests = (0..AT_ONCE).map(|_| pipeline.post(&path, &headers, &body));
    let answers = try_join_all(requests).await?;
    all_agree(&answers)?;
    answers[0].expect(StatusCode::OK)?;
    ensure!(answers[0].body["balance"] == 300, "{:?}", answers[0]);

    let other = pipeline
        .post(&path, &headers, &json!({ "amount": 201 }))
        .await?;
    other.expect(StatusCode::UNPROCESSABLE_ENTITY)?;
    ensure!(
        other.body["type"] == "urn:millrace:problem:idempotency-key-reused",
        "{other:?}"
    );

    let opening = format!("opening of {id}");
    let headers = [("idempotency-key", opening.as_str())];
    let body = json!({ "currency": "CHF" });
    let requests = (0..AT_ONCE).map(|_| pipeline.post("/accounts", &headers, &body));
    let answers = try_join_all(requests).await?;
    all_agree(&answers)?;
    answers[0].expect(StatusCode::CREATED)?;

    let opened = answers[0].body["accountId"].as_str().unwrap_or_default();
    verify::has_exactly(pipeline, opened, 1).await?;
    verify::has_exactly(pipeline, &id, 3).await
}

/// A duplicate that reads the rows after the first request appended its event finds another sequence than its
/// `If-Match`. It still gets the outcome of the first request.
pub(crate) async fn duplicates_with_a_precondition_get_one_outcome(
    pipeline: &Pipeline,
) -> Result<()> {
    let id = pipeline.open().await?;
    let path = format!("/accounts/{id}/credit");
    let body = json!({ "amount": 1 });
    for round in 1..=ROUNDS {
        let (key, tag) = (format!("round {round} of {id}"), format!("\"{round}\""));
        let headers = [("idempotency-key", key.as_str()), ("if-match", &tag)];
        let requests = (0..COPIES).map(|_| pipeline.post(&path, &headers, &body));
        let answers = try_join_all(requests).await?;
        answers[0].expect(StatusCode::OK)?;
        all_agree(&answers)?;
    }
    verify::has_exactly(pipeline, &id, 1 + ROUNDS).await
}

fn all_agree(answers: &[Answer]) -> Result<()> {
    for answer in answers {
        for header in ["etag", "location"] {
            ensure!(
                answer.header(header) == answers[0].header(header),
                "{answers:?}"
            );
        }
        ensure!(
            (answer.status, &answer.body) == (answers[0].status, &answers[0].body),
            "{answers:?}"
        );
    }
    Ok(())
}
