//! Converts between Lambda's types and the archiver's.

use std::time::Duration;

use aws_lambda_events::kinesis::KinesisEvent;
use aws_lambda_events::streams::KinesisEventResponse;
use lambda_runtime::LambdaEvent;
use millrace_core::Domain;
use millrace_runtime::kinesis::{from_batch, partial_batch_response};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::ports::Delivery;
use crate::service::{Archiver, Outcome};

/// The part of the invocation's time that is reserved for the response.
const RESERVE: Duration = Duration::from_secs(3);

/// Archives an invocation's batch.
pub async fn handle<D: Domain, L: Delivery, A: Ambient>(
    archiver: &Archiver<D, L, A>,
    event: LambdaEvent<KinesisEvent>,
) -> KinesisEventResponse {
    let LambdaEvent { payload, context } = event;
    let budget = Budget::of(&context, RESERVE, &archiver.ambient);
    let span = info_span!("batch", request_id = context.request_id);
    let records = from_batch(&payload.records);
    let outcome = archiver
        .archive(&records, budget)
        .instrument(span.clone())
        .await;
    span.in_scope(|| log(records.len(), outcome));
    let delivered = outcome.resume_at.unwrap_or(payload.records.len());
    archiver.ambient.measure(
        &context.request_id,
        &[
            (Metric::RecordsArchived, count(delivered)),
            (Metric::ArchiveRetries, count(outcome.retries)),
            (
                Metric::ArchiveFailures,
                Some(u64::from(outcome.resume_at.is_some())),
            ),
        ],
    );
    partial_batch_response(&payload.records, outcome.resume_at)
}

fn log(records: usize, outcome: Outcome) {
    tracing::info!(
        records,
        packed = outcome.packed,
        retries = outcome.retries,
        resume_at = outcome.resume_at,
        "archived a batch"
    );
}
