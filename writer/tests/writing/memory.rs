//! The writer over tables in memory, with faults at will.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_core::layout::SNAPSHOT_INTERVAL;
use millrace_core::{
    Aggregate, AggregateId, Attribute, Attributes, Metadata, Timestamp, Version, row,
};
use millrace_domain::Settings;
use millrace_domain::accounts::{Accounts, Event};
use millrace_domain::money::Amount;
use millrace_runtime::http::{Request, Response};
use millrace_runtime::metrics::Metric;
use millrace_runtime::{Ambient, Budget, ServiceError};
use millrace_writer::execute::Writer;
use millrace_writer::idempotency::{EXPIRES_AT, KEY, seconds};
use millrace_writer::store::{Append, Appended, CommittedRecord, EventStore};
use serde_json::Value;

/// What goes wrong with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another command credits 1 just before.
    Overtaken,
    /// It is stored, but the SDK's own retry of it finds the row taken.
    StoredAndRetried,
    /// It is stored, but the call fails.
    StoredAndLost,
    /// It is stored, but the SDK's own retry of it meets a transaction. So many other commands
    /// follow before the next call.
    StoredAndConflict(u64),
    /// Another transaction is under way.
    Conflict,
    /// The service does not answer.
    Down,
    /// The call fails, and is stored when so many more calls have been made.
    Late(u32),
    /// Another transaction is under way; the SDK's earlier attempt is stored when so many more
    /// calls have been made.
    LateAndConflict(u32),
    /// The transaction of this token is in progress for so many calls, and then stored.
    InProgress(u32),
    /// The call never returns.
    Hangs,
    /// The service counts more bytes than it takes.
    TooLarge,
}

/// What of a stored transaction plain reads don't see yet, and for how many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// The row of this version.
    Row(u64, u32),
    /// The records.
    Records(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rows: Mutex<BTreeMap<(String, u64), Attributes>>,
    pub(crate) records: Mutex<BTreeMap<String, Attributes>>,
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    pub(crate) hidden: Mutex<Option<Hidden>>,
    pub reads_fail: Mutex<bool>,
    pub(crate) appends: AtomicU64,
    /// The tokens of all appends, in order.
    pub(crate) tokens: Mutex<Vec<String>>,
    /// Appends that are stored later, and after how many calls.
    late: Mutex<Vec<(u32, Append)>>,
    /// For how many more calls the transaction is in progress.
    in_progress: Mutex<Option<u32>>,
}

fn down() -> ServiceError {
    ServiceError::new("a call", "the service is down")
}

impl Memory {
    pub(crate) fn of(rows: &[Attributes]) -> Self {
        let memory = Self::default();
        for row in rows {
            memory.insert(row.clone());
        }
        memory
    }

    pub(crate) fn insert(&self, row: Attributes) {
        let version = row[row::VERSION].as_integer().expect("a number");
        let Attribute::Text(id) = &row[row::ID] else {
            panic!("an id is a text");
        };
        let key = (id.clone(), u64::try_from(version).expect("positive"));
        self.rows.lock().expect("unpoisoned").insert(key, row);
    }

    pub(crate) fn rows_of(&self, id: &str) -> Vec<Attributes> {
        let rows = self.rows.lock().expect("unpoisoned");
        let of = rows.iter().filter(|((of, _), _)| of == id);
        of.map(|(_, row)| row.clone()).collect()
    }

    /// The aggregate's event rows, oldest first.
    pub(crate) fn events_of(&self, id: &str) -> Vec<Attributes> {
        let mut rows = self.rows_of(id);
        rows.retain(|row| !row::is_plainly_a_snapshot(row));
        rows
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.lock().expect("unpoisoned").push_back(fault);
    }

    /// Another command takes its turn here, as with a call; then late appends are stored.
    async fn call(&self) {
        tokio::task::yield_now().await;
        let mut due = Vec::new();
        self.late
            .lock()
            .expect("unpoisoned")
            .retain_mut(|(calls, append)| {
                *calls -= 1;
                if *calls == 0 {
                    due.push(append.clone());
                }
                *calls > 0
            });
        for append in due {
            self.store(append);
        }
    }

    /// Whether this read doesn't see the row of this version, or the records.
    fn hides(&self, version: Option<u64>) -> bool {
        let mut hidden = self.hidden.lock().expect("unpoisoned");
        let (of, reads) = match hidden.as_mut() {
            Some(Hidden::Row(of, reads)) => (Some(*of), reads),
            Some(Hidden::Records(reads)) => (None, reads),
            None => return false,
        };
        if of != version {
            return false;
        }
        if *reads == 0 {
            *hidden = None;
            return false;
        }
        *reads -= 1;
        true
    }

