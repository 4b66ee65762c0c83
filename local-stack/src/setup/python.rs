//! The private Python environments: exactly the pinned packages, checked by their hashes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::lock::Lock;
use crate::prerequisites::{self, Tools};
use crate::progress::Progress;
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, files, tool};

/// An environment that can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// What the local stack runs on: the emulator.
    Stack,
    /// What the tests check the CDK app's templates with: cfn-lint.
    Lint,
}

impl Environment {
    const fn folder(self) -> &'static str {
        match self {
            Self::Stack => "python",
            Self::Lint => "lint",
        }
    }

    /// The content of its requirements file: each package with its version and hashes.
    const fn requirements(self) -> &'static str {
        match self {
            Self::Stack => include_str!("../../python/requirements.txt"),
            Self::Lint => include_str!("../../python/lint-requirements.txt"),
        }
    }

    const fn step_name(self) -> &'static str {
        match self {
            Self::Stack => "Python environment of the local stack",
            Self::Lint => "Python environment of the linter",
        }
    }
}

/// Sets `environment` up, unless it is, and answers with the folder of its programs.
///
/// # Errors
/// When a prerequisite is missing or a package can't be had.
pub async fn set_up(
    workspace: &Workspace,
    environment: Environment,
    progress: &Progress,
) -> Result<PathBuf> {
    let tools = prerequisites::check().await.into_tools()?;
    set_up_with(&tools, workspace, environment, progress).await
}

pub(crate) async fn set_up_with(
    tools: &Tools,
    workspace: &Workspace,
    environment: Environment,
    progress: &Progress,
) -> Result<PathBuf> {
    let name = environment.step_name();
    let local = workspace.local_folder();
    let folder = local.join(environment.folder());
    let requirements = environment.requirements();
    let _lock = Lock::take(&local.join(format!("{}.lock", environment.folder()))).await?;

    // An environment holds the path to itself and to the interpreter that it was made with.
    let inputs = Inputs::default()
        .value(folder.as_os_str().as_encoded_bytes())
        .value(tools.python.as_os_str().as_encoded_bytes())
        .value(requirements)
        .hash();
    let stamp = Stamp::at(folder.join("millrace.stamp"));
    let programs = folder.join("bin");
    // The interpreter may have been uninstalled since.
    if stamp.holds(&inputs)? && programs.join("python").exists() {
        progress.already_done(name);
        return Ok(programs);
    }

    let step = progress.start(name);
    stamp.lift()?;
    files::remove_if_there(&folder)?;
    make(&step, tools, &folder, requirements)
        .await
        .with_context(|| format!("could not set up {}", folder.display()))?;
    stamp.set(&inputs)?;
    step.done();
    Ok(programs)
}

async fn make(
    step: &crate::progress::Step,
    tools: &Tools,
    folder: &Path,
    requirements: &str,
) -> Result<()> {
    tool::run(
        step,
        Command::new(&tools.python).args(["-m", "venv"]).arg(folder),
    )
    .await?;
    let file = folder.join("requirements.txt");
    files::write_atomically(&file, requirements.as_bytes())?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
    ])
    // Every package is listed with its hashes, and none may run code to be installed.
    .args([
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--requirement",
    ])
    .arg(file);
    tool::run(step, &mut pip).await
}
