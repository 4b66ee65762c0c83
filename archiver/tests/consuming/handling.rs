//! Lambda's batches in, partial batch responses out.

use std::marker::PhantomData;

use aws_lambda_events::kinesis::KinesisEvent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_runtime::{Context, LambdaEvent};
use millrace_archiver::archive::Archiver;
use millrace_archiver::handler::handle;
use millrace_core::Timestamp;
use millrace_domain::Accounts;
use millrace_runtime::Ambient as _;
use millrace_runtime::metrics::Metric;
use serde_json::{Value, json};

use crate::memory::{Lake, Measuring, Still, bytes, events};

fn event(ids: &[(&str, u64)]) -> LambdaEvent<KinesisEvent> {
    let records: Vec<Value> = ids
        .iter()
        .enumerate()
        .map(|(position, (id, sequence))| {
            let event = events(id, *sequence..=*sequence).remove(0);
            json!({
                "eventID": format!("shardId-000000000000:{position}"),
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": id,
                    "sequenceNumber": position.to_string(),
                    "data": STANDARD.encode(bytes(&event)),
                    "approximateArrivalTimestamp": 1_545_084_650.987,
                },
            })
        })
        .collect();
    let payload = serde_json::from_value(json!({ "Records": records })).expect("an event");
    let mut context = Context::default();
    let now = Timestamp::unix_millis(Still.now());
    context.deadline = u64::try_from(now).expect("after 1970") + 60_000;
    LambdaEvent::new(payload, context)
}

#[tokio::test(start_paused = true)]
async fn the_archiver_reports_the_same_way() {
    let lake = Lake::default();
    let archiver = Archiver {
        domain: PhantomData::<Accounts>,
        delivery: &lake,
        ambient: Still,
    };
    let response = handle(&archiver, event(&[("a", 1)])).await;
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(lake.lines.lock().expect("unpoisoned").len(), 1);

    let answers = std::iter::repeat_n(None, 1_000);
    lake.answers.lock().expect("unpoisoned").extend(answers);
    let response = handle(&archiver, event(&[("a", 2), ("a", 3)])).await;
    let failures = response.batch_item_failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].item_identifier.as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn the_archiver_measures_what_came_of_a_batch() {
    let (lake, measuring) = (Lake::default(), Measuring::default());
    let archiver = Archiver {
        domain: PhantomData::<Accounts>,
        delivery: &lake,
        ambient: &measuring,
    };
    let measured = || std::mem::take(&mut *measuring.0.lock().expect("unpoisoned"));
    let of = |archived, retries, failures| {
        [
            (Metric::RecordsArchived, Some(archived)),
            (Metric::ArchiveRetries, Some(retries)),
            (Metric::ArchiveFailures, Some(failures)),
        ]
    };
    let answer = |entries: Vec<bool>| {
        let mut answers = lake.answers.lock().expect("unpoisoned");
        answers.push_back(Some(entries));
    };
    answer(vec![false]);
    handle(&archiver, event(&[("a", 1), ("a", 2)])).await;
    assert_eq!(measured(), of(2, 1, 0));
    for _ in 0..10_000 {
        answer(vec![false]);
    }
    let response = handle(&archiver, event(&[("a", 1), ("a", 2)])).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    let failed = measured();
    assert_eq!(failed[0], (Metric::RecordsArchived, Some(0)));
    assert_eq!(failed[2], (Metric::ArchiveFailures, Some(1)));
}
