//! From the bytes of a Kinesis mapping's batch to the items of the read model: by the projector's handler with a read
//! model in memory that answers at once, and in the usual way with `aws_lambda_events`, `serde_json` and
//! `serde_dynamo`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lambda_events::kinesis::KinesisEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use lambda_runtime::LambdaEvent;
use millrace_core::{Attribute, Attributes, StoredRow};
use millrace_domain::Accounts;
use millrace_projector::handler::handle;
use millrace_projector::ports::{REVISION, ReadModel, Saved, ViewSave, Views};
use millrace_projector::service::Projector;
use millrace_runtime::ServiceError;
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::ambient::{FixedAmbient, context, runtime};
use crate::{attributes, one_pass};

/// The items of the view table and of the history table, each in the order of their keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Items {
    views: BTreeMap<String, Attributes>,
    history: Vec<Attributes>,
}

/// A batch of the domain stream as Lambda delivers it, with the public events of a batch of the events table's stream.
///
/// # Panics
/// If the event isn't one of [`invocation`](crate::batch::invocation).
#[must_use]
pub fn kinesis_event(stream_event: &[u8]) -> Vec<u8> {
    let rows = one_pass::decode(stream_event);
    let events = one_pass::translate(stream_event);
    let records: Vec<Value> = rows
        .iter()
        .zip(events)
        .enumerate()
        .map(|(position, (row, event))| {
            let StoredRow::Event(row) = row else {
                panic!("a row is an event")
            };
            kinesis_record(position, row.id.as_str(), &event)
        })
        .collect();
    serde_json::to_vec(&json!({ "Records": records })).expect("JSON")
}

/// A record as in [Lambda's example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html).
fn kinesis_record(position: usize, aggregate: &str, event: &[u8]) -> Value {
    let sequence = format!("49590338271490256608559692538361571095921575989136{position:06}");
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": aggregate,
            "sequenceNumber": sequence,
            "data": STANDARD.encode(event),
            "approximateArrivalTimestamp": 1_800_000_000.125,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("shardId-000000000006:{sequence}"),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
        "awsRegion": "eu-north-1",
        "eventSourceARN": "arn:aws:kinesis:eu-north-1:123456789012:stream/domain-events",
    })
}

/// The parse of the batch with `serde_json`.
///
/// # Panics
/// If the batch isn't one of [`kinesis_event`].
#[must_use]
pub fn parse(json: &[u8]) -> KinesisEvent {
    serde_json::from_slice(json).expect("an event")
}

/// The parse of the batch as `lambda_runtime` 1.5 does it, which notes the path of each value for its error.
///
/// # Panics
/// Like [`parse`].
#[must_use]
pub fn parse_as_lambda_runtime(json: &[u8]) -> KinesisEvent {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut deserializer).expect("an event")
}

/// The projector's handler and its read model.
#[derive(Debug)]
pub struct Projection {
    runtime: Runtime,
    model: MemoryModel,
}

/// Tables without items before the batch.
#[derive(Debug, Default)]
struct MemoryModel {
    keeps: bool,
    items: Mutex<Items>,
}

impl Projection {
    /// A handler whose read model forgets what it receives, or keeps it for [`Projection::into_items`].
    ///
    /// # Panics
    /// If the runtime can't be built.
    #[must_use]
    pub fn new(keeps: bool) -> Self {
        Self {
            runtime: runtime(),
            model: MemoryModel {
                keeps,
                ..MemoryModel::default()
            },
        }
    }

    /// Handles an invocation with these bytes.
    ///
    /// # Panics
    /// If an aggregate of the batch is not completed.
    pub fn handle(&self, json: &[u8]) {
        let projector: Projector<Accounts, _, _> = Projector {
            domain: std::marker::PhantomData,
            model: &self.model,
            ambient: FixedAmbient,
        };
        let event = LambdaEvent::new(Bytes::copy_from_slice(json), context());
        let response = self.runtime.block_on(handle(&projector, event));
        let failures = response.expect("a batch").batch_item_failures;
        assert!(failures.is_empty(), "an aggregate is not completed");
    }

    /// The items that the read model has kept, without the revisions that the projector adds.
    #[must_use]
    pub fn into_items(self) -> Items {
        let items = self.model.items.into_inner();
        let mut items = items.unwrap_or_else(PoisonError::into_inner);
        for view in items.views.values_mut() {
            view.remove(REVISION);
        }
        items.sort();
        items
    }
}

