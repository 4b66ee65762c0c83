//! The functions behind the event source mappings: which log each reads, which of its records, and
//! how the mapping hands them over.

use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;

use aws_lambda_events::dynamodb::Event as TableEvent;
use aws_lambda_events::kinesis::KinesisEvent;
use aws_lambda_events::streams::KinesisEventResponse;
use lambda_runtime::{Context, LambdaEvent};
use millrace_archiver::handler::handle as archive;
use millrace_archiver::service::Archiver;
use millrace_core::{Attribute, Attributes, row};
use millrace_domain::Accounts;
use millrace_projector::handler::handle as project;
use millrace_projector::service::Projector;
use millrace_runtime::testing;
use millrace_translator::handler::handle as translate;
use millrace_translator::service::Translator;
use serde_json::{Value, json};

use super::expected::{DEFAULT_CURRENCY, sequence_in};
use super::log::{Log, Stored};
use super::services::Services;
use super::world::{Change, Event, World};

/// A function that reads a log.
pub(crate) trait Function: Copy + Send + Sync + 'static {
    /// What its log holds.
    type Record: Clone + Send + Sync + 'static;
    /// Its name.
    const NAME: &'static str;

    fn log(world: &World) -> &Log<Self::Record>;

    /// Whether the mapping's filter lets a record pass; a mapping without one lets all pass.
    fn passes(_record: &Self::Record) -> bool {
        true
    }

    /// What a record's lane is chosen by.
    fn key(record: &Self::Record) -> &str;

    /// The first sequence that the batch holds of each account.
    fn first_sequences(_batch: &[Stored<Self::Record>]) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Handles a batch; answers with the sequence numbers that it reports.
    fn handle(
        services: Services,
        context: Context,
        batch: Vec<Stored<Self::Record>>,
    ) -> impl Future<Output = Vec<String>> + Send;
}

/// The domain that every function has here.
pub(crate) fn accounts() -> Accounts {
    Accounts::read(|_| Some(DEFAULT_CURRENCY.to_owned())).expect("a listed currency")
}

/// The translator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Translate;

/// The projector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Project;

/// The archiver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archive;

impl Function for Translate {
    type Record = Change;
    const NAME: &'static str = "translator";

    fn log(world: &World) -> &Log<Change> {
        &world.table_stream
    }

    fn passes(change: &Change) -> bool {
        change.passes_filter
    }

    fn key(change: &Change) -> &str {
        &change.aggregate
    }

    async fn handle(
        services: Services,
        context: Context,
        batch: Vec<Stored<Change>>,
    ) -> Vec<String> {
        let records: Vec<Value> = batch
            .iter()
            .map(|Stored { number, record, .. }| table_record(record.name, &record.row, *number))
            .collect();
        let event: TableEvent =
            serde_json::from_value(json!({ "Records": records })).expect("a stream event");
        let translator = Translator {
            domain: accounts(),
            rows: services.clone(),
            cursors: services.clone(),
            publisher: services.clone(),
            ambient: services,
        };
        let response = translate(&translator, LambdaEvent::new(event, context)).await;
        let failures = response.batch_item_failures.into_iter();
        failures
            .map(|failure| failure.item_identifier.unwrap_or_default())
            .collect()
    }
}

impl Function for Project {
    type Record = Event;
    const NAME: &'static str = "projector";

    fn log(world: &World) -> &Log<Event> {
        &world.domain_stream
    }

    fn key(event: &Event) -> &str {
        &event.partition_key
    }

    fn first_sequences(batch: &[Stored<Event>]) -> BTreeMap<String, u64> {
        let mut first = BTreeMap::new();
        for Stored { record, .. } in batch {
            if let Some(sequence) = sequence_in(&record.data) {
                first
                    .entry(record.partition_key.clone())
                    .or_insert(sequence);
            }
        }
        first
    }

    async fn handle(
        services: Services,
        context: Context,
        batch: Vec<Stored<Event>>,
    ) -> Vec<String> {
        let projector = Projector {
            domain: PhantomData::<Accounts>,
            model: services.clone(),
            ambient: services,
        };
        let event = LambdaEvent::new(kinesis_event(&batch), context);
        reported(project(&projector, event).await)
    }
}

impl Function for Archive {
    type Record = Event;
    const NAME: &'static str = "archiver";

    fn log(world: &World) -> &Log<Event> {
        &world.domain_stream
    }

    fn key(event: &Event) -> &str {
        &event.partition_key
    }

    async fn handle(
        services: Services,
        context: Context,
        batch: Vec<Stored<Event>>,
    ) -> Vec<String> {
        let archiver = Archiver {
            domain: PhantomData::<Accounts>,
            delivery: services.clone(),
            ambient: services,
        };
        let event = LambdaEvent::new(kinesis_event(&batch), context);
        reported(archive(&archiver, event).await)
    }
}

/// The sequence numbers that a consumer reports.
fn reported(response: KinesisEventResponse) -> Vec<String> {
    let failures = response.batch_item_failures.into_iter();
    failures
        .map(|failure| failure.item_identifier.unwrap_or_default())
        .collect()
}

/// A change as the table's stream shows it to Lambda.
pub(crate) fn table_record(name: &str, row: &Attributes, number: u64) -> Value {
    let image = image(row);
    let number = number.to_string();
    json!({
        "eventID": format!("event-{number}"),
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-north-1",
        "eventSourceARN": "arn:aws:dynamodb:eu-north-1:000000000000:table/events/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_800_000_000,
            "Keys": {"Id": image[row::ID], "Version": image[row::VERSION]},
            "NewImage": image,
            "SequenceNumber": number,
            "SizeBytes": 100,
            "StreamViewType": "NEW_IMAGE",
        },
    })
}

fn image(row: &Attributes) -> Value {
    let attributes = row.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => json!({ "S": text }),
            Attribute::Number(number) => json!({ "N": number }),
            _ => json!({ "BOOL": true }),
        };
        (name.clone(), value)
    });
    Value::Object(attributes.collect())
}

fn kinesis_event(batch: &[Stored<Event>]) -> KinesisEvent {
    let records = batch.iter().map(|Stored { number, record, .. }| {
        let Event {
            partition_key,
            data,
            ..
        } = record;
        (*number, partition_key.as_str(), &data[..])
    });
    testing::kinesis_event(records)
}
