//! What batches make of the lake.

use std::time::Duration;

use millrace_archiver::service::Outcome;
use millrace_archiver::testing::{MemoryDeliveryStream, Response};
use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_record;
use millrace_domain::testing::{bytes, events};
use millrace_runtime::Budget;
use millrace_runtime::testing::TestAmbient;

use crate::accounts::{archiver, batch};

async fn archive(
    lake: &MemoryDeliveryStream,
    records: &[KinesisRecord<'_>],
    budget: Duration,
) -> Outcome {
    let ambient = TestAmbient::default();
    let archiver = archiver(lake, &ambient);
    archiver.archive(records, Budget::lasting(budget)).await
}

const AMPLE: Duration = Duration::from_mins(1);

/// Records of which each fills a Firehose record of its own.
fn large(count: usize) -> Vec<KinesisRecord<'static>> {
    (0..count)
        .map(|position| {
            let filler = "x".repeat(590 * 1024);
            let event = format!("{{\"id\":\"{position}\",\"type\":\"T\",\"filler\":\"{filler}\"}}");
            kinesis_record(position, "a", event.as_bytes())
        })
        .collect()
}

fn ids(lake: &MemoryDeliveryStream) -> Vec<String> {
    let lines = lake.lines();
    lines.iter().map(|line| line[7..8].to_owned()).collect()
}

fn entries(accepted: &[bool]) -> Response {
    Response::Entries(accepted.to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_few_records_and_each_event_a_line() {
    let lake = MemoryDeliveryStream::default();
    let all = events("a", 1..=200);
    let outcome = archive(&lake, &batch(&all), AMPLE).await;
    assert_eq!((outcome.resume_at, outcome.packed), (None, 1));
    let expected: Vec<String> = all
        .iter()
        .map(|event| String::from_utf8(bytes(event)).expect("text"))
        .collect();
    assert_eq!(lake.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn only_what_failed_is_sent_again() {
    let lake = MemoryDeliveryStream::default();
    lake.respond(entries(&[true, false, true, false]));
    lake.respond(entries(&[false, true]));
    let outcome = archive(&lake, &large(4), AMPLE).await;
    assert_eq!((outcome.resume_at, outcome.retries), (None, 3));
    assert_eq!(lake.calls(), [4, 2, 1]);
    assert_eq!(ids(&lake), ["0", "2", "3", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_made_again() {
    let lake = MemoryDeliveryStream::default();
    lake.respond(Response::Lost);
    lake.respond(entries(&[false; 4]));
    let outcome = archive(&lake, &large(4), AMPLE).await;
    assert_eq!(outcome.resume_at, None);
    assert_eq!(ids(&lake), ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_the_first_that_is_left_is_told() {
    let lake = MemoryDeliveryStream::default();
    lake.respond(entries(&[true, false, true]));
    for _ in 0..50 {
        lake.respond(entries(&[false]));
    }
    let outcome = archive(&lake, &large(3), Duration::from_secs(1)).await;
    assert_eq!(outcome.resume_at, Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_short_counts_as_failed() {
    let lake = MemoryDeliveryStream::default();
    lake.respond(entries(&[true]));
    let outcome = archive(&lake, &large(3), AMPLE).await;
    assert_eq!(outcome.resume_at, None);
    assert_eq!(ids(&lake), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_event_goes_in_too_and_stops_nobody() {
    let lake = MemoryDeliveryStream::default();
    let mut records = vec![kinesis_record(0, "a", b"\xff\n")];
    records.extend(batch(&events("b", 1..=1)));
    let outcome = archive(&lake, &records, AMPLE).await;
    assert_eq!(outcome.resume_at, None);
    let lines = lake.lines();
    assert!(lines[0].contains("UnreadableRecord"));
    assert!(lines[1].contains("AccountCreated"));
}
