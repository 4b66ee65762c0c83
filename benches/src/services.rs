//! Mocks of DynamoDB, Kinesis and Firehose: each call takes a set time, and some records of a put fail. The
//! view table has a state, on which its writes are conditional.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::batch::DomainEvent;
use crate::http::{Request, Response};

/// The name of the view table, from the functions' environment.
const VIEWS: &str = "Views";

/// What the services do.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// How long `PutRecords` takes.
    pub put_records: Duration,
    /// How long `PutRecordBatch` takes.
    pub put_record_batch: Duration,
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
    /// The items of the view table, by account.
    views: Mutex<HashMap<String, Map<String, Value>>>,
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
    /// How often each history item was put, by account and sequence.
    history: HashMap<(String, u64), u32>,
    /// The bytes of the lines that Firehose has accepted.
    lake: Vec<u8>,
    rng: fastrand::Rng,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            calls: BTreeMap::new(),
            records: 0,
            last: HashMap::new(),
            disordered: Vec::new(),
            history: HashMap::new(),
            lake: Vec::new(),
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

    /// Checks that the history item of each event was put once, and no other item.
    ///
    /// # Errors
    /// If an item is missing or was put again.
    fn check_history(&self, events: &[DomainEvent]) -> Result<()> {
        for event in events {
            let (account, sequence) = (&event.account, event.sequence);
            let puts = self.history.get(&(account.clone(), sequence));
            let puts = puts.copied().unwrap_or_default();
            ensure!(
                puts == 1,
                "the history item of {account}:{sequence} was put {puts} times"
            );
        }
        let (items, events) = (self.history.len(), events.len());
        ensure!(items == events, "{items} history items instead of {events}");
        Ok(())
    }

    /// Checks that Firehose has accepted each event once, in order, and nothing else.
    ///
    /// # Errors
    /// If an event is missing, repeated or changed.
    pub fn check_lake(&self, events: &[DomainEvent]) -> Result<()> {
        let mut expected = Vec::new();
        for event in events {
            expected.extend(&event.bytes);
            expected.push(b'\n');
        }
        ensure!(self.lake == expected, "the lake differs from the events");
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
            views: Mutex::default(),
        }
    }

    /// Returns what was received since the last call.
    pub fn take(&self) -> Received {
        std::mem::take(&mut *self.lock())
    }

    /// Checks that each history item was put once, and that each account's view is at its last event.
    ///
    /// # Errors
    /// If a history item is missing or was put again, or a view is at another sequence.
    pub fn check_read_models(&self, received: &Received, events: &[DomainEvent]) -> Result<()> {
        received.check_history(events)?;
        let last: HashMap<&str, u64> = events
            .iter()
            .map(|event| (event.account.as_str(), event.sequence))
            .collect();
        let views = self.views();
        for (account, sequence) in last {
            let view = views.get(account).context("an account has no view")?;
            let stored = number(view, "Sequence")?;
            ensure!(
                stored == sequence,
                "{account} is at {stored} and not at {sequence}"
            );
        }
        Ok(())
    }

    fn views(&self) -> std::sync::MutexGuard<'_, HashMap<String, Map<String, Value>>> {
        self.views.lock().expect("the lock isn't poisoned")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().expect("the lock isn't poisoned")
    }

    /// Answers a call.
    pub async fn answer(&self, request: &Request) -> Response {
        let Behaviour {
            put_records,
            put_record_batch,
            write,
            read,
            ..
        } = self.behaviour;
        let operation = request.target.rsplit('.').next().unwrap_or_default();
        *self.lock().calls.entry(operation.to_owned()).or_default() += 1;
        tokio::time::sleep(match operation {
            "PutRecords" => put_records,
            "PutRecordBatch" => put_record_batch,
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
            "PutRecordBatch" => self.put_record_batch(&request)?,
            "GetItem" if request["TableName"] == VIEWS => {
                match self.views().get(&text(&request["Key"], "Id")?) {
                    Some(view) => json!({ "Item": view }),
                    None => json!({}),
                }
            }
            "GetItem" => json!({ "Item": {
                "Id": { "S": "\u{1}millrace" }, "Version": { "N": "0" }, "Type": { "S": "SETTINGS" },
                "DefaultCurrency": { "S": "EUR" },
            }}),
            "BatchGetItem" => self.batch_get_item(&request)?,
            "Query" => json!({ "Items": [], "Count": 0, "ScannedCount": 0 }),
            "BatchExecuteStatement" => {
                let statements = request["Statements"].as_array().context("statements")?;
                ensure!(statements.len() <= 25, "too many statements");
                let responses = statements.iter().map(|statement| self.execute(statement));
                json!({ "Responses": responses.collect::<Result<Vec<Value>>>()? })
            }
            "BatchWriteItem" => self.batch_write_item(&request)?,
            "PutItem" if request["TableName"] == VIEWS => {
                let item = request["Item"].as_object().context("an item")?;
                let id = text(&request["Item"], "Id")?;
                self.views().insert(id, item.clone());
                json!({})
            }
            "UpdateItem" | "PutItem" => json!({}),
            other => bail!("no mock for {other:?}"),
        })
    }

    /// The stored views of these keys. No cursor and no row is stored yet.
    fn batch_get_item(&self, request: &Value) -> Result<Value> {
        let tables = request["RequestItems"].as_object().context("tables")?;
        let views = self.views();
        let mut responses = Map::new();
        for (table, keys) in tables {
            let keys = keys["Keys"].as_array().context("keys")?;
            ensure!(keys.len() <= 100, "too many keys");
            let mut items = Vec::new();
            if table == VIEWS {
                for key in keys {
                    items.extend(views.get(&text(key, "Id")?).cloned().map(Value::Object));
                }
            }
            responses.insert(table.clone(), items.into());
        }
        Ok(json!({ "Responses": responses, "UnprocessedKeys": {} }))
    }

    fn batch_write_item(&self, request: &Value) -> Result<Value> {
        let tables = request["RequestItems"].as_object().context("tables")?;
        let mut received = self.lock();
        for requests in tables.values() {
            let requests = requests.as_array().context("requests")?;
            ensure!(requests.len() <= 25, "too many items");
            for request in requests {
                let item = request["PutRequest"]["Item"]
                    .as_object()
                    .context("an item")?;
                let id = item["Id"]["S"].as_str().context("an id")?.to_owned();
                let key = (id, number(item, "Sequence")?);
                *received.history.entry(key).or_default() += 1;
            }
        }
        Ok(json!({ "UnprocessedItems": {} }))
    }

    /// Executes a statement on the view table. Of a statement on another table, only the number of its
    /// parameters is checked.
    fn execute(&self, request: &Value) -> Result<Value> {
        let statement = request["Statement"].as_str().context("a statement")?;
        let parameters = request["Parameters"].as_array().context("parameters")?;
        let places = statement.matches('?').count();
        let given = parameters.len();
        ensure!(
            places == given,
            "{given} parameters for {places} places: {statement}"
        );
        let Some(change) = Change::read(statement, parameters)? else {
            return Ok(json!({}));
        };
        let mut views = self.views();
        let id = change.id.as_str().context("an id")?;
        let stored = views.get(id);
        let code = match change.revision {
            None => stored.is_some().then_some("DuplicateItem"),
            Some(revision) => {
                let stored = stored.and_then(|view| view.get("Revision"));
                (stored != Some(revision)).then_some("ConditionalCheckFailed")
            }
        };
        if let Some(code) = code {
            return Ok(json!({ "Error": { "Code": code, "Message": "a condition failed" } }));
        }
        let view = views.entry(id.to_owned()).or_default();
        view.extend(change.set);
        for name in change.removed {
            view.remove(&name);
        }
        Ok(json!({ "TableName": VIEWS }))
    }

    fn put_record_batch(&self, request: &Value) -> Result<Value> {
        let records = request["Records"].as_array().context("records")?;
        let mut received = self.lock();
        let mut results = Vec::new();
        for record in records {
            let data = STANDARD.decode(record["Data"].as_str().context("data")?)?;
            received.lake.extend(data);
            results.push(json!({ "RecordId": format!("{}", results.len()) }));
        }
        Ok(json!({ "FailedPutCount": 0, "RequestResponses": results }))
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

/// What a statement changes in the view table.
struct Change<'a> {
    id: &'a Value,
    /// The revision that the stored item must have; `None` if there must be no item.
    revision: Option<&'a Value>,
    set: Vec<(String, Value)>,
    removed: Vec<String>,
}

