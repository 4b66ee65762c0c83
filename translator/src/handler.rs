//! Converts between Lambda's types and the translator's.

use std::time::Duration;

use aws_lambda_events::dynamodb::{Event, EventRecord};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use lambda_runtime::LambdaEvent;
use millrace_core::ids::is_reserved_id;
use millrace_core::{Domain, Timestamp, row};
use millrace_runtime::dynamodb::from_item;
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use serde_dynamo::AttributeValue;
use tracing::{Instrument as _, info_span};

use crate::notification::InsertedRow;
use crate::ports::{CursorStore, EventRows, Publisher};
use crate::service::{Outcome, SAVING, Translator};

/// The part of the invocation's time that is reserved for saving the cursors and for the response.
const RESERVE: Duration = Duration::from_secs(5);
const _: () = assert!(SAVING.as_secs() < RESERVE.as_secs());

/// The name of the change that adds a row.
const INSERT: &str = "INSERT";

/// Translates an invocation's batch.
///
/// The response names at most one record, the first whose aggregate is incomplete. Lambda delivers it
/// and everything after it again
/// ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html)).
/// If that record has no sequence number, the response contains an empty one, and Lambda delivers the
/// whole batch again.
pub async fn handle<D, R, C, P, A>(
    translator: &Translator<D, R, C, P, A>,
    event: LambdaEvent<Event>,
) -> DynamoDbEventResponse
where
    D: Domain,
    R: EventRows,
    C: CursorStore,
    P: Publisher,
    A: Ambient,
{
    let LambdaEvent {
        payload: Event { records, .. },
        context,
    } = event;
    let budget = Budget::of(&context, RESERVE, &translator.ambient);
    let mut inserted = Vec::new();
    let mut unusable = None;
    for (position, record) in records.iter().enumerate() {
        match read(position, record) {
            Ok(Some(row)) => inserted.push(row),
            Ok(None) => {}
            Err(NoKey) => unusable = unusable.or(Some(position)),
        }
    }
    let span = info_span!("batch", request_id = context.request_id);
    let translating = translator.translate(inserted, budget);
    let outcome = translating.instrument(span.clone()).await;
    let resume_at = outcome.resume_at.into_iter().chain(unusable).min();
    span.in_scope(|| log(records.len(), outcome, resume_at));
    translator.ambient.measure(
        &context.request_id,
        &measured(outcome, translator.ambient.now()),
    );

    let mut response = DynamoDbEventResponse::default();
    if let Some(position) = resume_at {
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(
            records[position]
                .change
                .sequence_number
                .clone()
                .unwrap_or_default(),
        );
        response.batch_item_failures.push(failure);
    }
    response
}

fn log(records: usize, outcome: Outcome, resume_at: Option<usize>) {
    tracing::info!(
        records,
        aggregates = outcome.aggregates,
        blocked = outcome.blocked,
        parked = outcome.parked,
        resume_at,
        "translated a batch"
    );
}

fn measured(outcome: Outcome, now: Timestamp) -> [(Metric, Option<u64>); 8] {
    let Outcome {
        blocked,
        parked,
        counters,
        ..
    } = outcome;
    let lag = counters
        .oldest
        .and_then(|oldest| u64::try_from(now.unix_millis() - oldest.unix_millis()).ok());
    [
        (Metric::EventsTranslated, count(counters.notified)),
        (Metric::EventsPublished, count(counters.published)),
        (Metric::EventsRepeated, count(counters.duplicates)),
        (Metric::EventsRepaired, count(counters.repaired)),
        (Metric::AggregatesBlocked, count(blocked)),
        (Metric::AggregatesParked, count(parked)),
        (Metric::PublishRetries, count(counters.retries)),
        (Metric::PublishLag, lag),
    ]
}

/// A record without its row's hash key, so not a record of the events table. It is reported as failed, so
/// that Lambda writes it to the mapping's failure destination.
struct NoKey;

fn read(position: usize, record: &EventRecord) -> Result<Option<InsertedRow>, NoKey> {
    if record.event_name != INSERT {
        return Ok(None);
    }
    let Some(AttributeValue::S(aggregate)) = record.change.keys.get(row::ID) else {
        tracing::error!(
            event_id = record.event_id,
            "a stream record has no key {}; the batch will be retried",
            row::ID
        );
        return Err(NoKey);
    };
    // The mapping's filter discards such items, except for filters of earlier deployments.
    if is_reserved_id(aggregate) {
        return Ok(None);
    }
    let mut image = from_item(record.change.keys.clone().into());
    image.extend(from_item(record.change.new_image.clone().into()));
    Ok(Some(InsertedRow {
        position,
        aggregate: aggregate.clone(),
        image,
    }))
}