    fn store(&self, append: Append) -> Appended {
        let mut rows = self.rows.lock().expect("unpoisoned");
        let mut records = self.records.lock().expect("unpoisoned");
        if let Some(record) = &append.record {
            let Attribute::Text(key) = &record[KEY] else {
                panic!("a key is a text");
            };
            if let Some(there) = records.get(key)
                && there[EXPIRES_AT].as_integer() > Some(seconds(append.now))
            {
                return Appended::KeyTaken;
            }
        }
        let key = |row: &Attributes| {
            let Attribute::Text(id) = &row[row::ID] else {
                panic!("an id is a text");
            };
            let version = row[row::VERSION].as_integer().expect("a number");
            (id.clone(), u64::try_from(version).expect("positive"))
        };
        for (_, row) in &append.rows {
            if let Some(there) = rows.get(&key(row)) {
                let by = match there.get(row::COMMAND_ID) {
                    Some(Attribute::Text(by)) => Some(by.clone()),
                    _ => None,
                };
                return Appended::VersionConflict { by };
            }
        }
        for (_, row) in append.rows {
            rows.insert(key(&row), row);
        }
        if let Some(record) = append.record {
            let Attribute::Text(key) = record[KEY].clone() else {
                panic!("a key is a text");
            };
            records.insert(key, record);
        }
        Appended::Stored
    }

    /// Other commands' events, of 1 each, after the newest row.
    fn follow(&self, append: &Append, others: u64) {
        let id = AggregateId::new(match &append.rows[0].1[row::ID] {
            Attribute::Text(id) => id.clone(),
            other => panic!("an id is a string, not {other:?}"),
        })
        .expect("valid");
        let credit = Event::BalanceCredited {
            amount: Amount::new(1).expect("valid"),
        };
        let metadata = Metadata {
            command_id: Some("other".to_owned()),
            ..Metadata::default()
        };
        for _ in 0..others {
            let mut rows = self.rows_of(id.as_str());
            rows.reverse();
            let account = Aggregate::load(&accounts(), id.clone(), &rows).expect("readable");
            let appended = account.append(std::slice::from_ref(&credit), append.now, &metadata);
            let (_, rows) = appended.expect("a credit has a row");
            for (_, row) in rows {
                self.insert(row);
            }
        }
    }

    /// Somebody else's event at the place that this append is meant for.
    fn overtake(&self, append: &Append) {
        if let Some((_, row)) = append.rows.first() {
            let mut row = row.clone();
            row.insert(row::COMMAND_ID.to_owned(), Attribute::text("other"));
            row.insert(row::TYPE.to_owned(), Attribute::text("CREDIT"));
            row.insert("Amount".to_owned(), Attribute::number(1));
            self.insert(row);
        }
    }
}

impl EventStore for &Memory {
    async fn newest(&self, id: &AggregateId) -> Result<Vec<Attributes>, ServiceError> {
        if *self.reads_fail.lock().expect("unpoisoned") {
            return Err(down());
        }
        self.call().await;
        let mut rows = self.rows_of(id.as_str());
        let hidden = *self.hidden.lock().expect("unpoisoned");
        if let Some(Hidden::Row(version, _)) = hidden
            && self.hides(Some(version))
        {
            rows.retain(|row| row[row::VERSION] != Attribute::number(version));
        }
        rows.reverse();
        rows.truncate(usize::try_from(SNAPSHOT_INTERVAL).expect("small"));
        Ok(rows)
    }

    async fn row(
        &self,
        id: &AggregateId,
        version: Version,
    ) -> Result<Option<Attributes>, ServiceError> {
        self.call().await;
        if self.hides(Some(version.get())) {
            return Ok(None);
        }
        let key = (id.to_string(), version.get());
        Ok(self.rows.lock().expect("unpoisoned").get(&key).cloned())
    }

    async fn record(&self, key: &str) -> Result<Option<Attributes>, ServiceError> {
        self.call().await;
        if self.hides(None) {
            return Ok(None);
        }
        Ok(self.records.lock().expect("unpoisoned").get(key).cloned())
    }

    async fn committed_record(&self, key: &str) -> Result<CommittedRecord, ServiceError> {
        self.call().await;
        if self.hides(None) {
            return Ok(CommittedRecord::TransactionConflict);
        }
        let records = self.records.lock().expect("unpoisoned");
        Ok(CommittedRecord::Read(records.get(key).cloned()))
    }

