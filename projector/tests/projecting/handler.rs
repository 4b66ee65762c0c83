//! Lambda's batches in, partial batch responses out.

use aws_lambda_events::kinesis::KinesisEvent;
use lambda_runtime::LambdaEvent;
use millrace_domain::testing::{event, events_of, records};
use millrace_projector::handler::handle;
use millrace_projector::testing::MemoryReadModel;
use millrace_runtime::Ambient as _;
use millrace_runtime::metrics::Metric;
use millrace_runtime::testing::{TestAmbient, kinesis_invocation};

use crate::accounts::{projector, sequence, view_of};

fn invocation(ids: &[(&str, u64)]) -> LambdaEvent<KinesisEvent> {
    kinesis_invocation(&TestAmbient::default(), &records(&events_of(ids)))
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_through_reports_nothing() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    let projector = projector(&memory, &ambient);
    let response = handle(&projector, invocation(&[("a", 1), ("a", 2)])).await;
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(view_of(&memory, "a").expect("there").sequence, sequence(2));
}

#[tokio::test(start_paused = true)]
async fn the_first_record_that_is_not_through_is_reported_and_no_other() {
    let (memory, ambient) = (MemoryReadModel::default(), TestAmbient::default());
    memory.set_unavailable("b");
    let projector = projector(&memory, &ambient);
    let batch = invocation(&[("a", 1), ("b", 1), ("c", 1), ("b", 2)]);
    let response = handle(&projector, batch).await;
    let failures: Vec<_> = response
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    assert_eq!(failures, [Some("1".to_owned())]);
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
    .await;
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
