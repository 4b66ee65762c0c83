//! The CDK app's packages, exactly as its lock file names them.

use anyhow::Result;
use tokio::process::Command;

use crate::lock::Lock;
use crate::progress::Progress;
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, tool};

const STEP: &str = "npm packages of the CDK app";

/// Installs the CDK app's packages, unless they are.
///
/// # Errors
/// When npm is missing or a package can't be had.
pub async fn set_up(workspace: &Workspace, progress: &Progress) -> Result<()> {
    let infra = workspace.infra();
    let _lock = Lock::take(&workspace.local_folder().join("npm.lock")).await?;
    let inputs = Inputs::default()
        .file(&infra.join("package.json"))?
        .file(&infra.join("package-lock.json"))?
        .hash();
    // Inside, so that it goes with the packages when someone removes them.
    let stamp = Stamp::at(infra.join("node_modules/.millrace.stamp"));
    if stamp.holds(&inputs)? {
        progress.already_done(STEP);
        return Ok(());
    }
    let step = progress.start(STEP);
    stamp.lift()?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&infra);
    tool::run(&step, &mut npm).await?;
    stamp.set(&inputs)?;
    step.done();
    Ok(())
}
