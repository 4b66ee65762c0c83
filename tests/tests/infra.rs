//! The CDK app's checks: its own tests, and a linter on the templates that it synthesises.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_domain::money::Currency;
use millrace_local_stack::Workspace;
use millrace_local_stack::names;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::{node, python};
use millrace_reconciler::ports::INVOCATION;
use millrace_runtime::aws::Timeouts;
use millrace_runtime::metrics::{Metric, NAMESPACE};
use serde_json::Value;
use tokio::sync::OnceCell;

fn workspace() -> Result<Workspace> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(Workspace::at(
        root.context("the tests are in the workspace")?,
    ))
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// Synthesises the app, and returns the template's path.
fn synthesise(infra: &Path, folder: &Path, stage: &str) -> Result<PathBuf> {
    let artifacts = folder.join("lambda");
    // Synthesising doesn't read the files' contents.
    for function in names::functions() {
        std::fs::create_dir_all(artifacts.join(&function))?;
        std::fs::write(artifacts.join(&function).join("bootstrap"), &function)?;
    }
    let assembly = folder.join(stage);
    run(Command::new("node")
        .arg(infra.join("node_modules/aws-cdk/bin/cdk"))
        .args(["--no-notices", "--no-color", "synth", "--quiet", "--output"])
        .arg(&assembly)
        .args(["--context", &format!("stage={stage}"), "--context"])
        .arg(format!("artifacts={}", artifacts.display()))
        // The app refuses the stage `local` without this variable. Synthesising sends no request to it.
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("CDK_DISABLE_CLI_TELEMETRY", "true")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(infra))?;
    Ok(assembly.join("Millrace.template.json"))
}

/// The template of the stage `aws`, synthesised once for all tests.
async fn aws_template() -> Result<&'static Value> {
    static TEMPLATE: OnceCell<Value> = OnceCell::const_new();
    TEMPLATE
        .get_or_try_init(async || {
            let workspace = workspace()?;
            node::set_up(&workspace, &Progress::Silent).await?;
            let folder = tempfile::tempdir()?;
            let template = synthesise(&workspace.infra(), folder.path(), "aws")?;
            Ok(serde_json::from_slice(&std::fs::read(template)?)?)
        })
        .await
}

/// The properties of each resource of a type.
fn properties<'a>(template: &'a Value, of: &'a str) -> impl Iterator<Item = &'a Value> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources
        .filter(move |(_, resource)| resource["Type"] == of)
        .map(|(_, resource)| &resource["Properties"])
}

/// The string that a template joins from parts, without references.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => object
            .get("Fn::Join")
            .and_then(|join| join[1].as_array())
            .map(|parts| parts.iter().map(text).collect())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// The names of Millrace's metrics in a dashboard's body, where each follows `"Millrace","`.
