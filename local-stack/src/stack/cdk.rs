//! Deploys the CDK app to the emulator, with the CDK's command line: the same app and the same commands as on
//! AWS.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::addresses::{Local, REGION};
use super::emulator::CREDENTIAL;
use crate::progress::Progress;
use crate::setup::node;
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, files, tool};

/// The id of the emulator's AWS account.
const ACCOUNT: &str = "000000000000";
const STACK: &str = "Millrace";

/// Runs the CDK's command line against one emulator.
pub(super) struct Cdk {
    infra: PathBuf,
    state: PathBuf,
    endpoint_url: String,
}

/// The folder from which the CDK app reads the functions.
pub(super) fn artifacts(state: &Path) -> PathBuf {
    state.join("lambda")
}

impl Cdk {
    pub(super) fn new(workspace: &Workspace, state: &Path, endpoint_url: &str) -> Self {
        Self {
            infra: workspace.infra(),
            state: state.to_owned(),
            endpoint_url: endpoint_url.to_owned(),
        }
    }

    /// Bootstraps the account. Every new emulator needs it, because its state is only in memory.
    pub(super) async fn bootstrap(&self, progress: &Progress) -> Result<()> {
        let step = progress.start("CDK bootstrap");
        let mut cdk = self.command(&self.state);
        cdk.arg("bootstrap")
            .arg(format!("aws://{ACCOUNT}/{REGION}"));
        tool::run(&step, &mut cdk).await?;
        step.done();
        Ok(())
    }

    /// Synthesises the templates, unless the app and the functions are unchanged.
    pub(super) async fn synthesise(&self, functions: &str, progress: &Progress) -> Result<()> {
        const STEP: &str = "CDK synth";
        let (assembly, artifacts) = (self.assembly(), artifacts(&self.state));
        let inputs = Inputs::default()
            .tree(&self.infra, &["node_modules", "cdk.out", "dist"])?
            .file(&node::stamp(&self.infra))?
            .value(functions)
            .value(artifacts.as_os_str().as_encoded_bytes())
            .hash();
        let stamp = Stamp::at(self.state.join("cdk.out.stamp"));
        if stamp.matches(&inputs)? && assembly.join("manifest.json").exists() {
            progress.already_done(STEP);
            return Ok(());
        }
        let step = progress.start(STEP);
        stamp.clear()?;
        // The CDK keeps the files of earlier runs, and the functions are large.
        files::remove_if_there(&assembly)?;
        let mut cdk = self.command(&self.infra);
        cdk.args(["synth", "--quiet", "--output"])
            .arg(&assembly)
            .args(["--context", "stage=local", "--context"])
            .arg(format!("architecture={}", architecture()))
            .arg("--context")
            .arg(format!("artifacts={}", artifacts.display()));
        tool::run(&step, &mut cdk).await?;
        stamp.set(&inputs)?;
        step.done();
        Ok(())
    }

    /// Deploys the synthesised templates.
    pub(super) async fn deploy(&self, progress: &Progress) -> Result<Local> {
        let step = progress.start("CDK deploy");
        let outputs = self.state.join("outputs.json");
        files::remove_if_there(&outputs)?;
        let mut cdk = self.command(&self.state);
        cdk.args(["deploy", STACK, "--app"])
            .arg(self.assembly())
            // A change set isn't needed: a new stack has no changes to review.
            .args([
                "--require-approval",
                "never",
                "--method",
                "direct",
                "--outputs-file",
            ])
            .arg(&outputs);
        tool::run(&step, &mut cdk).await?;
        let outputs = std::fs::read(&outputs).context("the CDK app has no outputs")?;
        let local = Local::from_outputs(&outputs, &self.endpoint_url)?;
        step.done();
        Ok(local)
    }

    fn assembly(&self) -> PathBuf {
        self.state.join("cdk.out")
    }

    /// The CDK's command, without the `AWS_` and `CDK_` variables and the AWS configuration of the user, so
    /// that it reaches only the emulator.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("node");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("CDK_") {
                command.env_remove(&name);
            }
        }
        let nowhere = self.state.join("no-aws-config");
        command
            .arg(self.infra.join("node_modules/aws-cdk/bin/cdk"))
            .args(["--no-notices", "--no-color"])
            .current_dir(folder)
            .env("AWS_ENDPOINT_URL", &self.endpoint_url)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
            .env("AWS_CONFIG_FILE", &nowhere)
            .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("CDK_DISABLE_CLI_TELEMETRY", "true")
            .env("NO_PROXY", "127.0.0.1,localhost");
        command
    }
}

/// This machine's architecture, as AWS names it.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    }
}
