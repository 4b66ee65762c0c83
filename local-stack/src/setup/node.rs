//! Installs the CDK app's npm packages: those of its lock file, or, without one, those that its
//! `package.json` requires.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::process::Command;

use crate::lock::Lock;
use crate::progress::Progress;
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, tool};

const LOCK_FILE: &str = "package-lock.json";
const STEP: &str = "npm packages of the CDK app";

/// The dependencies of a `package.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Package {
    dependencies: BTreeMap<String, String>,
    dev_dependencies: BTreeMap<String, String>,
}

impl Package {
    /// The dependencies that are archives on this machine, as paths relative to the folder of `package.json`.
    fn archives(&self) -> impl Iterator<Item = &str> {
        let all = self
            .dependencies
            .values()
            .chain(self.dev_dependencies.values());
        all.filter_map(|source| source.strip_prefix("file:"))
            .filter(|path| Path::new(path).extension().is_some_and(|it| it == "tgz"))
    }
}

/// The stamp of the installed packages. Its content changes when other packages are installed.
pub(crate) fn stamp(infra: &Path) -> PathBuf {
    // In the packages' folder, so that removing the packages also removes the stamp.
    infra.join("node_modules/.millrace.stamp")
}

/// Installs the CDK app's packages, unless they are installed.
///
/// # Errors
/// If `package.json` can't be read, npm is missing or a package can't be installed.
pub async fn set_up(workspace: &Workspace, progress: &Progress) -> Result<()> {
    let infra = workspace.infra();
    let _lock = Lock::take(&workspace.local_folder().join("npm.lock")).await?;
    let stamp = Stamp::at(stamp(&infra));
    if stamp.matches(&inputs(&infra)?)? {
        progress.already_done(STEP);
        return Ok(());
    }
    let step = progress.start(STEP);
    stamp.clear()?;
    let is_locked = infra.join(LOCK_FILE).is_file();
    let npm = || {
        let mut npm = Command::new("npm");
        npm.arg(if is_locked { "ci" } else { "install" })
            .args(["--no-audit", "--no-fund"])
            .current_dir(&infra);
        npm
    };
    // npm repeats a request only after some failures of the registry. The second attempt decides.
    if tool::run(&step, &mut npm()).await.is_err() {
        tool::run(&step, &mut npm()).await?;
    }
    // npm has written the lock file if there was none.
    stamp.set(&inputs(&infra)?)?;
    step.done();
    Ok(())
}

/// The hash of the files that determine the packages to install.
fn inputs(infra: &Path) -> Result<String> {
    let manifest = infra.join("package.json");
    let lock_file = infra.join(LOCK_FILE);
    let mut inputs = Inputs::default().file(&manifest)?;
    if lock_file.is_file() {
        inputs = inputs.file(&lock_file)?;
    }
    for archive in read(&manifest)?.archives() {
        inputs = inputs.file(&infra.join(archive))?;
    }
    Ok(inputs.hash())
}

fn read(manifest: &Path) -> Result<Package> {
    let content = std::fs::read(manifest);
    let content = content.with_context(|| format!("could not read {}", manifest.display()))?;
    serde_json::from_slice(&content)
        .with_context(|| format!("{} is not a package.json", manifest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_on_this_machine_is_found_among_the_dependencies() {
        let package = r#"{
            "dependencies": {"a": "1.2.3", "b": "file:../b.tgz", "c": "file:../c"},
            "devDependencies": {"d": "file:d.tgz"}
        }"#;
        let package: Package = serde_json::from_str(package).expect("a package");
        let archives: Vec<&str> = package.archives().collect();
        assert_eq!(archives, ["../b.tgz", "d.tgz"]);
        let none: Package = serde_json::from_str("{}").expect("a package");
        assert_eq!(none.archives().count(), 0);
    }
}
