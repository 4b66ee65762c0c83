//! The reconciler's report and the frame of its Lambda function.
//!
//! Each run returns and stores a report without findings.

pub mod report;
pub mod state;

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{LambdaEvent, service_fn};
use millrace_core::Domain;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::{Ambient as _, StartError, System, aws, telemetry, variables};
use serde_json::Value;

use report::{Gauges, Pass, Repaired, Report};

/// Runs the reconciler as a Lambda function until the environment is shut down.
///
/// # Errors
/// [`StartError`] when the function can't start or Lambda's runtime API fails.
pub async fn run<D: Domain>(_domain: D) -> Result<(), StartError> {
    telemetry::start();
    let table = variables::required("RECONCILER_TABLE", variables::lookup)?;
    let aws = aws::config(Timeouts::BATCH).await;
    let client = aws_sdk_dynamodb::Client::new(&aws);
    let runs = AtomicU64::new(0);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let report = Report {
            at: System.now().to_string(),
            request_id: event.context.request_id,
            millis: 0,
            gauges: Gauges {
                aggregates_blocked: Some(0),
                aggregates_parked: Some(0),
                aggregates_lagging: Some(0),
                views_stale: Some(0),
                batches_open: Some(0),
                mappings_unhealthy: Some(0),
                oldest_unpublished_millis: Some(0),
            },
            findings: Vec::new(),
            findings_omitted: 0,
            repaired: Repaired::default(),
            not_read: Vec::new(),
            pass: Pass {
                completed_passes: runs.fetch_add(1, Ordering::Relaxed),
                ..Pass::default()
            },
        };
        let text = |text: &str| AttributeValue::S(text.to_owned());
        client
            .put_item()
            .table_name(&table)
            .item("Kind", text(state::REPORT))
            .item("Name", text(state::LAST))
            .item(state::REPORT_JSON, text(&serde_json::to_string(&report)?))
            .send()
            .await?;
        Ok::<_, lambda_runtime::Error>(serde_json::to_value(report)?)
    }))
    .await
    .map_err(StartError::Runtime)
}
