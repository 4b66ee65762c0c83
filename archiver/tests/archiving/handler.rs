//! Lambda's batches in, partial batch responses out.

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_archiver::handler::handle;
use millrace_archiver::testing::{MemoryDeliveryStream, Response};
use millrace_consumer::testing::kinesis_batch;
use millrace_domain::testing::{events_of, records};
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::TestAmbient;
use serde_json::Value;

use crate::accounts::archiver;

fn invocation(ids: &[(&str, u64)]) -> LambdaEvent<Bytes> {
    let event = kinesis_batch(&records(&events_of(ids)));
    millrace_runtime::testing::invocation(&TestAmbient::default(), &event)
}

#[tokio::test(start_paused = true)]
async fn the_archiver_reports_the_same_way() {
    let (lake, ambient) = (MemoryDeliveryStream::default(), TestAmbient::default());
    let archiver = archiver(&lake, &ambient);
    let response = handle(&archiver, invocation(&[("a", 1)])).await;
    let response = response.expect("a batch");
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(lake.lines().len(), 1);

    for _ in 0..1_000 {
        lake.respond(Response::Lost);
    }
    let response = handle(&archiver, invocation(&[("a", 2), ("a", 3)])).await;
    let failures = response.expect("a batch").batch_item_failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].item_identifier, "0");
}

#[tokio::test(start_paused = true)]
async fn the_archiver_measures_a_batchs_outcome() {
    let lake = MemoryDeliveryStream::default();
    let rejected = || Response::Entries(vec![false]);
    let of = |archived, retries, failures| {
        [
            (Metric::RecordsArchived, Some(archived)),
            (Metric::ArchiveRetries, Some(retries)),
            (Metric::ArchiveFailures, Some(failures)),
        ]
    };
    let ambient = TestAmbient::default();
    lake.respond(rejected());
    handle(
        &archiver(&lake, &ambient),
        invocation(&[("a", 1), ("a", 2)]),
    )
    .await
    .expect("a batch");
    assert_eq!(ambient.measured(), of(2, 1, 0));

    let ambient = TestAmbient::default();
    for _ in 0..10_000 {
        lake.respond(rejected());
    }
    let batch = invocation(&[("a", 1), ("a", 2)]);
    let response = handle(&archiver(&lake, &ambient), batch).await;
    assert_eq!(response.expect("a batch").batch_item_failures.len(), 1);
    let failed = ambient.measured();
    assert_eq!(failed[0], (Metric::RecordsArchived, Some(0)));
    assert_eq!(failed[2], (Metric::ArchiveFailures, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_data_is_reported_and_the_others_are_archived() {
    let (lake, ambient) = (MemoryDeliveryStream::default(), TestAmbient::default());
    let mut invocation = invocation(&[("a", 1), ("a", 2), ("a", 3)]);
    let mut batch: Value = serde_json::from_slice(&invocation.payload).expect("JSON");
    batch["Records"][1]["kinesis"]["data"] = Value::Null;
    invocation.payload = batch.to_string().into();
    let response = handle(&archiver(&lake, &ambient), invocation).await;
    let failures = response.expect("a batch").batch_item_failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].item_identifier, "1");
    assert_eq!(lake.lines().len(), 2);
    assert_eq!(
        ambient.measured(),
        [
            (Metric::RecordsArchived, Some(1)),
            (Metric::ArchiveRetries, Some(0)),
            (Metric::ArchiveFailures, Some(1)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_batch_are_an_error_of_the_invocation() {
    let (lake, ambient) = (MemoryDeliveryStream::default(), TestAmbient::default());
    let mut batch = invocation(&[("a", 1)]);
    batch.payload = Bytes::from_static(b"[]");
    let response = handle(&archiver(&lake, &ambient), batch).await;
    assert!(response.is_err());
    assert_eq!(lake.lines().len(), 0);
}
