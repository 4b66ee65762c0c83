//! `millrace reconcile`: runs the reconciler and prints its report. Also reads the last report, for `verify`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use millrace_core::{Project, Timestamp};
use millrace_local_stack::progress::Progress;
use millrace_reconciler::report::{Finding, Report};
use millrace_reconciler::state::{LAST, REPORT, REPORT_JSON};
use serde_json::{Value, json};

use super::deployment::{Deployment, Reconciler};
use super::standing::Kind;
use super::verify::NOT_WELL;
use crate::application::{Words, plural};
use crate::args::Reconcile;
use crate::output::{Output, Rows};
use crate::terminal;

/// The message for a deployment file without a reconciler.
pub(crate) const NO_RECONCILER: &str =
    "this deployment has no reconciler; deploy this version of the stack";
/// The longest duration of a run: the function's timeout (`infra/lib/reconciler.ts`).
pub(crate) const MAX_RUN: Duration = Duration::from_mins(5);
/// The maximum number of invocations while another run holds the lease. With [`PAUSE`] between them, they
/// take longer than that run.
const ATTEMPTS: u32 = 66;
const PAUSE: Duration = Duration::from_secs(5);

/// The result of an invocation.
enum Invoked {
    Reported(Box<Report>),
    /// Another run is under way.
    LeaseHeld,
}