impl MemoryModel {
    fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadModel for &MemoryModel {
    async fn view(&self, _: &str) -> Result<Option<Attributes>, ServiceError> {
        Ok(None)
    }

    async fn read_views(&self, _: &[&str]) -> Result<Views, ServiceError> {
        Ok(Views::default())
    }

    async fn put_history(&self, items: Vec<Attributes>) -> Result<Vec<Attributes>, ServiceError> {
        if self.keeps {
            self.items().history.extend(items);
        }
        Ok(Vec::new())
    }

    async fn save_view(
        &self,
        item: Attributes,
        _: Option<&Attributes>,
    ) -> Result<Saved, ServiceError> {
        if self.keeps {
            self.items().views.insert(id(&item), item);
        }
        Ok(Saved::Stored)
    }

    async fn save_views(&self, saves: Vec<ViewSave>) -> Result<Vec<bool>, ServiceError> {
        let stored = vec![true; saves.len()];
        if self.keeps {
            let items = saves.into_iter().map(|save| (id(&save.item), save.item));
            self.items().views.extend(items);
        }
        Ok(stored)
    }

    async fn set_stale(
        &self,
        _: &str,
        _: Attributes,
        _: &Attributes,
    ) -> Result<Saved, ServiceError> {
        Err(ServiceError::permanent("marking a view", "none is stale"))
    }
}

impl Items {
    fn sort(&mut self) {
        self.history.sort_by_key(|item| {
            let sequence = item.get("Sequence").and_then(Attribute::as_integer);
            (id(item), sequence)
        });
    }
}

fn id(item: &Attributes) -> String {
    match item.get("Id") {
        Some(Attribute::Text(id)) => id.clone(),
        other => panic!("the id of an item is {other:?}"),
    }
}

/// A public event as `serde` reads it.
#[derive(Deserialize)]
struct PublicEvent {
    subject: String,
    r#type: String,
    time: DateTime<Utc>,
    correlationid: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    sequence: u64,
    amount: Option<i64>,
    currency: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct View {
    id: String,
    sequence: u64,
    opened_at: String,
    updated_at: String,
    currency: String,
    balance: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: &'a str,
    sequence: u64,
    r#type: &'a str,
    time: &'a str,
    effective_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<i64>,
    balance: i64,
    currency: &'a str,
}

/// The items of the usual way: those of the views, and those of the history.
pub type PeerItems = (Vec<Item>, Vec<Item>);

/// The usual way, without checks of sequences and sizes.
///
/// # Panics
/// If the batch isn't one of [`kinesis_event`].
#[must_use]
pub fn project(json: &[u8], parse: fn(&[u8]) -> KinesisEvent) -> PeerItems {
    let mut views: BTreeMap<String, View> = BTreeMap::new();
    let mut history = Vec::new();
    for record in parse(json).records {
        let event: PublicEvent =
            serde_json::from_slice(&record.kinesis.data).expect("a public event");
        let time = event.time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let view = views.entry(event.subject.clone()).or_insert_with(|| View {
            id: event.subject,
            sequence: 0,
            opened_at: time.clone(),
            updated_at: time.clone(),
            currency: event.data.currency.clone(),
            balance: 0,
        });
        let amount = event.data.amount;
        view.balance += match event.r#type.as_str() {
            "BalanceWithdrawn" => -amount.unwrap_or_default(),
            _ => amount.unwrap_or_default(),
        };
        view.sequence = event.data.sequence;
        if view.updated_at < time {
            view.updated_at.clone_from(&time);
        }
        let entry = Entry {
            id: &view.id,
            sequence: view.sequence,
            r#type: &event.r#type,
            time: &time,
            effective_at: &view.updated_at,
            correlation_id: event.correlationid.as_deref(),
            amount,
            balance: view.balance,
            currency: &event.data.currency,
        };
        history.push(serde_dynamo::to_item(&entry).expect("an item"));
    }
    let views = views.into_values().map(serde_dynamo::to_item);
    (views.collect::<Result<_, _>>().expect("items"), history)
}

/// The items of the usual way, to be compared with the projector's.
#[must_use]
pub fn items((views, history): PeerItems) -> Items {
    let views = views.into_iter().map(attributes);
    let mut items = Items {
        views: views.map(|view| (id(&view), view)).collect(),
        history: history.into_iter().map(attributes).collect(),
    };
    items.sort();
    items
}