fn own_metrics(dashboard: &str) -> BTreeSet<String> {
    let ours = format!("\"{NAMESPACE}\",\"");
    let parts = dashboard.split(&ours).skip(1);
    parts
        .filter_map(|part| part.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_runbook_and_the_dashboard_cover_all_alarms_and_metrics() -> Result<()> {
    let template = aws_template().await?;
    let of_type = |of| properties(template, of);
    let runbook = std::fs::read_to_string(workspace()?.root().join("docs/runbook.md"))?;
    let paragraphs: BTreeSet<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_owned)
        .collect();
    let emitted: BTreeSet<String> = Metric::ALL
        .iter()
        .map(|metric| metric.name().to_owned())
        .collect();

    let mut linked = BTreeSet::new();
    for alarm in of_type("AWS::CloudWatch::Alarm") {
        let description = text(&alarm["AlarmDescription"]);
        let (_, anchor) = description
            .split_once("docs/runbook.md#")
            .with_context(|| format!("no link in {description:?}"))?;
        linked.insert(anchor.to_owned());
        if alarm["Namespace"] == NAMESPACE {
            let name = alarm["MetricName"].as_str().context("a name")?;
            ensure!(emitted.contains(name), "nothing emits {name}");
        }
    }
    ensure!(linked.len() > 20, "only {} alarms", linked.len());
    let anchors: BTreeSet<String> = paragraphs.iter().map(|it| it.to_lowercase()).collect();
    let missing: Vec<_> = linked.difference(&anchors).collect();
    ensure!(
        missing.is_empty(),
        "no paragraph for the alarms {missing:?}"
    );
    let missing: Vec<_> = emitted.difference(&paragraphs).collect();
    ensure!(
        missing.is_empty(),
        "no paragraph for the metrics {missing:?}"
    );

    let shown: BTreeSet<String> = of_type("AWS::CloudWatch::Dashboard")
        .flat_map(|dashboard| own_metrics(&text(&dashboard["DashboardBody"])))
        .collect();
    ensure!(
        shown == emitted,
        "the dashboard shows {shown:?}, but the code emits {emitted:?}"
    );
    Ok(())
}

/// The functions respond before API Gateway returns its own 500 after 30 seconds
/// ([quotas](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html)). Lambda
/// adds up to 10 seconds for starting a function to the function's timeout
/// ([lifecycle](https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html)).
#[tokio::test]
async fn functions_respond_before_their_own_and_api_gateways_timeout() -> Result<()> {
    const API_GATEWAY: Duration = Duration::from_secs(30);
    const START: Duration = Duration::from_secs(10);
    /// The part of their time that the functions reserve for the response.
    const RESERVE: Duration = Duration::from_secs(1);
    let mut interactive = 0;
    for function in properties(aws_template().await?, "AWS::Lambda::Function") {
        let description = function["Description"].as_str().unwrap_or_default();
        let timeout = Duration::from_secs(function["Timeout"].as_u64().context("a timeout")?);
        // The two functions that the API invokes.
        if ["Decides commands", "Answers queries"]
            .iter()
            .any(|it| description.starts_with(it))
        {
            interactive += 1;
            ensure!(
                2 * Timeouts::INTERACTIVE.call + RESERVE < timeout && START + timeout < API_GATEWAY,
                "{description}: {timeout:?}"
            );
        } else {
            ensure!(
                2 * Timeouts::BATCH.call < timeout,
                "{description}: {timeout:?}"
            );
        }
    }
    ensure!(interactive == 2, "{interactive} functions of the API");
    Ok(())
}

#[tokio::test]
async fn the_reconciler_waits_longer_than_the_timeout_of_the_functions() -> Result<()> {
    let mut invoked = 0;
    for function in properties(aws_template().await?, "AWS::Lambda::Function") {
        let variables = &function["Environment"]["Variables"];
        let timeout = Duration::from_secs(function["Timeout"].as_u64().context("a timeout")?);
        if variables["RECONCILER_TABLE"].is_null() {
            ensure!(timeout < INVOCATION, "{timeout:?}");
            invoked += 1;
        } else {
            ensure!(timeout > 2 * INVOCATION, "{timeout:?}");
        }
    }
    ensure!(invoked >= 3, "{invoked} other functions");
    Ok(())
}

/// Functions with a default currency that they don't accept fail at start.
#[test]
fn the_cdk_app_accepts_the_same_currencies_as_the_functions() -> Result<()> {
    let letters = || b'A'..=b'Z';
    let codes = letters().flat_map(|a| {
        letters().flat_map(move |b| letters().map(move |c| [a, b, c].map(char::from)))
    });
    let accepted: Vec<String> = codes
        .map(String::from_iter)
        .filter(|code| Currency::listed(code).is_ok())
        .collect();
    let file = workspace()?.infra().join("domain/currencies.json");
    let listed: Vec<String> = serde_json::from_slice(&std::fs::read(&file)?)?;
    ensure!(
        listed == accepted,
        "{} must contain {}",
        file.display(),
        serde_json::to_string(&accepted)?
    );
    Ok(())
}

#[tokio::test]
async fn the_tests_of_the_cdk_app_pass() -> Result<()> {
    let workspace = workspace()?;
    node::set_up(&workspace, &Progress::Silent).await?;
    run(Command::new("npm")
        .arg("test")
        .current_dir(workspace.infra()))?;
    Ok(())
}

#[tokio::test]
async fn the_templates_of_both_stages_pass_the_linter() -> Result<()> {
    let workspace = workspace()?;
    node::set_up(&workspace, &Progress::Silent).await?;
    let linter = python::set_up(&workspace, python::Environment::Lint, &Progress::Silent)
        .await?
        .join("cfn-lint");
    let folder = tempfile::tempdir()?;
    for stage in ["aws", "local"] {
        let template = synthesise(&workspace.infra(), folder.path(), stage)?;
        run(Command::new(&linter)
            // W3005: the CDK states each dependency, also those that a reference implies.
            // W7001: its Firehose construct adds a mapping that a delivery to S3 doesn't use.
            .args(["--ignore-checks", "W3005", "W7001", "--"])
            .arg(&template))?;
    }
    Ok(())
}
