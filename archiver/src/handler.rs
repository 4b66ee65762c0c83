//! Converts between Lambda's types and the archiver's.

use std::time::Duration;

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_consumer::{BatchResponse, KinesisBatch};
use millrace_core::{DecodeError, Domain};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::ports::Delivery;
use crate::service::{Archiver, Outcome};

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_secs(3);

/// Archives an invocation's batch, given as the bytes that Lambda delivered.
///
/// # Errors
/// [`DecodeError`] if the bytes are no batch of a Kinesis mapping. Nothing was archived, and Lambda
/// delivers the whole batch again.
pub async fn handle<D: Domain, L: Delivery, A: Ambient>(
    archiver: &Archiver<D, L, A>,
    event: LambdaEvent<Bytes>,
) -> Result<BatchResponse, DecodeError> {
    let LambdaEvent {
        payload: body,
        context,
    } = event;
    let budget = Budget::of(&context, RESERVE, &archiver.ambient);
    let span = info_span!("batch", request_id = context.request_id);
    let batch = span.in_scope(|| KinesisBatch::read(&body))?;
    let archiving = archiver.archive(&batch.records, budget);
    let outcome = archiving.instrument(span.clone()).await;
    let resume_at = batch.resume_at(outcome.resume_at);
    span.in_scope(|| log(batch.delivered(), outcome, resume_at));
    archiver.ambient.measure(
        &context.request_id,
        &[
            (
                Metric::RecordsArchived,
                count(resume_at.unwrap_or(batch.delivered())),
            ),
            (Metric::ArchiveRetries, count(outcome.retries)),
            (
                Metric::ArchiveFailures,
                Some(u64::from(resume_at.is_some())),
            ),
        ],
    );
    Ok(batch.response(resume_at))
}

fn log(records: usize, outcome: Outcome, resume_at: Option<usize>) {
    tracing::info!(
        records,
        packed = outcome.packed,
        retries = outcome.retries,
        resume_at,
        "archived a batch"
    );
}
