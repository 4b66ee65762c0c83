//! Creates private Python environments, with exactly the pinned packages, whose hashes pip checks.

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
    /// The emulator of the local stack.
    Stack,
    /// cfn-lint, with which the tests check the CDK app's templates.
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

/// Sets up `environment`, unless it is set up, and returns the folder of its programs.
///
/// # Errors
/// If a prerequisite is missing or a package can't be installed.
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

    // An environment contains its own path and that of the interpreter that created it.
    let inputs = Inputs::default()
        .value(folder.as_os_str().as_encoded_bytes())
        .value(tools.python.as_os_str().as_encoded_bytes())
        .value(requirements)
        .hash();
    let stamp = Stamp::at(folder.join("millrace.stamp"));
    let programs = folder.join("bin");
    // This file is a link to the interpreter, which may have been uninstalled since the set-up.
    if stamp.matches(&inputs)? && programs.join("python").exists() {
        progress.already_done(name);
        return Ok(programs);
    }

    let step = progress.start(name);
    stamp.clear()?;
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
    // Every package is listed with its hashes. Only wheels: their installation runs no code of the package.
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