pub(crate) async fn run<D: Project + Clone>(
    deployment: &Deployment<D>,
    reconcile: &Reconcile,
    output: Output,
    progress: &Progress,
) -> Result<ExitCode> {
    let Some(reconciler) = deployment.names.reconciler.reconciler()? else {
        bail!("{NO_RECONCILER} ({} names none)", deployment.file.display());
    };
    let step = progress.start("Reconciling");
    let report = report_of_a_run(&deployment.clients.lambda, &reconciler, reconcile).await?;
    step.done();
    show(&report, output)?;
    output.json(&report)?;
    Ok(if is_well(&report) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

/// Runs the reconciler once. If another run is under way, it waits for the end of that run, and then runs the
/// reconciler nevertheless: the other run may have read a source before the operator changed it.
async fn report_of_a_run(
    client: &aws_sdk_lambda::Client,
    reconciler: &Reconciler,
    reconcile: &Reconcile,
) -> Result<Report> {
    for _ in 0..ATTEMPTS {
        match invoke(client, reconciler, reconcile).await? {
            Invoked::Reported(report) => return Ok(*report),
            Invoked::LeaseHeld => tokio::time::sleep(PAUSE).await,
        }
    }
    bail!(
        "the reconciler was not free to run, because other runs were under way; run the command again"
    )
}

async fn invoke(
    client: &aws_sdk_lambda::Client,
    Reconciler { function, .. }: &Reconciler,
    reconcile: &Reconcile,
) -> Result<Invoked> {
    let event = json!({ "source": "millrace reconcile", "dismiss": reconcile.dismiss });
    let invoked = client
        .invoke()
        .function_name(function)
        .payload(Blob::new(event.to_string()))
        .send()
        .await
        .with_context(|| format!("could not invoke the reconciler {function}"))?;
    let payload = invoked.payload.map(Blob::into_inner).unwrap_or_default();
    ensure!(
        invoked.function_error.is_none(),
        "the reconciler failed: {}",
        String::from_utf8_lossy(&payload)
    );
    let answer: Value =
        serde_json::from_slice(&payload).context("the reconciler's response isn't JSON")?;
    if answer["leaseHeld"] == true {
        return Ok(Invoked::LeaseHeld);
    }
    let report =
        serde_json::from_value(answer).context("the reconciler's response isn't a report")?;
    Ok(Invoked::Reported(Box::new(report)))
}

/// Reads the report that the last run stored; `None` if no run has stored one.
pub(crate) async fn last_report(
    client: &aws_sdk_dynamodb::Client,
    Reconciler { table, .. }: &Reconciler,
) -> Result<Option<Report>> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let stored = client
        .get_item()
        .table_name(table)
        .consistent_read(true)
        .key("Kind", text(REPORT))
        .key("Name", text(LAST))
        .send()
        .await
        .with_context(|| format!("could not read {table}"))?;
    let Some(item) = stored.item else {
        return Ok(None);
    };
    let json = item.get(REPORT_JSON).and_then(|value| value.as_s().ok());
    let json = json.with_context(|| format!("the stored report has no {REPORT_JSON}"))?;
    let report = serde_json::from_str(json).context("the stored report can't be read")?;
    Ok(Some(report))
}

/// The age of a report in seconds, from the end of its run; `None` if its time can't be read.
pub(crate) fn age_seconds(report: &Report, now: Timestamp) -> Option<u64> {
    let began = Timestamp::parse(&report.at).ok()?.unix_millis();
    let ended = began.saturating_add(i64::try_from(report.millis).unwrap_or(i64::MAX));
    let age = now.unix_millis().saturating_sub(ended);
    Some(u64::try_from(age).unwrap_or(0) / 1000)
}

/// The maximum age of the last report: three intervals, or one interval and the longest run if that is
/// longer. If the report is older, the reconciler isn't running.
pub(crate) fn max_age(Reconciler { interval, .. }: &Reconciler) -> Duration {
    (*interval * 3).max(*interval + MAX_RUN)
}

/// Whether the report has no findings, and every source was read.
fn is_well(report: &Report) -> bool {
    report.findings.is_empty() && report.findings_omitted == 0 && report.not_read.is_empty()
}

/// Prints the report as text.
fn show(report: &Report, output: Output) -> Result<()> {
    for line in lines(report, output.words) {
        output.text(line)?;
    }
    if !is_well(report) {
        output.next(format_args!(
            "{} names the command that repairs each finding; the runbook describes the causes",
            output.command("verify")
        ))?;
    }
    Ok(())
}

fn lines(report: &Report, words: Words) -> Vec<String> {
    let mut findings = Rows::indented("");
    for finding in &report.findings {
        let (kind, id, detail) = describe(finding);
        findings.push(&[&format!("✗ {kind}"), id, &detail]);
    }
    let mut lines = findings.lines();
    // An id or a reason may contain any character.
    let mut line = |line: String| lines.push(terminal::on_one_line(&line).into_owned());
    if report.findings_omitted > 0 {
        let more = plural(report.findings_omitted, "more finding", "more findings");
        line(format!("✗ {more}"));
    }
    for not_read in &report.not_read {
        line(format!(
            "? {}: not read: {}",
            not_read.source, not_read.reason
        ));
    }
    let repaired = &report.repaired;
    line(format!(
        "Repaired: {} published, {}, {}",
        words.count(repaired.published),
        plural(repaired.views_repaired, "view", "views"),
        plural(
            repaired.batches_resolved,
            "discarded batch",
            "discarded batches"
        ),
    ));
    let pass = &report.pass;
    let last = match (&pass.last_completed_at, pass.last_aggregates) {
        (Some(at), Some(aggregates)) => {
            let aggregates = count(aggregates, words);
            format!("; the last one ended at {at}, with {aggregates}")
        }
        _ => String::new(),
    };
    let completed = usize::try_from(pass.completed_passes).unwrap_or(usize::MAX);
    line(format!(
        "Slow pass: {} so far, {} completed{last}",
        count(pass.aggregates, words),
        plural(completed, "pass", "passes"),
    ));
    let open = report.findings.len() + report.findings_omitted;
    let (sign, verdict) = match (open, report.not_read.len()) {
        (0, 0) => ('✓', "nothing is open".to_owned()),
        (0, not_read) => ('?', format!("nothing is open, but {not_read} not read")),
        (open, 0) => ('✗', format!("{open} open")),
        (open, not_read) => ('✗', format!("{open} open, {not_read} not read")),
    };
    let seconds = Duration::from_millis(report.millis).as_secs_f64();
    line(format!("{sign} reconciled in {seconds:.1} s: {verdict}"));
    lines
}

fn count(aggregates: u64, words: Words) -> String {
    words.count(usize::try_from(aggregates).unwrap_or(usize::MAX))
}

/// A finding's kind, what it is about, and a description.
fn describe(finding: &Finding) -> (&'static str, &str, String) {
    match finding {
        Finding::Blocked {
            id,
            sequence,
            row,
            reason,
            since,
        } => {
            let row = row
                .as_ref()
                .map_or_else(String::new, |row| format!(" (row {row})"));
            let detail = format!("at event {sequence}{row} since {since}: {reason}");
            ("blocked", id, detail)
        }
        Finding::Parked {
            id,
            through,
            published_through,
            since,
        } => {
            let detail =
                format!("published through event {published_through} of {through} since {since}");
            ("parked", id, detail)
        }
        Finding::Lagging {
            id,
            published_through,
            events,
        } => {
            let detail = format!(
                "published through event {published_through}, but the last event is {events}"
            );
            ("lagging", id, detail)
        }
        Finding::Stale {
            id,
            sequence,
            until,
            reason,
            since,
        } => {
            let detail = format!(
                "the view is at event {sequence} and needs event {until}; since {since}: {reason}"
            );
            ("stale", id, detail)
        }
        Finding::ViewLagging {
            id,
            sequence,
            published_through,
        } => {
            let detail = format!(
                "the view is at event {sequence}, but events are published through {published_through}"
            );
            (Kind::ViewLagging.name(), id, detail)
        }
        Finding::Batch {
            object,
            function,
            since,
            reason,
        } => {
            let detail = format!("discarded by {function}, open since {since}: {reason}");
            ("batch", object, detail)
        }
        Finding::Mapping {
            uuid,
            function,
            state,
            reason,
        } => {
            let detail = format!("of {function}, {state}: {reason}");
            ("mapping", uuid, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
    use aws_sdk_lambda::operation::invoke::InvokeOutput;
    use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

    use super::*;

    /// A report with one finding of each kind, in the function's format.
    fn full() -> Value {
        json!({
            "at": "2026-11-21T21:00:00.000Z", "requestId": "r", "millis": 1234,
            "gauges": {
                "aggregatesBlocked": 1, "aggregatesParked": 1, "aggregatesLagging": 1, "viewsStale": 2,
                "batchesOpen": 1, "mappingsUnhealthy": null, "oldestUnpublishedMillis": 120_000,
            },
            "findings": [
                {"kind": "blocked", "id": "a", "sequence": 3, "row": "4", "reason": "no\u{1b}[2J Amount", "since": "t"},
                {"kind": "parked", "id": "b", "through": 20000, "publishedThrough": 500, "since": "t"},
                {"kind": "lagging", "id": "c", "publishedThrough": 3, "events": 5},
                {"kind": "stale", "id": "d", "sequence": 3, "until": 5, "reason": "a gap", "since": "t"},
                {"kind": "behind", "id": "e", "sequence": 3, "publishedThrough": 5},
                {"kind": "batch", "object": "aws/lambda/x", "function": "p", "since": "t", "reason": "a view lacks events"},
                {"kind": "mapping", "uuid": "u", "function": "f", "state": "Disabled", "reason": "its state is Disabled"},
            ],
            "findingsOmitted": 2,
            "repaired": {"published": 2, "viewsRepaired": 1, "batchesResolved": 0},
            "notRead": [{"source": "mappings", "reason": "AccessDenied"}],
            "pass": {
                "startedAt": "t", "aggregates": 1200, "completedPasses": 3,
                "lastCompletedAt": "t", "lastAggregates": 40000,
            },
        })
    }

    fn well() -> Report {
        let mut report: Report = serde_json::from_value(full()).expect("a report");
        report.findings.clear();
        report.findings_omitted = 0;
        report.not_read.clear();
        report
    }

    fn reconciler() -> Reconciler {
        Reconciler {
            table: "state".to_owned(),
            function: "reconciler".to_owned(),
            interval: Duration::from_mins(1),
        }
    }

    #[test]
    fn each_finding_is_a_line_that_controls_no_terminal() {
        let report: Report = serde_json::from_value(full()).expect("a report");
        let lines = lines(&report, Words::ACCOUNT).join("\n");
        assert_eq!(
            lines,
            "\
✗ blocked      a             at event 3 (row 4) since t: no\\u{1b}[2J Amount
✗ parked       b             published through event 500 of 20000 since t
✗ lagging      c             published through event 3, but the last event is 5
✗ stale        d             the view is at event 3 and needs event 5; since t: a gap
✗ view-behind  e             the view is at event 3, but events are published through 5
✗ batch        aws/lambda/x  discarded by p, open since t: a view lacks events
✗ mapping      u             of f, Disabled: its state is Disabled
✗ 2 more findings
? mappings: not read: AccessDenied
Repaired: 2 accounts published, 1 view, 0 discarded batches
Slow pass: 1200 accounts so far, 3 passes completed; the last one ended at t, with 40000 accounts
✗ reconciled in 1.2 s: 9 open, 1 not read"
        );
    }

    #[test]
    fn all_is_well_only_if_nothing_is_open_and_everything_was_read() {
        assert!(is_well(&well()));
        let last = lines(&well(), Words::ACCOUNT).pop().expect("a line");
        assert!(last.starts_with('✓') && last.ends_with("nothing is open"));
        let changes: [fn(&mut Report); 3] = [
            |report| report.findings_omitted = 1,
            |report| report.findings = full_report().findings,
            |report| report.not_read = full_report().not_read,
        ];
        for change in changes {
            let mut report = well();
            change(&mut report);
            assert!(!is_well(&report), "{report:?}");
        }
    }

    fn full_report() -> Report {
        serde_json::from_value(full()).expect("a report")
    }

    fn answers(payload: Value, error: Option<&'static str>) -> Rule {
        mock!(aws_sdk_lambda::Client::invoke)
            .match_requests(|request| {
                let event = request.payload().map(|payload| payload.as_ref().to_vec());
                let event: Value =
                    serde_json::from_slice(&event.unwrap_or_default()).unwrap_or_default();
                request.function_name() == Some("reconciler") && event["dismiss"] == json!(["o"])
            })
            .then_output(move || {
                InvokeOutput::builder()
                    .payload(Blob::new(payload.to_string()))
                    .set_function_error(error.map(str::to_owned))
                    .build()
            })
    }

    async fn invoked(rules: &[&Rule]) -> Result<Report> {
        let client = mock_client!(aws_sdk_lambda, RuleMode::Sequential, rules);
        let reconcile = Reconcile {
            dismiss: vec!["o".to_owned()],
            target: crate::args::Target { deployment: None },
        };
        report_of_a_run(&client, &reconciler(), &reconcile).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_under_way_is_waited_for() {
        let held = answers(json!({"leaseHeld": true}), None);
        let reported = answers(full(), None);
        let report = invoked(&[&held, &reported]).await.expect("a report");
        assert_eq!(report, full_report());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_other_runs_ends_after_their_longest_time() {
        let started = tokio::time::Instant::now();
        let client = {
            let held = mock!(aws_sdk_lambda::Client::invoke).then_output(|| {
                let held = json!({"leaseHeld": true}).to_string();
                InvokeOutput::builder().payload(Blob::new(held)).build()
            });
            mock_client!(aws_sdk_lambda, RuleMode::MatchAny, &[&held])
        };
        let reconcile = Reconcile {
            dismiss: Vec::new(),
            target: crate::args::Target { deployment: None },
        };
        let error = report_of_a_run(&client, &reconciler(), &reconcile).await;
        assert!(
            error
                .expect_err("no report")
                .to_string()
                .contains("under way")
        );
        assert!(started.elapsed() > MAX_RUN);
    }

    #[tokio::test]
    async fn an_error_of_the_function_is_shown() {
        let failed = answers(json!({"errorMessage": "no permission"}), Some("Unhandled"));
        let error = invoked(&[&failed]).await.expect_err("failed").to_string();
        assert!(error.contains("no permission"), "{error}");
        let other = answers(json!({"findings": 3}), None);
        let error = invoked(&[&other]).await.expect_err("no report").to_string();
        assert!(error.contains("isn't a report"), "{error}");
    }

    async fn stored(item: Option<HashMap<String, AttributeValue>>) -> Result<Option<Report>> {
        let rule = mock!(aws_sdk_dynamodb::Client::get_item)
            .match_requests(|request| {
                let key = |name: &str| request.key().and_then(|key| key[name].as_s().ok());
                request.table_name() == Some("state")
                    && key("Kind").is_some_and(|kind| kind == "report")
                    && key("Name").is_some_and(|name| name == "last")
            })
            .then_output(move || GetItemOutput::builder().set_item(item.clone()).build());
        let client = mock_client!(aws_sdk_dynamodb, [&rule]);
        last_report(&client, &reconciler()).await
    }

    #[tokio::test]
    async fn the_last_report_is_there_or_not_or_unreadable() {
        assert_eq!(stored(None).await.expect("read"), None);
        let item = |json: String| [("Report".to_owned(), AttributeValue::S(json))].into();
        let read = stored(Some(item(full().to_string()))).await.expect("read");
        assert_eq!(read, Some(full_report()));
        for unreadable in [HashMap::new(), item("{}".to_owned())] {
            assert!(stored(Some(unreadable)).await.is_err());
        }
    }

    #[test]
    fn a_reports_age_counts_from_the_end_of_its_run() {
        let at = |seconds: i64| {
            let began = Timestamp::parse("2026-11-21T21:00:00.000Z").expect("a time");
            Timestamp::from_unix_millis(began.unix_millis() + seconds * 1000).expect("a time")
        };
        assert_eq!(age_seconds(&well(), at(61)), Some(59));
        assert_eq!(age_seconds(&well(), at(-5)), Some(0));
        let mut timeless = well();
        timeless.at = "yesterday".to_owned();
        assert_eq!(age_seconds(&timeless, at(0)), None);
    }

    #[test]
    fn a_report_is_too_old_after_three_intervals_and_a_long_run_is_none_of_them() {
        let of = |minutes| {
            let interval = Duration::from_mins(minutes);
            max_age(&Reconciler {
                interval,
                ..reconciler()
            })
        };
        assert_eq!(of(1), Duration::from_mins(6));
        assert_eq!(of(5), Duration::from_mins(15));
        assert_eq!(of(60), Duration::from_hours(3));
    }
}
