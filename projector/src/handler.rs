//! Converts between Lambda's types and the projector's.

use std::time::Duration;

use aws_lambda_events::kinesis::KinesisEvent;
use aws_lambda_events::streams::KinesisEventResponse;
use lambda_runtime::LambdaEvent;
use millrace_core::Project;
use millrace_runtime::kinesis::{from_batch, partial_batch_response};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::ports::ReadModel;
use crate::service::{Outcome, Projector};

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_secs(3);

/// Projects an invocation's batch.
pub async fn handle<D: Project, M: ReadModel, A: Ambient>(
    projector: &Projector<D, M, A>,
    event: LambdaEvent<KinesisEvent>,
) -> KinesisEventResponse {
    let LambdaEvent { payload, context } = event;
    let budget = Budget::of(&context, RESERVE, &projector.ambient);
    let span = info_span!("batch", request_id = context.request_id);
    let projecting = projector.project(from_batch(&payload.records), budget);
    let outcome = projecting.instrument(span.clone()).await;
    span.in_scope(|| log(payload.records.len(), outcome));
    projector.ambient.measure(
        &context.request_id,
        &[
            (Metric::EventsProjected, count(outcome.applied)),
            (Metric::ViewsStale, count(outcome.stale)),
            (Metric::ViewLag, outcome.lag_millis),
        ],
    );
    partial_batch_response(&payload.records, outcome.resume_at)
}

fn log(records: usize, outcome: Outcome) {
    tracing::info!(
        records,
        aggregates = outcome.aggregates,
        stale = outcome.stale,
        resume_at = outcome.resume_at,
        "projected a batch"
    );
}
