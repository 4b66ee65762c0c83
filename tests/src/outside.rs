//! Folders outside of this repository, for tests of what other repositories build from the packed crates and packages.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The files that aren't copied: cargo, npm, the CDK and the local stack write them, or they belong to this checkout.
const MADE: [&str; 9] = [
    ".cargo",
    ".millrace",
    "cdk.out",
    "node_modules",
    "package-lock.json",
    "target",
    "dist",
    "build",
    "__pycache__",
];

/// This repository.
///
/// # Errors
/// Never: the tests are in the workspace.
pub fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("the tests are in the workspace")?.to_owned())
}

/// Runs a program that must succeed, and returns its output. The error contains the output.
///
/// # Errors
/// If it can't be started or fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    let shown = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let status = output.status;
    ensure!(status.success(), "{command:?} failed ({status}):\n{shown}");
    Ok(shown)
}

/// Adds the paths of the files below `folder` to `found`, relative to `folder`, without those in [`MADE`].
fn files(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files(folder, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Makes `copy` contain the files of `original`. Other files are removed, with the folders that they leave empty.
/// Unchanged files aren't written, so that cargo doesn't compile them again.
///
/// # Errors
/// If a file can't be read or written.
pub fn copy_files(original: &Path, copy: &Path) -> Result<()> {
    let (mut wanted, mut present) = (BTreeSet::new(), BTreeSet::new());
    fs::create_dir_all(copy)?;
    files(original, Path::new(""), &mut wanted)?;
    files(copy, Path::new(""), &mut present)?;
    for file in present.difference(&wanted) {
        fs::remove_file(copy.join(file))?;
        let folders = file.ancestors().skip(1);
        for folder in folders.filter(|folder| !folder.as_os_str().is_empty()) {
            match fs::remove_dir(copy.join(folder)) {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => break,
                removed => removed?,
            }
        }
    }
    for file in &wanted {
        write(&copy.join(file), &fs::read(original.join(file))?)?;
    }
    Ok(())
}

/// Writes a file, unless it has this content.
///
/// # Errors
/// If it can't be written.
pub fn write(file: &Path, content: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
    fs::write(file, content).with_context(|| format!("could not write {}", file.display()))
}

/// A folder outside this repository, locked against concurrent runs of the same test.
#[derive(Debug)]
pub struct Outside {
    /// The folder.
    pub folder: PathBuf,
    _lock: File,
}

impl Outside {
    /// Locks the folder that belongs to this checkout and has this name. It isn't removed, so that the next run
    /// compiles less.
    ///
    /// # Errors
    /// If the folder can't be created.
    pub fn take(root: &Path, name: &str) -> Result<Self> {
        let mut hash = DefaultHasher::new();
        root.hash(&mut hash);
        let name = format!("millrace-{name}-{:016x}", hash.finish());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.with_extension("lock"))?;
        lock.lock()?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }
}

/// Packs the crates, the constructs and the packages of this repository, and returns the folder that contains them.
///
/// # Errors
/// If a package can't be packed.
pub fn pack(root: &Path, target: &Path) -> Result<PathBuf> {
    let packed = target.join("packed");
    fs::create_dir_all(&packed)?;
    // Two tests pack, maybe at the same time.
    let lock = File::create(packed.join("lock"))?;
    lock.lock()?;
    run(Command::new("bash")
        .arg(".ci/pack")
        .arg(&packed)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root))?;
    Ok(packed)
}

/// The folder into which cargo builds.
#[must_use]
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |it| root.join(it))
}

/// Replaces the folder of this checkout's packed packages in the `package.json` of a copy.
///
/// # Errors
/// If the file doesn't depend on a packed package.
pub fn use_packed(manifest: &Path, packed: &Path) -> Result<()> {
    const PACKED: &str = "file:../../target/packed/";
    let text = fs::read_to_string(manifest)?;
    // The manifest is in a folder of another depth.
    let text = text.replace("file:../../../target/packed/", PACKED);
    ensure!(
        text.contains(PACKED),
        "{} depends on no packed package",
        manifest.display()
    );
    let text = text.replace(PACKED, &format!("file:{}/", packed.display()));
    write(manifest, text.as_bytes())
}

/// The packages of a lock file, with their versions.
///
/// # Errors
/// If it can't be read.
pub fn locked(lock: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(lock)?;
    let packages = text.split("[[package]]\n").skip(1);
    Ok(packages
        .map(|package| package.lines().take(2).collect::<Vec<_>>().join(" "))
        .collect())
}

/// Installs the npm packages of a lock file, unless they are installed.
///
/// # Errors
/// If a package can't be installed.
pub fn install_locked(folder: &Path) -> Result<()> {
    let installed = folder.join("node_modules/.package-lock.json");
    let is_newer = |file: &str| -> Result<bool> {
        let changed = fs::metadata(folder.join(file))?.modified()?;
        Ok(fs::metadata(&installed)?.modified()? >= changed)
    };
    if installed.exists() && is_newer("package-lock.json")? {
        return Ok(());
    }
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_files_of_the_original_and_what_tools_made() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
        for (file, content) in [
            ("original/kept/a", "new"),
            ("original/kept/target/b", "made by another checkout"),
            ("copy/kept/a", "old"),
            ("copy/kept/old/deep/c", "removed with its folders"),
            ("copy/cdk.out/asset.1/d", "the content of an asset"),
        ] {
            write(&folder.path().join(file), content.as_bytes())?;
        }
        copy_files(&original, &copy)?;
        let mut found = BTreeSet::new();
        files(&copy, Path::new(""), &mut found)?;
        assert_eq!(found, BTreeSet::from([Path::new("kept/a").to_owned()]));
        assert_eq!(fs::read(copy.join("kept/a"))?, b"new");
        assert!(!copy.join("kept/old").exists());
        // The CDK takes the folder of an asset for complete if it exists.
        assert!(copy.join("cdk.out/asset.1/d").exists());
        Ok(())
    }
}
