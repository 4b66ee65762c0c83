//! Events of DynamoDB streams and of Kinesis streams, as Lambda passes them to the translator and to the
//! consumers of the domain stream.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_core::{
    Aggregate, AggregateId, Attribute, Attributes, Envelope, Metadata, StoredRow, Timestamp,
};
use millrace_domain::money::{Amount, Currency};
use millrace_domain::{Accounts, Context as PublicContext, Event};
use serde_json::{Map, Value, json};

/// The type of rows that contain snapshots. The mapping's filter discards them.
const SNAPSHOT: &str = "SNAPSHOT";
const FIRST: &str = "2026-11-20T21:03:05.123Z";

/// How events are distributed over accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Each account has the same number of events.
    Even {
        /// The number of accounts.
        accounts: u32,
    },
    /// The nth account has a number of events that is proportional to 1/n (Zipf's law).
    Zipf {
        /// The number of accounts.
        accounts: u32,
    },
}

impl Spread {
    /// The account of each of `events` events.
    fn draw(self, events: u32) -> Vec<u32> {
        let mut rng = fastrand::Rng::with_seed(1);
        match self {
            Self::Even { accounts } => (0..events).map(|event| event % accounts).collect(),
            Self::Zipf { accounts } => {
                let weights = (1..=accounts).map(|rank| 1.0 / f64::from(rank));
                let sums: Vec<f64> = weights
                    .scan(0.0, |sum, weight| {
                        *sum += weight;
                        Some(*sum)
                    })
                    .collect();
                let all = sums.last().copied().unwrap_or_default();
                let mut draw = || {
                    let drawn = rng.f64() * all;
                    let account = sums.partition_point(|sum| *sum < drawn);
                    u32::try_from(account).unwrap_or(accounts).min(accounts - 1)
                };
                (0..events).map(|_| draw()).collect()
            }
        }
    }
}

/// The event of an invocation with `events` records, each a row of the events table as the writer appends it.
/// The accounts' ids begin with `prefix`.
///
/// # Errors
/// If a row can't be encoded.
pub fn invocation(prefix: &str, spread: Spread, events: u32) -> Result<Vec<u8>> {
    let mut accounts: HashMap<u32, Aggregate<Accounts>> = HashMap::new();
    let mut records = Vec::new();
    let first = Timestamp::parse(FIRST)?;
    for (position, account) in spread.draw(events).into_iter().enumerate() {
        let id = AggregateId::new(format!("{prefix}-8eb6-4a52-9d56-{account:012}"))?;
        let before = accounts
            .remove(&account)
            .unwrap_or_else(|| Aggregate::new(id.clone()));
        let position = i64::try_from(position)?;
        let at = Timestamp::from_unix_millis(first.unix_millis() + position).context("a time")?;
        let (after, rows) = before.append(&[next(&before)?], at, &metadata(position))?;
        accounts.insert(account, after);
        for (_, row) in rows {
            if row.get("Type") != Some(&Attribute::text(SNAPSHOT)) {
                records.push(record(&row, position));
            }
        }
    }
    Ok(serde_json::to_vec(&json!({ "Records": records }))?)
}

fn next(account: &Aggregate<Accounts>) -> Result<Event> {
    Ok(match account.state() {
        None => Event::AccountCreated {
            currency: Currency::stored("EUR")?,
        },
        Some(_) => Event::BalanceCredited {
            amount: Amount::new(1250)?,
        },
    })
}

fn metadata(position: i64) -> Metadata {
    let id = |kind: &str| Some(format!("{kind}-1c6e-4a53-9d2f-{position:012}"));
    Metadata {
        command_id: id("6a0f2b0c"),
        correlation_id: id("0c9a6ad1"),
        causation_id: id("6a0f2b0c"),
        ..Metadata::default()
    }
}

