//! The usual way: `aws_lambda_events` for the event, `serde_dynamo` for a row with derived types, and
//! `serde_json` for the public event.

use aws_lambda_events::dynamodb::Event;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::CURRENCY;

const CREDITED: &str = "urn:millrace:schema:BalanceCredited:1";
const WITHDRAWN: &str = "urn:millrace:schema:BalanceWithdrawn:1";

/// A row of an account: its type is the tag of an enum, and its time is parsed, as in the domain's types.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    id: String,
    sequence: u64,
    timestamp: DateTime<Utc>,
    #[serde(rename = "CommandId")]
    _command_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    #[serde(flatten)]
    change: Change,
}

/// What a row says about its account.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "Type",
    rename_all = "UPPERCASE",
    rename_all_fields = "PascalCase"
)]
enum Change {
    Created {
        #[serde(rename = "Currency")]
        _currency: String,
    },
    Credit {
        amount: u64,
    },
    Withdraw {
        amount: u64,
    },
}

/// A row of an account as strings and numbers: the least work with which a row can be read, because
/// nothing is checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "only read")]
pub struct PlainRow {
    id: String,
    sequence: u64,
    r#type: String,
    timestamp: String,
    command_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    amount: Option<u64>,
    currency: Option<String>,
}

#[derive(Serialize)]
struct PublicEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    dataschema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    account_id: &'a str,
    sequence: u64,
    amount: u64,
    currency: &'static str,
}

/// The parse of `serde_json`.
///
/// # Panics
/// If the event isn't one of [`stream_event`](crate::stream_event).
#[must_use]
pub fn parse(json: &[u8]) -> Event {
    serde_json::from_slice(json).expect("an event")
}

/// The parse of `lambda_runtime` 1.5, which notes the path of each value for its error.
///
/// # Panics
/// Like [`parse`].
#[must_use]
pub fn parse_as_lambda_runtime(json: &[u8]) -> Event {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut deserializer).expect("an event")
}

/// The rows of an event.
///
/// # Panics
/// Like [`parse`].
#[must_use]
pub fn decode<R: DeserializeOwned>(json: &[u8], parse: fn(&[u8]) -> Event) -> Vec<R> {
    let records = parse(json).records.into_iter();
    let rows = records.map(|record| serde_dynamo::from_item(record.change.new_image));
    rows.collect::<Result<_, _>>().expect("rows")
}

/// The bytes of the public events.
///
/// # Panics
/// Like [`parse`].
#[must_use]
pub fn translate(json: &[u8], parse: fn(&[u8]) -> Event) -> Vec<Vec<u8>> {
    let rows: Vec<Row> = decode(json, parse);
    let events = rows.iter().map(|row| {
        let (event_type, schema, amount) = match row.change {
            Change::Credit { amount } => ("BalanceCredited", CREDITED, amount),
            Change::Withdraw { amount } => ("BalanceWithdrawn", WITHDRAWN, amount),
            Change::Created { .. } => panic!("an event of these is a movement"),
        };
        let event = PublicEvent {
            specversion: "1.0",
            id: format!("{}:{}", row.id, row.sequence),
            source: "urn:millrace:accounts",
            r#type: event_type,
            subject: &row.id,
            time: row.timestamp.to_rfc3339_opts(SecondsFormat::Millis, true),
            datacontenttype: "application/json",
            dataschema: schema,
            correlationid: row.correlation_id.as_deref(),
            causationid: row.causation_id.as_deref(),
            data: Data {
                account_id: &row.id,
                sequence: row.sequence,
                amount,
                currency: CURRENCY,
            },
        };
        serde_json::to_vec(&event)
    });
    events.collect::<Result<_, _>>().expect("JSON")
}
