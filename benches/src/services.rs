//! Mocks of DynamoDB and Kinesis: each call takes a set time, and some records of a put fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::http::{Request, Response};

/// What the services do.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// How long `PutRecords` takes.
    pub put_records: Duration,
    /// How long a write of DynamoDB takes.
    pub write: Duration,
    /// How long a read of DynamoDB takes.
    pub read: Duration,
    /// The part of the records that Kinesis throttles, from 0 to 1.
    pub throttled: f64,
}

/// The services, and what they have received.
#[derive(Debug)]
pub struct Services {
    behaviour: Behaviour,
    received: Mutex<Received>,
}

/// What the services have received.
#[derive(Debug)]
pub struct Received {
    /// The number of calls of each operation.
    pub calls: BTreeMap<String, usize>,
    /// The number of records on the stream.
    pub records: u32,
    /// The sequence of each account's last record.
    last: HashMap<String, u64>,
    /// The accounts' records that are not in order.
    disordered: Vec<String>,
    rng: fastrand::Rng,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            calls: BTreeMap::new(),
            records: 0,
            last: HashMap::new(),
            disordered: Vec::new(),
            rng: fastrand::Rng::with_seed(1),
        }
    }
}

impl Received {
    /// Checks that the stream has this many records, and each account's events from 1 on, in order.
    ///
    /// # Errors
    /// If a record is missing, repeated or not in order.
    pub fn check(&self, events: u32) -> Result<()> {
        let disordered = &self.disordered;
        ensure!(
            disordered.is_empty(),
            "records not in order: {disordered:?}"
        );
        let records = self.records;
        ensure!(records == events, "{records} records instead of {events}");
        Ok(())
    }
}

impl Services {
    /// Services that have received nothing.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            received: Mutex::default(),
        }
    }

    /// Returns what was received since the last call.
    pub fn take(&self) -> Received {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().expect("the lock isn't poisoned")
    }

    /// Answers a call.
    pub async fn answer(&self, request: &Request) -> Response {
        let Behaviour {
            put_records,
            write,
            read,
            ..
        } = self.behaviour;
        let operation = request.target.rsplit('.').next().unwrap_or_default();
        *self.lock().calls.entry(operation.to_owned()).or_default() += 1;
        tokio::time::sleep(match operation {
            "PutRecords" => put_records,
            "BatchGetItem" | "GetItem" | "Query" => read,
            _ => write,
        })
        .await;
        let answered = self.result(operation, &request.body);
        let body = answered.unwrap_or_else(|error| {
            eprintln!("{operation}: {error:#}");
            json!({ "__type": "ValidationException", "message": format!("{error:#}") })
        });
        let mut response = Response::json(body.to_string().into_bytes());
        if body.get("__type").is_some() {
            response.status = 400;
        }
        response
    }

    fn result(&self, operation: &str, body: &[u8]) -> Result<Value> {
        let request: Value = serde_json::from_slice(body).context("the request isn't JSON")?;
        Ok(match operation {
            "PutRecords" => self.put_records(&request)?,
            "GetItem" => json!({ "Item": {
                "Id": { "S": "\u{1}millrace" }, "Version": { "N": "0" }, "Type": { "S": "SETTINGS" },
                "DefaultCurrency": { "S": "EUR" },
            }}),
            // No cursor, view or row is stored yet.
            "BatchGetItem" => {
                let tables = request["RequestItems"].as_object().context("tables")?;
                let none = tables.keys().map(|table| (table.clone(), json!([])));
                let responses: Map<String, Value> = none.collect();
                json!({ "Responses": responses, "UnprocessedKeys": {} })
            }
            "Query" => json!({ "Items": [], "Count": 0, "ScannedCount": 0 }),
            "BatchExecuteStatement" => {
                let statements = request["Statements"].as_array().context("statements")?;
                json!({ "Responses": vec![json!({}); statements.len()] })
            }
            "UpdateItem" | "PutItem" | "BatchWriteItem" => json!({}),
            other => anyhow::bail!("no mock for {other:?}"),
        })
    }

    fn put_records(&self, request: &Value) -> Result<Value> {
        let records = request["Records"].as_array().context("records")?;
        let mut received = self.lock();
        let mut failed = 0;
        let mut results = Vec::new();
        for record in records {
            if received.rng.f64() < self.behaviour.throttled {
                failed += 1;
                results.push(json!({
                    "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down",
                }));
                continue;
            }
            let data = STANDARD.decode(record["Data"].as_str().context("data")?)?;
            let event: Value = serde_json::from_slice(&data)?;
            let sequence = event["data"]["sequence"].as_u64().context("a sequence")?;
            let account = event["subject"].as_str().context("a subject")?.to_owned();
            let last = received.last.insert(account, sequence).unwrap_or_default();
            if sequence != last + 1 {
                let id = event["id"].as_str().unwrap_or_default().to_owned();
                received.disordered.push(id);
            }
            received.records += 1;
            results.push(json!({
                "SequenceNumber": format!("{:056}", received.records), "ShardId": "shardId-000000000000",
            }));
        }
        Ok(json!({ "FailedRecordCount": failed, "Records": results }))
    }
}
