//! Converts between Lambda's types and the projector's.

use std::time::Duration;

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_consumer::{BatchResponse, KinesisBatch};
use millrace_core::{DecodeError, Project};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::ports::ReadModel;
use crate::service::{Outcome, Projector};

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_secs(3);

/// Projects an invocation's batch, given as the bytes that Lambda delivered.
///
/// # Errors
/// [`DecodeError`] if the bytes are no batch of a Kinesis mapping. Nothing was projected, and Lambda
/// delivers the whole batch again.
pub async fn handle<D: Project, M: ReadModel, A: Ambient>(
    projector: &Projector<D, M, A>,
    event: LambdaEvent<Bytes>,
) -> Result<BatchResponse, DecodeError> {
    let LambdaEvent {
        payload: body,
        context,
    } = event;
    let budget = Budget::of(&context, RESERVE, &projector.ambient);
    let span = info_span!("batch", request_id = context.request_id);
    let mut batch = span.in_scope(|| KinesisBatch::read(&body))?;
    let projecting = projector.project(std::mem::take(&mut batch.records), budget);
    let outcome = projecting.instrument(span.clone()).await;
    let resume_at = batch.resume_at(outcome.resume_at);
    span.in_scope(|| log(batch.delivered(), outcome, resume_at));
    projector.ambient.measure(
        &context.request_id,
        &[
            (Metric::EventsProjected, count(outcome.applied)),
            (Metric::ViewsStale, count(outcome.stale)),
            (Metric::ViewLag, outcome.lag_millis),
        ],
    );
    Ok(batch.response(resume_at))
}

fn log(records: usize, outcome: Outcome, resume_at: Option<usize>) {
    tracing::info!(
        records,
        aggregates = outcome.aggregates,
        stale = outcome.stale,
        resume_at,
        "projected a batch"
    );
}