impl<'a> Change<'a> {
    /// `None` if the statement is about another table.
    fn read(statement: &str, parameters: &'a [Value]) -> Result<Option<Self>> {
        let mut parts = statement.split('"');
        let keyword = parts.next().unwrap_or_default().trim();
        if parts.next() != Some(VIEWS) {
            return Ok(None);
        }
        let mut values = parameters.iter();
        let mut value = || values.next().context("a parameter");
        let mut change = Self {
            id: &Value::Null,
            revision: None,
            set: Vec::new(),
            removed: Vec::new(),
        };
        if keyword == "INSERT INTO" {
            let names = parts.next().unwrap_or_default();
            for name in names.split('\'').skip(1).step_by(2) {
                let value = value()?;
                if name == "Id" {
                    change.id = &value["S"];
                }
                change.set.push((name.to_owned(), value.clone()));
            }
            return Ok(Some(change));
        }
        ensure!(
            keyword == "UPDATE",
            "no statement of the projector: {statement}"
        );
        let parts: Vec<&str> = parts.collect();
        for pair in parts.chunks_exact(2) {
            let keyword = pair[0].trim_start_matches(" = ?").trim();
            match (keyword, pair[1]) {
                ("SET", name) => change.set.push((name.to_owned(), value()?.clone())),
                ("REMOVE", name) => change.removed.push(name.to_owned()),
                ("WHERE", "Id") => change.id = &value()?["S"],
                ("AND", "Revision") => change.revision = Some(value()?),
                other => bail!("{other:?} in a statement: {statement}"),
            }
        }
        Ok(Some(change))
    }
}

/// A string attribute of an item or key in DynamoDB's JSON.
fn text(item: &Value, name: &str) -> Result<String> {
    let text = item[name]["S"].as_str();
    Ok(text.with_context(|| format!("a string {name}"))?.to_owned())
}

/// An integer attribute of an item in DynamoDB's JSON.
fn number(item: &Map<String, Value>, name: &str) -> Result<u64> {
    let number = item.get(name).and_then(|value| value["N"].as_str());
    Ok(number
        .with_context(|| format!("a number {name}"))?
        .parse()?)
}
