//! The reconciler's first run. The schedule invokes the reconciler for the first time a minute after the
//! deployment. Until then, `millrace verify` would report a missing report.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::addresses::Local;
use crate::progress::Progress;

/// The time to wait for the report. The function's own timeout is 5 minutes; without events it needs a second.
const DEADLINE: Duration = Duration::from_mins(1);

/// Invokes the reconciler and waits for its report.
pub(super) async fn make(local: &Local, progress: &Progress) -> Result<()> {
    let Some(function) = &local.reconciler_function else {
        return Ok(());
    };
    let step = progress.start("First report");
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(DEADLINE)
        .build()?;
    // https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    let url = format!(
        "{}/2015-03-31/functions/{function}/invocations",
        local.endpoint_url
    );
    let invoked = client.post(url).body("{}").send().await;
    let answer = invoked.context("could not invoke the reconciler")?;
    let is_error = answer.headers().contains_key("x-amz-function-error");
    let status = answer.status();
    let report = answer
        .text()
        .await
        .context("could not read the reconciler's response")?;
    ensure!(
        status.is_success() && !is_error,
        "the reconciler's first run failed ({status}): {report}"
    );
    step.done();
    Ok(())
}
