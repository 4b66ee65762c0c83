//! Converts between Lambda's types and the reconciler's.

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use millrace_runtime::{Budget, ServiceError};
use serde_json::{Value, json};
use tracing::{Instrument as _, info_span};

use crate::ports::{INVOCATION, Publishes, Services};
use crate::service::{Reconciler, Run};

/// The time reserved at the end of the invocation: for one more invocation of a function, which may begin just
/// before the budget is spent, and for storing the report and answering.
pub(crate) const RESERVE: Duration = Duration::from_secs(INVOCATION.as_secs() + 15);

/// The member of the event with the keys of discarded batches that an operator dismisses.
pub const DISMISS: &str = "dismiss";
/// The member of the response that says that another run is under way.
pub const LEASE_HELD: &str = "leaseHeld";

/// Runs the reconciler once. The response is the report, or says that another run is under way. Of the
/// event, only the member [`DISMISS`] is read.
///
/// # Errors
/// [`ServiceError`] if the run could not begin. Nothing was done; the next scheduled run starts as usual.
pub async fn handle(
    reconciler: &Reconciler<impl Publishes, impl Services>,
    event: LambdaEvent<Value>,
) -> Result<Value, ServiceError> {
    let LambdaEvent { payload, context } = event;
    let budget = Budget::of(&context, RESERVE, reconciler.translator.ambient());
    let span = info_span!("run", request_id = context.request_id);
    let dismissed = dismissed(&payload);
    let run = reconciler.run(&context.request_id, &dismissed, budget);
    Ok(match run.instrument(span.clone()).await? {
        Run::LeaseHeld => json!({ LEASE_HELD: true }),
        Run::Done(report) => {
            span.in_scope(|| {
                tracing::info!(
                    findings = report.findings.len() + report.findings_omitted,
                    not_read = report.not_read.len(),
                    "reconciled"
                );
            });
            serde_json::to_value(report).expect("a report's members are texts and numbers")
        }
    })
}

fn dismissed(payload: &Value) -> Vec<String> {
    let keys = payload[DISMISS].as_array().into_iter().flatten();
    keys.filter_map(|key| key.as_str().map(str::to_owned))
        .collect()
}
