//! The CDK app's own checks: its tests, and the linter over what it makes of its settings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use millrace_cli::Workspace;
use millrace_cli::progress::Progress;
use millrace_cli::setup::{node, python};

/// The functions as the app takes them; synthesising doesn't look inside.
const FUNCTIONS: [&str; 5] = ["writer", "translator", "projector", "archiver", "reader"];

fn workspace() -> Result<Workspace> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(Workspace::at(root.context("the tests lie inside it")?))
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

/// Synthesises the app, and answers with the template.
fn synthesise(infra: &Path, folder: &Path, stage: &str) -> Result<PathBuf> {
    let artifacts = folder.join("lambda");
    for function in FUNCTIONS {
        std::fs::create_dir_all(artifacts.join(function))?;
        std::fs::write(artifacts.join(function).join("bootstrap"), function)?;
    }
    let assembly = folder.join(stage);
    run(Command::new("node")
        .arg(infra.join("node_modules/aws-cdk/bin/cdk"))
        .args(["--no-notices", "--no-color", "synth", "--quiet", "--output"])
        .arg(&assembly)
        .args(["--context", &format!("stage={stage}"), "--context"])
        .arg(format!("artifacts={}", artifacts.display()))
        .env("CDK_DISABLE_CLI_TELEMETRY", "true")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(infra))?;
    Ok(assembly.join("Millrace.template.json"))
}

#[tokio::test]
async fn the_app_passes_its_tests() -> Result<()> {
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
            // W3005: the CDK writes down each dependency, also those that follow from a reference.
            // W7001: its Firehose construct adds a mapping that a delivery to S3 has no use for.
            .args(["--ignore-checks", "W3005", "W7001", "--"])
            .arg(&template))?;
    }
    Ok(())
}
