//! The tables in memory, with fault injection (feature `testing`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millrace_core::layout::SNAPSHOT_INTERVAL;
use millrace_core::{AggregateId, Attribute, Attributes, Timestamp, Version, row};
use millrace_runtime::ServiceError;
use millrace_runtime::testing::lost_call;

use crate::idempotency::{EXPIRES_AT, KEY, seconds};
use crate::ports::{Append, Appended, CommittedRecord, EventStore};

/// What goes wrong with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another command is appended just before.
    Overtaken,
    /// It is stored, but the SDK's retry of it gets a version conflict with the stored row.
    StoredAndRetried,
    /// It is stored, but the call fails.
    StoredAndLost,
    /// It is stored, but the SDK's retry of it gets a transaction conflict. So many other commands are
    /// appended before the next call.
    StoredAndConflict(u64),
    /// Another transaction is under way.
    Conflict,
    /// The call fails and has no effect.
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

/// The part of a stored transaction that plain reads don't see yet, and for how many reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// The row of this version.
    Row(u64, u32),
    /// The records.
    Records(u32),
}

/// The rows that another command appends to an aggregate with these rows, newest first, at a time.
pub type OtherCommand = fn(&AggregateId, &[Attributes], Timestamp) -> Vec<Attributes>;

/// The events table and the idempotency table. Each call yields once to other commands.
#[derive(Debug, Default)]
pub struct InMemoryEventStore {
    /// Without it, no other command is ever appended.
    other_command: Option<OtherCommand>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<(String, u64), Attributes>,
    records: BTreeMap<String, Attributes>,
    faults: VecDeque<Fault>,
    hidden: Option<Hidden>,
    reads_fail: bool,
    /// The tokens of all appends, in order.
    tokens: Vec<String>,
    /// Appends that are stored later, and after how many calls.
    late: Vec<(u32, Append)>,
    /// For how many more calls the transaction is in progress.
    in_progress: u32,
}

impl InMemoryEventStore {
    /// A store in which [`Fault`]s may append this other command.
    #[must_use]
    pub fn with_other_command(other_command: OtherCommand) -> Self {
        Self {
            other_command: Some(other_command),
            tables: Mutex::default(),
        }
    }

    /// Puts a row, which replaces an existing one of its version.
    ///
    /// # Panics
    /// If the row has no `Id` or no `Version`.
    pub fn insert(&self, row: Attributes) {
        self.tables().insert(row);
    }

    /// The rows of an aggregate, oldest first.
    #[must_use]
    pub fn rows_of(&self, id: &str) -> Vec<Attributes> {
        self.tables().rows_of(id)
    }

    /// The event rows of an aggregate, oldest first.
    #[must_use]
    pub fn events_of(&self, id: &str) -> Vec<Attributes> {
        let mut rows = self.rows_of(id);
        rows.retain(|row| !row::is_plainly_a_snapshot(row));
        rows
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.tables().rows.len()
    }

    /// The ids of all aggregates that have rows.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<String> {
        let tables = self.tables();
        tables.rows.keys().map(|(id, _)| id.clone()).collect()
    }

    /// Removes all rows, and returns them.
    #[must_use]
    pub fn take_rows(&self) -> Vec<Attributes> {
        std::mem::take(&mut self.tables().rows)
            .into_values()
            .collect()
    }

    /// Puts an outcome's record, which replaces an existing one of its key.
    ///
    /// # Panics
    /// If the record has no key.
    pub fn insert_record(&self, record: Attributes) {
        let key = text(&record, KEY);
        self.tables().records.insert(key, record);
    }

    /// Removes the record of this key, and returns it.
    #[must_use]
    pub fn take_record(&self, key: &str) -> Option<Attributes> {
        self.tables().records.remove(key)
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.tables().records.len()
    }

    /// Sets the fault of the next append that has none yet.
    pub fn fault(&self, fault: Fault) {
        self.tables().faults.push_back(fault);
    }

    /// Hides what is stored from reads.
    pub fn hide(&self, hidden: Hidden) {
        self.tables().hidden = Some(hidden);
    }

    /// From now on every read of rows fails.
    pub fn fail_reads(&self) {
        self.tables().reads_fail = true;
    }

    /// The tokens of all appends so far, in order.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        self.tables().tokens.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Yields to other commands, as a call does; then stores the late appends that are due.
    async fn call(&self) {
        tokio::task::yield_now().await;
        let mut tables = self.tables();
        let mut due = Vec::new();
        tables.late.retain_mut(|(calls, append)| {
            *calls -= 1;
            if *calls == 0 {
                due.push(append.clone());
            }
            *calls > 0
        });
        for append in due {
            tables.store(append);
        }
    }

    /// Other commands are appended after the newest row of an append's aggregate.
    fn append_others(&self, tables: &mut Tables, append: &Append, others: u64) {
        let other_command = self.other_command.expect("a test says what others append");
        let (_, row) = append.rows.first().expect("an append of rows");
        let id = row::aggregate_id(row).expect("a row has an id");
        for _ in 0..others {
            let mut newest_first = tables.rows_of(id.as_str());
            newest_first.reverse();
            for row in other_command(&id, &newest_first, append.now) {
                tables.insert(row);
            }
        }
    }
}

