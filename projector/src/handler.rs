//! Between Lambda's types and the consumers' own.
//!
//! Each answer names at most one record, the first that isn't through. Lambda delivers it and
//! everything behind it again
//! ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html)).
//! An empty name, where the record has none, stands for the whole batch.

use std::time::Duration;

use aws_lambda_events::kinesis::{KinesisEvent, KinesisEventRecord};
use aws_lambda_events::streams::KinesisEventResponse;
use lambda_runtime::LambdaEvent;
use millrace_domain::Timestamp;
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, Budget};

use crate::archive::{Archiver, Delivery};
use crate::model::ReadModel;
use crate::project::Projector;
use crate::record::Delivered;

/// What is kept back of the invocation's time for answering.
const RESERVE: Duration = Duration::from_secs(3);

/// Projects an invocation's batch.
pub async fn project<M: ReadModel, A: Ambient>(
    projector: &Projector<M, A>,
    event: LambdaEvent<KinesisEvent>,
) -> KinesisEventResponse {
    let LambdaEvent { payload, context } = event;
    let budget = Budget::of(&context, RESERVE, &projector.ambient);
    let outcome = projector.project(delivered(&payload.records), budget).await;
    tracing::info!(
        request_id = context.request_id,
        records = payload.records.len(),
        aggregates = outcome.aggregates,
        stale = outcome.stale,
        resume_at = outcome.resume_at,
        "projected a batch"
    );
    projector.ambient.measure(
        &context.request_id,
        &[
            (Metric::EventsProjected, count(outcome.applied)),
            (Metric::ViewsStale, count(outcome.stale)),
            (Metric::ViewLag, outcome.lag_millis),
        ],
    );
    response(&payload.records, outcome.resume_at)
}

/// Archives an invocation's batch.
pub async fn archive<D: Delivery, A: Ambient>(
    archiver: &Archiver<D, A>,
    event: LambdaEvent<KinesisEvent>,
) -> KinesisEventResponse {
    let LambdaEvent { payload, context } = event;
    let budget = Budget::of(&context, RESERVE, &archiver.ambient);
    let outcome = archiver.archive(&delivered(&payload.records), budget).await;
    tracing::info!(
        request_id = context.request_id,
        records = payload.records.len(),
        packed = outcome.packed,
        retries = outcome.retries,
        resume_at = outcome.resume_at,
        "archived a batch"
    );
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
    response(&payload.records, outcome.resume_at)
}

fn count(number: usize) -> Option<u64> {
    u64::try_from(number).ok()
}

fn delivered(records: &[KinesisEventRecord]) -> Vec<Delivered> {
    records
        .iter()
        .enumerate()
        .map(|(position, record)| {
            let stream_id = record.event_id.clone();
            Delivered {
                position,
                stream_id: stream_id.unwrap_or_else(|| record.kinesis.sequence_number.clone()),
                partition_key: record.kinesis.partition_key.clone(),
                arrival: Timestamp::from_unix_millis(
                    record
                        .kinesis
                        .approximate_arrival_timestamp
                        .timestamp_millis(),
                ),
                data: record.kinesis.data.to_vec(),
            }
        })
        .collect()
}

fn response(records: &[KinesisEventRecord], resume_at: Option<usize>) -> KinesisEventResponse {
    let mut response = KinesisEventResponse::default();
    if let Some(position) = resume_at {
        response.add_failure(records[position].kinesis.sequence_number.clone());
    }
    response
}