/// A record as in
/// [DynamoDB Streams' example](https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html).
fn record(row: &Attributes, position: i64) -> Value {
    let keys: Attributes = row
        .iter()
        .filter(|(name, _)| ["Id", "Version"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    json!({
        "eventID": format!("{position:032x}"), "eventName": "INSERT", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_554_185 + position / 1000,
            "Keys": image(&keys), "NewImage": image(row),
            "SequenceNumber": format!("{:021}", 111_000_000_i64 + position), "SizeBytes": 400,
            "StreamViewType": "NEW_IMAGE",
        },
        "eventSourceARN":
            "arn:aws:dynamodb:eu-west-1:111122223333:table/Events/stream/2026-11-20T00:00:00.000",
    })
}

/// A row in DynamoDB's JSON.
fn image(row: &Attributes) -> Value {
    let members = row.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => json!({ "S": text }),
            Attribute::Number(number) => json!({ "N": number }),
            other => unreachable!("no account has an attribute such as {other:?}"),
        };
        (name.clone(), value)
    });
    members.collect::<Map<String, Value>>().into()
}

/// A domain event on the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    /// The account.
    pub account: String,
    /// The event's sequence.
    pub sequence: u64,
    /// The envelope's bytes.
    pub bytes: Vec<u8>,
}

/// Accounts whose events are published. Each batch continues the accounts.
#[derive(Debug, Default)]
pub struct DomainEvents {
    accounts: HashMap<u32, (Aggregate<Accounts>, PublicContext)>,
    published: i64,
}

impl DomainEvents {
    /// The next events.
    ///
    /// # Errors
    /// If an event can't be encoded.
    pub fn next(&mut self, spread: Spread, events: u32) -> Result<Vec<DomainEvent>> {
        let accounts = spread.draw(events).into_iter();
        accounts.map(|account| self.publish(account)).collect()
    }

    fn publish(&mut self, number: u32) -> Result<DomainEvent> {
        let domain = Accounts {
            default_currency: Currency::stored("EUR")?,
        };
        let id = AggregateId::new(format!("b6f1c2d4-8eb6-4a52-9d56-{number:012}"))?;
        let (account, context) = self
            .accounts
            .entry(number)
            .or_insert_with(|| (Aggregate::new(id), PublicContext::default()));
        let first = Timestamp::parse(FIRST)?;
        let at = Timestamp::from_unix_millis(first.unix_millis() + self.published);
        let events = [next(account)?];
        let metadata = metadata(self.published);
        let (after, rows) = account.append(&events, at.context("a time")?, &metadata)?;
        *account = after;
        self.published += 1;
        let row = rows.into_iter().find_map(|(_, row)| {
            let is_event = row.get("Type") != Some(&Attribute::text(SNAPSHOT));
            is_event.then_some(row)
        });
        let row = StoredRow::read(&domain, &row.context("an event's row")?)?;
        let StoredRow::Event(event) = row else {
            anyhow::bail!("a row is an event");
        };
        let envelope = Envelope::publish::<Accounts>(context, &event).context("an envelope")?;
        Ok(DomainEvent {
            account: envelope.subject.to_string(),
            sequence: envelope.sequence.get(),
            bytes: envelope.to_bytes::<Accounts>()?,
        })
    }
}

/// The invocation of a consumer with these events, as in
/// [Lambda's example](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html).
///
/// # Errors
/// If the JSON can't be written.
pub fn consumer_invocation(events: &[DomainEvent]) -> Result<Vec<u8>> {
    let records = events.iter().enumerate().map(|(position, event)| {
        let number = format!("49590338271490256608559692538361571{position:021}");
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0", "partitionKey": event.account, "sequenceNumber": number,
                "data": STANDARD.encode(&event.bytes), "approximateArrivalTimestamp": 1_545_084_650.987,
            },
            "eventSource": "aws:kinesis", "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:{number}"), "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::111122223333:role/projector", "awsRegion": "eu-west-1",
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:111122223333:stream/DomainStream",
        })
    });
    let records: Vec<Value> = records.collect();
    Ok(serde_json::to_vec(&json!({ "Records": records }))?)
}
