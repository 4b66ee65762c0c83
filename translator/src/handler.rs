//! Converts between Lambda's types and the translator's.

use std::borrow::Cow;
use std::time::Duration;

use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_core::ids::is_reserved_id;
use millrace_core::stream::read_records;
use millrace_core::{Attribute, DecodeError, Domain, StreamRecord, Timestamp, row};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use tracing::{Instrument as _, info_span};

use crate::notification::{ChangeNotifications, InsertedRow};
use crate::ports::{CursorStore, EventRows, Publisher};
use crate::service::{Outcome, SAVING, Translator};

/// The part of the invocation's time that is reserved for saving the cursors and for the response.
const RESERVE: Duration = Duration::from_secs(5);
const _: () = assert!(SAVING.as_secs() < RESERVE.as_secs());

/// The name of the change that adds a row.
const INSERT: &str = "INSERT";

/// Translates an invocation's batch, given as the bytes that Lambda delivered.
///
/// The response names at most one record, the first whose aggregate is incomplete. Lambda delivers it
/// and everything after it again
/// ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html)).
/// If that record has no sequence number, the response contains an empty one, and Lambda delivers the
/// whole batch again.
///
/// # Errors
/// [`DecodeError`] if the bytes are no event of a DynamoDB stream. Nothing was published, and Lambda
/// delivers the whole batch again.
pub async fn handle<D, R, C, P, A>(
    translator: &Translator<D, R, C, P, A>,
    event: LambdaEvent<Bytes>,
) -> Result<DynamoDbEventResponse, DecodeError>
where
    D: Domain,
    R: EventRows,
    C: CursorStore,
    P: Publisher,
    A: Ambient,
{
    let LambdaEvent {
        payload: body,
        context,
    } = event;
    let budget = Budget::of(&context, RESERVE, &translator.ambient);
    let span = info_span!("batch", request_id = context.request_id);
    let batch = span.in_scope(|| read_batch(&translator.domain, &body))?;
    let translating = translator.translate(batch.notifications, budget);
    let outcome = translating.instrument(span.clone()).await;
    let resume_at = outcome.resume_at.into_iter().chain(batch.unusable).min();
    let records = batch.sequence_numbers.len();
    span.in_scope(|| log(records, outcome, resume_at));
    translator.ambient.measure(
        &context.request_id,
        &measured(outcome, translator.ambient.now()),
    );

    let mut response = DynamoDbEventResponse::default();
    if let Some(position) = resume_at {
        let number = batch.sequence_numbers[position].as_deref();
        let mut failure = DynamoDbBatchItemFailure::default();
        failure.item_identifier = Some(number.unwrap_or_default().to_owned());
        response.batch_item_failures.push(failure);
    }
    Ok(response)
}

/// The records of an invocation.
struct Batch<'a, D: Domain> {
    notifications: ChangeNotifications<'a, D>,
    /// The position of the first record that is [`Unusable`].
    unusable: Option<usize>,
    /// One for each record.
    sequence_numbers: Vec<Option<Cow<'a, str>>>,
}

fn read_batch<'a, D: Domain>(domain: &D, body: &'a [u8]) -> Result<Batch<'a, D>, DecodeError> {
    let mut batch = Batch {
        notifications: ChangeNotifications::default(),
        unusable: None,
        sequence_numbers: Vec::new(),
    };
    read_records(body, |position, record| {
        batch.sequence_numbers.push(record.sequence_number.take());
        match inserted(position, record) {
            Ok(Some(row)) => batch.notifications.add(domain, row),
            Ok(None) => {}
            Err(Unusable) => batch.unusable = batch.unusable.or(Some(position)),
        }
    })?;
    Ok(batch)
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

fn measured(outcome: Outcome, now: Timestamp) -> [(Metric, Option<u64>); 9] {
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
        (Metric::LongestChain, count(counters.longest_chain)),
        (Metric::PublishLag, lag),
    ]
}

/// A record without the name of its change, or without its row's hash key, so not a record of the events
/// table. It is reported as failed, so that Lambda writes it to the mapping's failure destination.
struct Unusable;

/// The row that the record announces; `None` if it announces none.
fn inserted<'c, 'a>(
    position: usize,
    record: &'c mut StreamRecord<'a>,
) -> Result<Option<InsertedRow<'c, 'a>>, Unusable> {
    let unusable = |problem: &str| {
        tracing::error!(
            event_id = record.event_id.as_deref(),
            problem,
            "a stream record can't be used; the batch will be retried"
        );
        Unusable
    };
    match record.event_name.as_deref() {
        Some(INSERT) => {}
        Some(_) => return Ok(None),
        None => return Err(unusable("eventName is missing")),
    }
    let Some(Attribute::Text(aggregate)) = record.keys.get(row::ID) else {
        return Err(unusable("the key Id is missing"));
    };
    // The mapping's filter discards such items, except for filters of earlier deployments.
    if is_reserved_id(aggregate) {
        return Ok(None);
    }
    Ok(Some(InsertedRow {
        position,
        aggregate: aggregate.clone(),
        columns: record.item(),
    }))
}
