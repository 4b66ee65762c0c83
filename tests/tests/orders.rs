//! Tests `examples/orders/` as a repository of its own: copies it out of this one, builds it with the packed
//! crates and constructs, and runs its tests, which deploy it to a local stack.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use millrace_local_stack::Workspace;
use millrace_local_stack::progress::Progress;
use millrace_local_stack::setup::node;

/// The files that aren't copied: cargo, npm and the local stack write them, or they belong to this checkout.
const MADE: [&str; 5] = [
    ".cargo",
    ".millrace",
    "node_modules",
    "package-lock.json",
    "target",
];

fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("the tests are in the workspace")?.to_owned())
}

/// Runs a program that must succeed, and returns its output. The error contains the output.
fn run(command: &mut Command) -> Result<String> {
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

/// Makes `copy` contain the files of `original`. Unchanged files aren't written, so that cargo doesn't compile
/// them again.
fn copy_files(original: &Path, copy: &Path) -> Result<()> {
    let (mut wanted, mut present) = (BTreeSet::new(), BTreeSet::new());
    files(original, Path::new(""), &mut wanted)?;
    files(copy, Path::new(""), &mut present)?;
    for file in present.difference(&wanted) {
        fs::remove_file(copy.join(file))?;
    }
    for file in &wanted {
        write(&copy.join(file), &fs::read(original.join(file))?)?;
    }
    Ok(())
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    if fs::read(file).is_ok_and(|present| present == content) {
        return Ok(());
    }
    fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
    fs::write(file, content).with_context(|| format!("could not write {}", file.display()))
}

/// A folder outside this repository, locked against concurrent runs of this test.
struct Outside {
    folder: PathBuf,
    _lock: File,
}

impl Outside {
    /// Locks the folder that belongs to this checkout. It isn't removed, so that the next run compiles less.
    fn take(root: &Path) -> Result<Self> {
        let mut hash = DefaultHasher::new();
        root.hash(&mut hash);
        let name = format!("millrace-orders-{:016x}", hash.finish());
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

#[tokio::test]
async fn orders_pass_their_tests_with_the_packed_crates_and_constructs() -> Result<()> {
    let root = root()?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |it| root.join(it));
    let packed = target.join("packed");
    node::set_up(&Workspace::at(&root), &Progress::Silent).await?;
    run(Command::new("bash")
        .arg(".ci/pack")
        .arg(&packed)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&root))?;

    let outside = Outside::take(&root)?;
    let example = root.join("examples/orders");
    copy_files(&example, &outside.folder)?;
    let patch = fs::read(packed.join("config.toml"))?;
    write(&outside.folder.join(".cargo/config.toml"), &patch)?;
    use_constructs(&outside.folder, &packed)?;
    node::set_up(&Workspace::at(&outside.folder), &Progress::Silent).await?;
    let infra = outside.folder.join("infra");
    run(Command::new("npm")
        .args(["run", "check"])
        .current_dir(infra))?;
    let shown = run(Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--offline", "--locked"])
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&outside.folder))?;
    for test in [
        "orders_pass_through_every_function_and_every_command ... ok",
        "every_function_processes_the_completion_of_an_order ... ok",
        "every_property_holds_under_every_fault",
    ] {
        ensure!(shown.contains(test), "no {test} in\n{shown}");
    }
    Ok(())
}

/// Makes the CDK app depend on the packed constructs.
fn use_constructs(folder: &Path, packed: &Path) -> Result<()> {
    let manifest = folder.join("infra/package.json");
    let text = fs::read_to_string(&manifest)?;
    let (before, rest) = text
        .split_once("file:../../../target/packed/")
        .context("the CDK app depends on the constructs of this checkout")?;
    let text = format!("{before}file:{}/{rest}", packed.display());
    write(&manifest, text.as_bytes())
}

/// With other packages, the example would be built with versions that this repository's tests don't use.
#[test]
fn the_example_locks_the_same_packages() -> Result<()> {
    let root = root()?;
    let packages = |lock: &Path| -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(lock)?;
        let packages = text.split("[[package]]\n").skip(1);
        Ok(packages
            .map(|package| package.lines().take(2).collect::<Vec<_>>().join(" "))
            .filter(|package| !package.contains("\"orders-"))
            .collect())
    };
    let ours = packages(&root.join("Cargo.lock"))?;
    let example = packages(&root.join("examples/orders/Cargo.lock"))?;
    let others: Vec<_> = example.difference(&ours).collect();
    ensure!(others.is_empty(), "only in the example: {others:?}");
    ensure!(example.len() > 100, "{example:?}");
    Ok(())
}
