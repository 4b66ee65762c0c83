//! Lambda's batches in, partial batch responses out.

use bytes::Bytes;
use lambda_runtime::LambdaEvent;
use millrace_consumer::testing::kinesis_batch;
use millrace_domain::testing::{event, events_of, records};
use millrace_projector::handler::handle;
use millrace_projector::testing::MemoryReadModel;
use millrace_runtime::Ambient as _;
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::TestAmbient;
use serde_json::Value;

use crate::accounts::{projector, sequence, view_of};

fn invocation(ids: &[(&str, u64)]) -> LambdaEvent<Bytes> {
    let event = kinesis_batch(&records(&events_of(ids)));
    millrace_runtime::testing::invocation(&TestAmbient::default(), &event)
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_through_reports_nothing() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    let projector = projector(&memory, &ambient);
    let response = handle(&projector, invocation(&[("a", 1), ("a", 2)])).await;
    let response = response.expect("a batch");
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(view_of(&memory, "a").expect("there").sequence, sequence(2));
}

#[tokio::test(start_paused = true)]
async fn the_first_record_that_is_not_through_is_reported_and_no_other() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    memory.set_unavailable("b");
    let projector = projector(&memory, &ambient);
    let batch = invocation(&[("a", 1), ("b", 1), ("c", 1), ("b", 2)]);
    let response = handle(&projector, batch).await.expect("a batch");
    let failures: Vec<_> = response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    assert_eq!(failures, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn the_projector_measures_the_outcome_of_a_batch() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    let projector = projector(&memory, &ambient);
    // Two are applied, one is a duplicate, and one has a gap before it.
    handle(
        &projector,
        invocation(&[("a", 1), ("a", 2), ("a", 1), ("b", 3)]),
    )
    .await
    .expect("a batch");
    let lag = ambient.now().unix_millis() - event("a", 1).time.unix_millis();
    assert_eq!(
        ambient.measured(),
        [
            (Metric::EventsProjected, Some(2)),
            (Metric::ViewsStale, Some(1)),
            (Metric::ViewLag, u64::try_from(lag).ok()),
        ]
    );
}

/// Makes the data of the record at this position unreadable.
fn damage(invocation: &mut LambdaEvent<Bytes>, position: usize) {
    let mut batch: Value = serde_json::from_slice(&invocation.payload).expect("JSON");
    batch["Records"][position]["kinesis"]["data"] = "no base64!".into();
    invocation.payload = batch.to_string().into();
}

#[tokio::test(start_paused = true)]
async fn a_record_without_data_is_reported_and_the_others_are_projected() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    let mut batch = invocation(&[("a", 1), ("b", 1), ("a", 2)]);
    damage(&mut batch, 1);
    let response = handle(&projector(&memory, &ambient), batch).await;
    let failures = response.expect("a batch").batch_item_failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].item_identifier, "1");
    assert_eq!(view_of(&memory, "a").expect("there").sequence, sequence(2));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_batch_are_an_error_of_the_invocation() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    let mut batch = invocation(&[("a", 1)]);
    batch.payload = Bytes::from_static(b"{}");
    let response = handle(&projector(&memory, &ambient), batch).await;
    assert!(response.is_err());
    assert_eq!(ambient.measured(), []);
}
