//! Events around Firehose's limits: what is taken whole, and what becomes of the rest.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_archiver::line::lines;
use millrace_archiver::service::Outcome;
use millrace_archiver::testing::{MemoryDeliveryStream, Response};
use millrace_consumer::KinesisRecord;
use millrace_consumer::testing::kinesis_record;
use millrace_domain::Accounts;
use millrace_runtime::Budget;
use millrace_runtime::testing::{TestAmbient, in_virtual_time, logged};
use proptest::prelude::*;
use serde_json::Value;

use crate::accounts::archiver;

/// Records that a single record of the delivery stream, or a call, takes or doesn't.
fn event_of(bytes: usize, position: usize) -> KinesisRecord<'static> {
    let event = |filler: &str| format!(r#"{{"id":"{position}","type":"T","filler":"{filler}"}}"#);
    let filler = "x".repeat(bytes - event("").len());
    kinesis_record(position, "a", event(&filler).as_bytes())
}

#[test]
fn an_event_that_is_too_large_is_logged_with_its_trace() {
    let span = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","#;
    for (span, trace_id) in [(span, Some("0af7651916cd43dd8448eb211c80319c")), ("", None)] {
        let filler = "x".repeat(1_000 * 1024);
        let event = format!(r#"{{{span}"id":"0","type":"T","filler":"{filler}"}}"#);
        let record = kinesis_record(0, "a", event.as_bytes());
        let (_, logged) = logged(async { lines::<Accounts>(&record) });
        assert_eq!(logged.len(), 1, "{logged:?}");
        let found = logged[0].get("trace_id").and_then(Value::as_str);
        assert_eq!(found, trace_id);
    }
}

/// The contents of a lake's records, in order: a whole event, or one joined from its parts.
fn archived(lake: &MemoryDeliveryStream) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut of = None;
    for line in &lake.lines() {
        let Value::Object(event) = serde_json::from_str(line).expect("JSON") else {
            panic!("a line is no object");
        };
        if event["type"] != "UnreadableRecord" {
            of = None;
            all.push(line.clone().into_bytes());
            continue;
        }
        let part = event["data_base64"].as_str().expect("a part");
        let part = STANDARD.decode(part).expect("base64");
        let id = event["id"].as_str().expect("an id");
        let id = id.rsplit_once(':').expect("a part's id").0.to_owned();
        match all.last_mut().filter(|_| of.as_ref() == Some(&id)) {
            Some(before) => before.extend(part),
            None => all.push(part),
        }
        of = Some(id);
    }
    all
}

async fn archive(lake: &MemoryDeliveryStream, records: &[KinesisRecord<'_>]) -> Outcome {
    archiver(lake, &TestAmbient::default())
        .archive(records, Budget::lasting(Duration::from_mins(1)))
        .await
}

#[tokio::test(start_paused = true)]
async fn an_event_at_firehoses_limit_goes_in_as_it_is_and_a_larger_one_in_parts() {
    // The line break is the last byte.
    let records = [
        event_of(1_023_999, 0),
        event_of(1_024_000, 1),
        event_of(100, 2),
    ];
    let lake = MemoryDeliveryStream::default();
    assert_eq!(archive(&lake, &records).await.resume_at, None);
    let lines = lake.lines();
    let unreadable: Vec<bool> = lines
        .iter()
        .map(|line| line.contains("UnreadableRecord"))
        .collect();
    assert_eq!(unreadable, [false, true, true, false]);
    let all: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
    assert!(archived(&lake) == all);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_firehose_is_filled_to_its_limit_in_bytes_and_no_further() {
    let largest = |position| event_of(1_023_999, position);
    let rest = 4_194_304 - 4 * 1_024_000;
    for (last, calls) in [(rest, vec![5]), (rest + 1, vec![4, 1])] {
        let mut records: Vec<_> = (0..4).map(largest).collect();
        records.push(event_of(last - 1, 4));
        let lake = MemoryDeliveryStream::default();
        archive(&lake, &records).await;
        assert_eq!(lake.calls(), calls, "{last}");
    }
}

fn event_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => 60..5_000_usize,
        1 => 511_000..513_000_usize,
        1 => 614_399..614_402_usize,
        2 => 1_023_998..1_024_002_usize,
        1 => 1_228_799..1_228_803_usize,
    ]
}

proptest! {
    // Each case moves megabytes.
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// For any sizes and any rejections: no call is over a limit, and the lake contains
    /// every byte. Without rejections it does so in order.
    #[test]
    fn nothing_is_lost_where_calls_to_firehose_are_split_by_bytes(
        sizes in prop::collection::vec(event_size(), 0..12),
        answers in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..5), 0..3),
    ) {
        let records: Vec<KinesisRecord<'_>> = sizes
            .iter()
            .enumerate()
            .map(|(position, size)| event_of(*size, position))
            .collect();
        let lake = MemoryDeliveryStream::default();
        let is_sound = answers.is_empty();
        for entries in answers {
            lake.respond(Response::Entries(entries));
        }
        let outcome = in_virtual_time(archive(&lake, &records));
        prop_assert_eq!(outcome.resume_at, None);
        let all: Vec<Vec<u8>> = records.iter().map(|record| record.data.clone()).collect();
        if is_sound {
            prop_assert!(archived(&lake) == all);
        } else {
            let lines: usize = records
                .iter()
                .map(|record| lines::<Accounts>(record).len())
                .sum();
            prop_assert_eq!(lake.lines().len(), lines);
        }
    }
}
