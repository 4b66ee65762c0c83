//! Installs the CDK app's npm packages: those of its lock file, or, without one, those that its
//! `package.json` requires. A package that is an archive on this machine is taken as it is now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::lock::Lock;
use crate::progress::Progress;
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, files, tool};

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
        all.map(String::as_str).filter_map(archive)
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
    let lock_file = infra.join(LOCK_FILE);
    let has_archives = read(&infra.join("package.json"))?
        .archives()
        .next()
        .is_some();
    if has_archives {
        // npm would keep the installed package of an archive that has changed under the same version.
        files::remove_if_there(&infra.join("node_modules"))?;
        if let Some(lock) = files::read_if_there(&lock_file)? {
            let lock = without_archives(&lock)
                .with_context(|| format!("could not read {}", lock_file.display()))?;
            files::write_atomically(&lock_file, &lock)?;
        }
    }
    let command = if lock_file.is_file() && !has_archives {
        "ci"
    } else {
        "install"
    };
    let npm = || {
        let mut npm = Command::new("npm");
        npm.arg(command)
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

/// A lock file without its archives on this machine, whose hashes may have changed. npm adds them again with their
/// dependencies, and keeps the versions of all other packages.
fn without_archives(lock: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut lock: Value = serde_json::from_slice(lock)?;
    if let Some(packages) = lock.get_mut("packages").and_then(Value::as_object_mut) {
        packages.retain(|_, package| {
            let resolved = package.get("resolved").and_then(Value::as_str);
            resolved.is_none_or(|resolved| archive(resolved).is_none())
        });
    }
    serde_json::to_vec_pretty(&lock)
}

/// The path of an archive on this machine.
fn archive(source: &str) -> Option<&str> {
    let path = source.strip_prefix("file:")?;
    let is_archive = Path::new(path).extension().is_some_and(|it| it == "tgz");
    is_archive.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_loses_the_archives_on_this_machine() {
        let lock = r#"{"lockfileVersion": 3, "packages": {
            "": {"dependencies": {"a": "1.2.3", "b": "file:../b.tgz"}},
            "node_modules/a": {"version": "1.2.3", "resolved": "https://registry.npmjs.org/a/-/a-1.2.3.tgz"},
            "node_modules/b": {"version": "0.1.0", "resolved": "file:../b.tgz", "integrity": "sha512-old"}
        }}"#;
        let left = without_archives(lock.as_bytes()).expect("a lock file");
        let left: Value = serde_json::from_slice(&left).expect("JSON");
        let packages = left["packages"].as_object().expect("packages");
        assert!(packages.keys().eq(["", "node_modules/a"]), "{left}");
        assert_eq!(left["lockfileVersion"], 3);
        without_archives(b"{").expect_err("no JSON");
    }

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

    #[tokio::test]
    async fn an_archive_that_has_changed_under_its_version_is_installed_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path());
        let (infra, library) = (workspace.infra(), folder.path().join("library"));
        for folder in [&infra, &library] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let write = |file: PathBuf, content: &str| std::fs::write(file, content).expect("written");
        let package = r#"{"name": "library", "version": "0.1.0"}"#;
        write(library.join("package.json"), package);
        let package = r#"{"dependencies": {"library": "file:../library-0.1.0.tgz"}}"#;
        write(infra.join("package.json"), package);
        for content in ["first", "second"] {
            write(library.join("index.js"), content);
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", "./library"])
                .current_dir(folder.path());
            let packed = npm.output().await.expect("npm");
            assert!(packed.status.success(), "{packed:?}");
            set_up(&workspace, &Progress::Silent)
                .await
                .expect("installed");
            let installed = std::fs::read_to_string(infra.join("node_modules/library/index.js"));
            assert_eq!(installed.expect("a file"), content);
        }
    }
}
