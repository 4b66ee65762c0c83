//! The stages up to the read model. Each is polled until it has the record.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_cli::follower::Follower;
use millrace_local_stack::stack::Local;
use serde_json::{Map, Value};

use super::api::Api;
use super::record::{Found, Record};

/// The deadline of a stage, far longer than a stage takes even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// The polling interval. It is short, because it limits the precision of the measured times.
const POLL: Duration = Duration::from_millis(20);
/// The number of the account's newest rows among which the record is searched.
const NEWEST: i32 = 10;

/// Calls `poll` until it returns a value, at most until the deadline.
pub(super) async fn wait<T>(mut poll: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let answered = async {
        loop {
            if let Some(answer) = poll().await? {
                return Ok(answer);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(DEADLINE, answered)
        .await
        .unwrap_or_else(|_| Err(anyhow!("it was not found within {} s", DEADLINE.as_secs())))
}

/// Waits for the row that the writer appended, and checks it.
pub(super) async fn row(
    client: &aws_sdk_dynamodb::Client,
    local: &Local,
    record: &Record,
) -> Result<Found> {
    let row = wait(async || {
        let answer = client
            .query()
            .table_name(&local.events_table)
            .key_condition_expression("Id = :id")
            .expression_attribute_values(":id", AttributeValue::S(record.account.clone()))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(NEWEST)
            .send()
            .await
            .context("could not read the events table")?;
        let mut rows = answer.items.unwrap_or_default().into_iter().map(plain);
        Ok(rows.find(|row| row["Sequence"] == record.sequence && row["Type"] != "SNAPSHOT"))
    })
    .await?;
    let at = Instant::now();
    expect(&row, "/Id", record.account.as_str())?;
    expect(&row, "/Type", "WITHDRAW")?;
    expect(&row, "/Amount", record.amount)?;
    expect(&row, "/CorrelationId", record.correlation_id.as_str())?;
    Ok(Found {
        at,
        place: local.events_table.clone(),
        data: row,
    })
}

/// Waits for the event on the stream, and checks it. All earlier events of its account must come before it.
pub(super) async fn event(
    client: &aws_sdk_kinesis::Client,
    local: &Local,
    record: &Record,
) -> Result<Found> {
    let mut follower = Follower::new(client.clone(), &local.stream_name);
    let mut events: Vec<Value> = Vec::new();
    let event = wait(async || {
        for bytes in follower.read().await? {
            let event: Value =
                serde_json::from_slice(&bytes).context("a record on the stream is not JSON")?;
            if event["subject"] == *record.account {
                events.push(event);
            }
        }
        Ok(events
            .iter()
            .find(|event| event["id"] == record.event_id())
            .cloned())
    })
    .await?;
    let at = Instant::now();
    is_event(&event, record)?;
    let sequences: Vec<_> = events
        .iter()
        .map(|event| event["data"]["sequence"].clone())
        .collect();
    let expected: Vec<_> = (1..=record.sequence).map(Value::from).collect();
    ensure!(
        first_occurrences(&sequences) == expected,
        "the account's events have the sequences {sequences:?}"
    );
    Ok(Found {
        at,
        place: local.stream_name.clone(),
        data: event,
    })
}

/// Waits until a query returns the account with the event, and checks the view.
pub(super) async fn view(api: &Api, record: &Record) -> Result<Found> {
    let path = format!(
        "/accounts/{}?minSequence={}",
        record.account, record.sequence
    );
    let view = wait(async || {
        let exchange = api.get(&path).await?;
        match exchange.status {
            200 => Ok(Some(exchange.body)),
            // The view doesn't exist yet, or lacks the event.
            404 | 503 => Ok(None),
            _ => bail!("the query failed: {exchange}"),
        }
    })
    .await?;
    let at = Instant::now();
    expect(&view, "/accountId", record.account.as_str())?;
    expect(&view, "/sequence", record.sequence)?;
    expect(&view, "/balance", record.balance)?;
    Ok(Found {
        at,
        place: format!("GET {path}"),
        data: view,
    })
}

/// Checks that this is the record's event.
pub(super) fn is_event(event: &Value, record: &Record) -> Result<()> {
    expect(event, "/specversion", "1.0")?;
    expect(event, "/id", record.event_id())?;
    expect(event, "/type", "BalanceWithdrawn")?;
    expect(event, "/subject", record.account.as_str())?;
    expect(event, "/correlationid", record.correlation_id.as_str())?;
    expect(event, "/data/accountId", record.account.as_str())?;
    expect(event, "/data/sequence", record.sequence)?;
    expect(
        event,
        "/dataschema",
        "urn:millrace:schema:BalanceWithdrawn:2",
    )?;
    expect(event, "/data/amount", record.amount)?;
    expect(event, "/data/channel", "online")?;
    expect(event, "/data/currency", record.currency.as_str())
}

/// Checks that a part of the found record has the expected value.
pub(super) fn expect(found: &Value, pointer: &str, value: impl Into<Value>) -> Result<()> {
    let value = value.into();
    ensure!(
        found.pointer(pointer) == Some(&value),
        "expected {pointer} to be {value} in {found}"
    );
    Ok(())
}

/// The sequences without duplicates: delivery is at least once, and only the first occurrence counts.
fn first_occurrences(sequences: &[Value]) -> Vec<Value> {
    let mut first = Vec::new();
    for sequence in sequences {
        if !first.contains(sequence) {
            first.push(sequence.clone());
        }
    }
    first
}

/// An item as plain JSON, without the type of each attribute.
fn plain(item: std::collections::HashMap<String, AttributeValue>) -> Value {
    let plain: Map<String, Value> = item
        .into_iter()
        .map(|(name, value)| (name, plain_value(value)))
        .collect();
    Value::Object(plain)
}

fn plain_value(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.into(),
        AttributeValue::N(number) => match number.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => number.into(),
        },
        other => format!("{other:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        Record {
            account: "a".to_owned(),
            currency: "EUR".to_owned(),
            sequence: 3,
            amount: 1250,
            balance: 3750,
            correlation_id: "c".to_owned(),
        }
    }

    fn envelope() -> Value {
        json!({
            "specversion": "1.0", "id": "a:3", "source": "urn:millrace:accounts",
            "type": "BalanceWithdrawn", "subject": "a", "time": "2026-11-20T21:03:05.123Z",
            "dataschema": "urn:millrace:schema:BalanceWithdrawn:2", "correlationid": "c",
            "data": {
                "accountId": "a", "sequence": 3, "amount": 1250, "currency": "EUR", "channel": "online",
            },
        })
    }

    #[test]
    fn an_event_that_differs_in_one_member_is_not_the_records() {
        is_event(&envelope(), &record()).expect("the record's");
        for pointer in [
            "/id",
            "/type",
            "/dataschema",
            "/correlationid",
            "/data/sequence",
            "/data/amount",
            "/data/currency",
            "/data/channel",
        ] {
            let mut other = envelope();
            *other.pointer_mut(pointer).expect("there") = "other".into();
            let error = is_event(&other, &record()).expect_err(pointer);
            assert!(error.to_string().contains(pointer), "{error}");
        }
    }

    #[test]
    fn a_row_is_shown_as_plain_values() {
        let item = [
            ("Id", AttributeValue::S("a".to_owned())),
            ("Amount", AttributeValue::N("1250".to_owned())),
        ];
        let item = item.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(plain(item), json!({ "Id": "a", "Amount": 1250 }));
    }

    #[test]
    fn duplicates_count_once() {
        let values = |numbers: &[i32]| numbers.iter().copied().map(Value::from).collect::<Vec<_>>();
        assert_eq!(
            first_occurrences(&values(&[1, 2, 1, 2, 3])),
            values(&[1, 2, 3])
        );
        assert_eq!(first_occurrences(&values(&[2, 1])), values(&[2, 1]));
    }
}