    async fn append(&self, append: Append) -> Result<Appended, ServiceError> {
        self.call().await;
        assert!(
            !append.rows.is_empty() || append.record.is_some(),
            "DynamoDB refuses a transaction without items"
        );
        assert_eq!(append.check_size(), Ok(()), "DynamoDB refuses it");
        self.appends.fetch_add(1, Ordering::Relaxed);
        let token = append.token.clone();
        self.tokens.lock().expect("unpoisoned").push(token);
        if let Some(calls) = self.in_progress.lock().expect("unpoisoned").as_mut()
            && *calls > 0
        {
            *calls -= 1;
            return Ok(Appended::TransactionInProgress);
        }
        let fault = self.faults.lock().expect("unpoisoned").pop_front();
        let late = |calls| {
            let append = (calls, append.clone());
            self.late.lock().expect("unpoisoned").push(append);
        };
        match fault {
            None => Ok(self.store(append)),
            Some(Fault::Overtaken) => {
                self.overtake(&append);
                Ok(self.store(append))
            }
            Some(Fault::StoredAndRetried) => {
                self.store(append.clone());
                Ok(self.store(append))
            }
            Some(Fault::StoredAndLost) => {
                self.store(append);
                Err(down())
            }
            Some(Fault::StoredAndConflict(others)) => {
                self.store(append.clone());
                self.follow(&append, others);
                Ok(Appended::TransactionConflict)
            }
            Some(Fault::Conflict) => Ok(Appended::TransactionConflict),
            Some(Fault::Down) => Err(down()),
            Some(Fault::Late(calls)) => {
                late(calls);
                Err(down())
            }
            Some(Fault::LateAndConflict(calls)) => {
                late(calls);
                Ok(Appended::TransactionConflict)
            }
            Some(Fault::InProgress(calls)) => {
                *self.in_progress.lock().expect("unpoisoned") = Some(calls - 1);
                Ok(Appended::TransactionInProgress)
            }
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::TooLarge) => Ok(Appended::TooLarge),
        }
    }
}

/// A clock that a test sets, and ids that count up.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    pub(crate) millis: AtomicU64,
    ids: AtomicU64,
    pub(crate) measured: Mutex<Vec<(Metric, Option<u64>)>>,
}

impl Ambient for &Clock {
    fn now(&self) -> Timestamp {
        let millis = self.millis.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(i64::try_from(millis).expect("small")).expect("valid")
    }
    fn unique_id(&self) -> String {
        format!("id-{}", self.ids.fetch_add(1, Ordering::Relaxed))
    }
    fn fraction(&self) -> f64 {
        0.5
    }
    fn measure(&self, _: &str, values: &[(Metric, Option<u64>)]) {
        let mut measured = self.measured.lock().expect("unpoisoned");
        measured.extend_from_slice(values);
    }
}

/// A writer with its surroundings.
#[derive(Debug, Default)]
pub(crate) struct Setting {
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
}

pub(crate) fn accounts() -> Accounts {
    let settings = Settings::read(|_| Some("EUR".to_owned())).expect("a listed currency");
    Accounts { settings }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.as_bytes().to_vec(),
        ..Request::default()
    };
    if !body.is_empty() {
        let json = "application/json".to_owned();
        request.headers.insert("content-type".to_owned(), json);
    }
    for (name, value) in headers {
        let (name, value) = ((*name).to_owned(), (*value).to_owned());
        request.headers.insert(name, value);
    }
    request
}

impl Setting {
    /// With an account `a` that holds 100, at sequence 2.
    pub(crate) async fn with_account() -> Self {
        let setting = Self::default();
        let opened = setting.post("/accounts", &[], "").await;
        assert_eq!(opened.status, 201);
        let id = body(&opened)["accountId"]
            .as_str()
            .expect("named")
            .to_owned();
        let opened = std::mem::take(&mut *setting.memory.rows.lock().expect("unpoisoned"));
        for (_, mut row) in opened {
            assert_eq!(row[row::ID], Attribute::text(&id));
            row.insert(row::ID.to_owned(), Attribute::text("a"));
            setting.memory.insert(row);
        }
        let credited = setting
            .post("/accounts/a/credit", &[], r#"{"amount":100}"#)
            .await;
        assert_eq!(credited.status, 200);
        setting
    }

    pub(crate) async fn answer(&self, request: &Request) -> Response {
        let writer = Writer {
            domain: accounts(),
            store: &self.memory,
            ambient: &self.clock,
        };
        let budget = Budget::lasting(Duration::from_secs(10));
        writer.answer(request, budget).await.0
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.answer(&request("POST", path, headers, body)).await
    }
}

pub(crate) fn body(response: &Response) -> Value {
    serde_json::from_str(&response.body).expect("JSON")
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut headers = response.headers.iter();
    headers
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value.as_str())
}

/// The last part of a problem's type.
pub(crate) fn code(response: &Response) -> String {
    let body = body(response);
    let code = body["type"].as_str().and_then(|it| it.rsplit(':').next());
    code.unwrap_or_else(|| panic!("no problem: {response:?}"))
        .to_owned()
}
