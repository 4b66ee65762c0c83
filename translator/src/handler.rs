//! Between Lambda's types and the translator's own.

use std::time::Duration;

use aws_lambda_events::dynamodb::{Event, EventRecord};
use aws_lambda_events::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use lambda_runtime::{Context, LambdaEvent};
use millrace_domain::{Attribute, Attributes, Timestamp, row};
use millrace_runtime::metrics::{Metric, count};
use millrace_runtime::{Ambient, Budget};
use serde_dynamo::{AttributeValue, Item};

use crate::batch::{Outcome, Translator};
use crate::cursor::CursorStore;
use crate::news::Inserted;
use crate::publish::Publisher;
use crate::rows::EventRows;

/// What is kept back of the invocation's time for saving the cursors and answering.
const RESERVE: Duration = Duration::from_secs(5);

/// The name of the change that adds a row.
const INSERT: &str = "INSERT";

/// Translates an invocation's batch.
///
/// The answer names at most one record, the first whose aggregate isn't through. Lambda delivers it
/// and everything behind it again
/// ([partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html)).
/// An empty name, where the record has none, stands for the whole batch.
pub async fn handle<R: EventRows, C: CursorStore, P: Publisher, A: Ambient>(
    translator: &Translator<R, C, P, A>,
    event: LambdaEvent<Event>,
) -> DynamoDbEventResponse {
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
    let outcome = translator.translate(inserted, budget).await;
    let resume_at = outcome.resume_at.into_iter().chain(unusable).min();
    log(&context, records.len(), outcome, resume_at);
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

fn log(context: &Context, records: usize, outcome: Outcome, resume_at: Option<usize>) {
    tracing::info!(
        request_id = context.request_id,
        records,
        aggregates = outcome.aggregates,
        blocked = outcome.blocked,
        resume_at,
        "translated a batch"
    );
}

fn measured(outcome: Outcome, now: Timestamp) -> [(Metric, Option<u64>); 7] {
    let Outcome { blocked, tally, .. } = outcome;
    let lag = tally
        .oldest
        .and_then(|oldest| u64::try_from(now.unix_millis() - oldest.unix_millis()).ok());
    [
        (Metric::EventsTranslated, count(tally.told)),
        (Metric::EventsPublished, count(tally.published)),
        (Metric::EventsRepeated, count(tally.repeated)),
        (Metric::EventsRepaired, count(tally.repaired)),
        (Metric::AggregatesBlocked, count(blocked)),
        (Metric::PublishRetries, count(tally.retries)),
        (Metric::PublishLag, lag),
    ]
}

/// A record without its row's hash key: not a record of the events table. It is reported, so that
/// it ends at the mapping's failure destination, and nothing can be done for it here.
struct NoKey;

fn read(position: usize, record: &EventRecord) -> Result<Option<Inserted>, NoKey> {
    if record.event_name != INSERT {
        return Ok(None);
    }
    let Some(AttributeValue::S(aggregate)) = record.change.keys.get(row::ID) else {
        tracing::error!(
            event_id = record.event_id,
            "a stream record holds no {}",
            row::ID
        );
        return Err(NoKey);
    };
    // The deployed filter keeps such items out; one that was deployed earlier doesn't.
    if row::is_reserved_id(aggregate) {
        return Ok(None);
    }
    let mut image = attributes(&record.change.keys);
    image.extend(attributes(&record.change.new_image));
    Ok(Some(Inserted {
        position,
        aggregate: aggregate.clone(),
        image,
    }))
}

fn attributes(item: &Item) -> Attributes {
    item.inner()
        .iter()
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

fn attribute(value: &AttributeValue) -> Attribute {
    match value {
        AttributeValue::S(text) => Attribute::Text(text.clone()),
        AttributeValue::N(number) => Attribute::Number(number.clone()),
        AttributeValue::B(_) => Attribute::Other("B"),
        AttributeValue::Bool(_) => Attribute::Other("BOOL"),
        AttributeValue::Bs(_) => Attribute::Other("BS"),
        AttributeValue::L(_) => Attribute::Other("L"),
        AttributeValue::M(_) => Attribute::Other("M"),
        AttributeValue::Ns(_) => Attribute::Other("NS"),
        AttributeValue::Null(_) => Attribute::Other("NULL"),
        AttributeValue::Ss(_) => Attribute::Other("SS"),
    }
}