impl Tables {
    fn insert(&mut self, row: Attributes) {
        self.rows.insert(key(&row), row);
    }

    fn rows_of(&self, id: &str) -> Vec<Attributes> {
        let rows = self.rows.iter().filter(|((of, _), _)| of == id);
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// Whether this read doesn't see the row of this version, or the records.
    fn hides(&mut self, version: Option<u64>) -> bool {
        let (of, reads) = match self.hidden.as_mut() {
            Some(Hidden::Row(of, reads)) => (Some(*of), reads),
            Some(Hidden::Records(reads)) => (None, reads),
            None => return false,
        };
        if of != version {
            return false;
        }
        if *reads == 0 {
            self.hidden = None;
            return false;
        }
        *reads -= 1;
        true
    }

    fn store(&mut self, append: Append) -> Appended {
        if let Some(record) = &append.record
            && let Some(there) = self.records.get(&text(record, KEY))
            && there[EXPIRES_AT].as_integer() > Some(seconds(append.now))
        {
            return Appended::KeyTaken;
        }
        for (_, row) in &append.rows {
            if let Some(there) = self.rows.get(&key(row)) {
                let by = match there.get(row::COMMAND_ID) {
                    Some(Attribute::Text(by)) => Some(by.clone()),
                    _ => None,
                };
                return Appended::VersionConflict { by };
            }
        }
        for (_, row) in append.rows {
            self.insert(row);
        }
        if let Some(record) = append.record {
            self.records.insert(text(&record, KEY), record);
        }
        Appended::Stored
    }
}

fn key(row: &Attributes) -> (String, u64) {
    let version = row::version(row).expect("a row has a version");
    (text(row, row::ID), version.get())
}

fn text(item: &Attributes, name: &str) -> String {
    match &item[name] {
        Attribute::Text(text) => text.clone(),
        other => panic!("{name} is of type {}, not S", other.type_name()),
    }
}

impl EventStore for &InMemoryEventStore {
    async fn newest(&self, id: &AggregateId) -> Result<Vec<Attributes>, ServiceError> {
        if self.tables().reads_fail {
            return Err(lost_call());
        }
        self.call().await;
        let mut tables = self.tables();
        let mut rows = tables.rows_of(id.as_str());
        if let Some(Hidden::Row(version, _)) = tables.hidden
            && tables.hides(Some(version))
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
        let mut tables = self.tables();
        if tables.hides(Some(version.get())) {
            return Ok(None);
        }
        Ok(tables.rows.get(&(id.to_string(), version.get())).cloned())
    }

    async fn record(&self, key: &str) -> Result<Option<Attributes>, ServiceError> {
        self.call().await;
        let mut tables = self.tables();
        if tables.hides(None) {
            return Ok(None);
        }
        Ok(tables.records.get(key).cloned())
    }

    async fn committed_record(&self, key: &str) -> Result<CommittedRecord, ServiceError> {
        self.call().await;
        let mut tables = self.tables();
        if tables.hides(None) {
            return Ok(CommittedRecord::TransactionConflict);
        }
        Ok(CommittedRecord::Read(tables.records.get(key).cloned()))
    }

    async fn append(&self, append: Append) -> Result<Appended, ServiceError> {
        self.call().await;
        assert!(
            !append.rows.is_empty() || append.record.is_some(),
            "DynamoDB refuses a transaction without items"
        );
        assert_eq!(append.check_size(), Ok(()), "DynamoDB refuses it");
        let hangs = {
            let mut tables = self.tables();
            tables.tokens.push(append.token.clone());
            if tables.in_progress > 0 {
                tables.in_progress -= 1;
                return Ok(Appended::TransactionInProgress);
            }
            let fault = tables.faults.pop_front();
            match self.strike(&mut tables, fault, append) {
                Some(answer) => return answer,
                None => std::future::pending(),
            }
        };
        hangs.await
    }
}

impl InMemoryEventStore {
    /// The response to an append; `None` if the call never returns.
    fn strike(
        &self,
        tables: &mut Tables,
        fault: Option<Fault>,
        append: Append,
    ) -> Option<Result<Appended, ServiceError>> {
        let Some(fault) = fault else {
            return Some(Ok(tables.store(append)));
        };
        Some(match fault {
            Fault::Overtaken => {
                self.append_others(tables, &append, 1);
                Ok(tables.store(append))
            }
            Fault::StoredAndRetried => {
                tables.store(append.clone());
                Ok(tables.store(append))
            }
            Fault::StoredAndLost => {
                tables.store(append);
                Err(lost_call())
            }
            Fault::StoredAndConflict(others) => {
                tables.store(append.clone());
                self.append_others(tables, &append, others);
                Ok(Appended::TransactionConflict)
            }
            Fault::Conflict => Ok(Appended::TransactionConflict),
            Fault::Down => Err(lost_call()),
            Fault::Late(calls) => {
                tables.late.push((calls, append));
                Err(lost_call())
            }
            Fault::LateAndConflict(calls) => {
                tables.late.push((calls, append));
                Ok(Appended::TransactionConflict)
            }
            Fault::InProgress(calls) => {
                tables.in_progress = calls - 1;
                Ok(Appended::TransactionInProgress)
            }
            Fault::Hangs => return None,
            Fault::TooLarge => Ok(Appended::TooLarge),
        })
    }
}
