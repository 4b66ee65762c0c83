//! The service under the hostile feed.

use std::collections::BTreeSet;
use std::sync::Mutex;

use aws_sdk_dynamodb::types::TransactWriteItem;
use low_balance_notifier::{Failure, LowBalances, UndecodableRecords};
use millrace_consumer::testing::{FailingPositions, HostileFeed, kinesis_batch};
use millrace_consumer::{Consumer, MemoryPositions, Undecodable};
use serde_json::{Value, json};

const SOURCE: &str = "urn:millrace:accounts";
const THRESHOLD: i64 = 100;

#[derive(Default)]
struct Stored(Mutex<BTreeSet<Vec<u8>>>);

impl UndecodableRecords for Stored {
    async fn put(&self, record: Undecodable<'_>) -> Result<(), Failure> {
        self.0
            .lock()
            .expect("no panic")
            .insert(record.data.to_vec());
        Ok(())
    }
}

fn service() -> LowBalances<Stored> {
    LowBalances {
        threshold: THRESHOLD,
        notifications: "notifications".to_owned(),
        undecodable: Stored::default(),
    }
}

fn event(
    account: &str,
    sequence: usize,
    event_type: &str,
    version: u32,
    mut data: Value,
) -> Vec<u8> {
    data["accountId"] = account.into();
    data["sequence"] = sequence.into();
    let event = json!({
        "specversion": "1.0", "id": format!("{account}:{sequence}"), "source": SOURCE, "type": event_type,
        "subject": account, "time": "2026-11-20T21:03:05.123Z", "datacontenttype": "application/json",
        "dataschema": format!("urn:millrace:schema:{event_type}:{version}"), "data": data,
    });
    event.to_string().into_bytes()
}

/// An account that is opened, and then changes by these amounts.
fn history(account: &str, changes: &[i64]) -> Vec<Vec<u8>> {
    let created = event(account, 1, "AccountCreated", 1, json!({"currency": "EUR"}));
    let changes = changes.iter().zip(2..).map(|(change, sequence)| {
        let amount = change.abs();
        let data = json!({"amount": amount, "currency": "EUR"});
        match (*change > 0, sequence % 2) {
            (true, _) => event(account, sequence, "BalanceCredited", 1, data),
            (false, 0) => event(account, sequence, "BalanceWithdrawn", 1, data),
            (false, _) => {
                let data = json!({"amount": amount, "currency": "EUR", "channel": "atm"});
                event(account, sequence, "BalanceWithdrawn", 2, data)
            }
        }
    });
    [created].into_iter().chain(changes).collect()
}

/// `account:sequence=balance` of each notification.
fn notifications(writes: &[TransactWriteItem]) -> Vec<String> {
    let shown = writes.iter().map(|write| {
        let item = write.put().expect("a put").item();
        let number = |name: &str| item[name].as_n().expect("a number").clone();
        let account = item["Account"].as_s().expect("a string");
        format!("{account}:{}={}", number("Sequence"), number("Balance"))
    });
    let mut shown: Vec<_> = shown.collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn notifies_of_each_withdrawal_that_crosses_the_threshold() {
    let positions = MemoryPositions::default();
    let consumer = Consumer::new(service(), positions.clone());
    // 150, 90 (low), 80, 100, 99 (low), 0
    let records: Vec<_> = history("a", &[150, -60, -10, 20, -1, -99])
        .into_iter()
        .map(|event| ("a", event))
        .collect();
    let body = kinesis_batch(&records).to_string();
    let outcome = consumer.process(body.as_bytes()).await.expect("a batch");
    assert_eq!((outcome.applied, outcome.incomplete), (7, 0));
    assert_eq!(notifications(&positions.writes()), ["a:3=90", "a:6=99"]);
    assert_eq!(
        positions.position("a").state.as_deref(),
        Some(r#"{"balance":0,"currency":"EUR"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn notifies_once_under_the_hostile_feed() {
    for seed in 0..200 {
        let positions = MemoryPositions::default();
        let failing = FailingPositions::new(seed, positions.clone());
        let consumer = Consumer::new(service(), failing);
        let feed = HostileFeed::new(seed, SOURCE)
            .history("a", history("a", &[150, -60, 20, -20, 10, 10]))
            .history("b", history("b", &[500]))
            .history("c", history("c", &[100, -1, 1, -1, 1, -1]))
            .with_gaps();
        let consumer = &consumer;
        let running = feed.run(|body| async move {
            let outcome = consumer.process(&body).await;
            outcome.map(|outcome| outcome.response)
        });
        running
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(
            notifications(&positions.writes()),
            ["a:3=90", "a:5=90", "c:3=99", "c:5=99", "c:7=99"],
            "seed {seed}"
        );
    }
}
