//! What the writer does between its two calls: load an account from its newest rows, decide a credit, and encode the
//! row that is appended. Next to it the usual way, with derived types and `serde_dynamo`.

use chrono::{DateTime, Utc};
use millrace_core::{Aggregate, AggregateId, Attributes, Metadata, Timestamp};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Command, Event};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;

use crate::{CURRENCY, accounts, item};

const ACCOUNT: &str = "0d4f8a52-6c0e-4a52-9d56-1f0d8e000001";
const COMMAND: &str = "6ba7b810-9dad-11d1-80b4-000000000001";
const AT: &str = "2026-11-20T21:03:05.123Z";
/// The rows that the writer reads.
const ROWS: usize = 10;
/// The events of the account: rows 1 to 9, a snapshot, and rows 11 to 16.
const EVENTS: usize = 15;
const AMOUNT: i64 = 1_250;

fn amount() -> Amount {
    Amount::new(AMOUNT).expect("an amount")
}

fn metadata() -> Metadata {
    let id = || Some(COMMAND.to_owned());
    Metadata {
        command_id: id(),
        correlation_id: id(),
        causation_id: id(),
        ..Metadata::default()
    }
}

fn id() -> AggregateId {
    AggregateId::new(ACCOUNT).expect("an id")
}

fn now() -> Timestamp {
    Timestamp::parse(AT).expect("a time")
}

/// The newest rows of an account, newest first.
///
/// # Panics
/// Never, unless the domain changes.
#[must_use]
pub fn rows() -> Vec<Attributes> {
    let mut events = vec![Event::AccountCreated {
        currency: Currency::stored(CURRENCY).expect("a currency"),
    }];
    events.resize(EVENTS, Event::BalanceCredited { amount: amount() });
    let account = Aggregate::<Accounts>::new(id());
    let (_, rows) = account
        .append(&events, now(), &metadata())
        .expect("a history");
    let newest = rows.into_iter().rev().take(ROWS);
    newest.map(|(_, row)| row).collect()
}

/// The rows as items of `serde_dynamo`.
#[must_use]
pub fn items(rows: &[Attributes]) -> Vec<Item> {
    rows.iter().map(item).collect()
}

/// The row that is appended.
///
/// # Panics
/// If the rows aren't those of [`rows`].
#[must_use]
pub fn decide(rows: &[Attributes]) -> Attributes {
    let (accounts, _) = accounts();
    let account = Aggregate::load(&accounts, id(), rows).expect("a history");
    let command = Command::Credit { amount: amount() };
    let events = account.decide(&accounts, command).expect("accepted");
    let appended = account.append(&events, now(), &metadata());
    let (_, mut rows) = appended.expect("rows");
    rows.pop().expect("a row").1
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    id: String,
    version: u64,
    sequence: u64,
    timestamp: DateTime<Utc>,
    schema_version: Option<u32>,
    command_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    #[serde(flatten)]
    change: Change,
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "Type",
    rename_all = "UPPERCASE",
    rename_all_fields = "PascalCase"
)]
enum Change {
    Created { currency: String },
    Credit { amount: i64 },
    Withdraw { amount: i64 },
    Snapshot { currency: String, balance: i64 },
}

/// The row that is appended, in the usual way.
///
/// # Panics
/// If the items aren't those of [`items`].
#[must_use]
pub fn decide_with_serde_dynamo(items: Vec<Item>) -> Item {
    let mut rows = Vec::new();
    for item in items {
        let row: Row = serde_dynamo::from_item(item).expect("a row");
        let is_first = row.version == 1 || matches!(row.change, Change::Snapshot { .. });
        rows.push(row);
        if is_first {
            break;
        }
    }
    let mut balance = 0;
    for row in rows.iter().rev() {
        match row.change {
            Change::Created { .. } => balance = 0,
            Change::Credit { amount } => balance += amount,
            Change::Withdraw { amount } => balance -= amount,
            Change::Snapshot { balance: at, .. } => balance = at,
        }
    }
    let after = i64::checked_add(balance, AMOUNT);
    assert!(after.is_some(), "the balance has a limit");
    let newest = &rows[0];
    let row = Row {
        id: newest.id.clone(),
        version: newest.version + 1,
        sequence: newest.sequence + 1,
        timestamp: AT.parse().expect("a time"),
        schema_version: Some(2),
        command_id: Some(COMMAND.to_owned()),
        correlation_id: Some(COMMAND.to_owned()),
        causation_id: Some(COMMAND.to_owned()),
        change: Change::Credit { amount: AMOUNT },
    };
    serde_dynamo::to_item(&row).expect("an item")
}
