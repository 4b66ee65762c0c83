//! Builds the Lambda functions for this machine, in the layout that the CDK app reads: one folder per
//! function, which contains its `bootstrap`.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::process::Command;

use crate::progress::{Progress, Step};
use crate::stamp::{Inputs, Stamp};
use crate::{Workspace, names, tool};

/// The packages that cargo selects. The features of the dependencies depend on the selection: with the same
/// selection as in the last build, cargo recompiles nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// The package whose binaries are the functions, the same selection as that of `cargo run`.
    Application(&'static str),
    /// All packages, the same selection as that of `cargo test --workspace`.
    Workspace,
}

/// Builds the functions, copies them into `folder`, and returns a hash that changes when a function changes.
pub(crate) async fn build(
    workspace: &Workspace,
    packages: Packages,
    folder: &Path,
    progress: &Progress,
) -> Result<String> {
    let step = progress.start("Lambda functions");
    let functions = names::functions();
    let built = compile(workspace, packages, &functions, &step).await?;
    let mut all = Inputs::default();
    for name in &functions {
        let executable = built
            .iter()
            .find(|built| built.name == *name)
            .with_context(|| format!("cargo built no binary called {name}"))?;
        step.detail(name);
        let hash = write_bootstrap(&executable.path, &folder.join(name), &step).await?;
        all = all.value(hash);
    }
    step.done();
    Ok(all.hash())
}

async fn compile(
    workspace: &Workspace,
    packages: Packages,
    functions: &[String],
    step: &Step,
) -> Result<Vec<Built>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace.root())
        .args(["build", "--message-format", "json-render-diagnostics"])
        // Without a terminal, cargo shows no progress bar. The step shows its text.
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "72")
        .env("CARGO_TERM_COLOR", "never");
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    match packages {
        Packages::Application(package) => cargo.args(["--package", package]),
        Packages::Workspace => cargo.arg("--workspace"),
    };
    cargo.args(functions.iter().flat_map(|name| ["--bin", name]));
    Ok(executables(&tool::output(step, &mut cargo).await?))
}

struct Built {
    name: String,
    path: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The executables among cargo's messages, a JSON object per line.
fn executables(messages: &str) -> Vec<Built> {
    messages
        .lines()
        .filter_map(|line| {
            let message: Message = serde_json::from_str(line).ok()?;
            let name = message.target?.name;
            message.executable.map(|path| Built { name, path })
        })
        .collect()
}

/// Writes the stripped executable to `<folder>/bootstrap`, unless an earlier run has written it. The CDK
/// identifies an asset by its bytes, and uploads a changed asset again. Returns a hash of the executable's path,
/// size and modification time. The content isn't read, because debug builds are large.
async fn write_bootstrap(executable: &Path, folder: &Path, step: &Step) -> Result<String> {
    let found = std::fs::metadata(executable)
        .with_context(|| format!("could not find {}", executable.display()))?;
    let modified = found.modified()?.duration_since(UNIX_EPOCH)?;
    let inputs = Inputs::default()
        .value(executable.as_os_str().as_encoded_bytes())
        .value(found.len().to_be_bytes())
        .value(modified.as_nanos().to_be_bytes())
        .hash();
    // Next to the folder, because every file in the folder is part of the asset.
    let stamp = Stamp::at(folder.with_extension("stamp"));
    let bootstrap = folder.join("bootstrap");
    if stamp.matches(&inputs)? && bootstrap.exists() {
        return Ok(inputs);
    }
    stamp.clear()?;
    let copy = || -> std::io::Result<tempfile::TempPath> {
        std::fs::create_dir_all(folder)?;
        // Also next to the folder, because a rename needs the same file system.
        let parent = folder.parent().unwrap_or(folder);
        let copy = tempfile::NamedTempFile::new_in(parent)?.into_temp_path();
        std::fs::copy(executable, &copy)?;
        Ok(copy)
    };
    let copy = copy().with_context(|| format!("could not copy {}", executable.display()))?;
    // Symbols are most of a debug build's size, and every byte is zipped and uploaded. A failure of `strip`
    // is ignored, because the function works with symbols too.
    drop(tool::run(step, Command::new("strip").arg(&*copy)).await);
    copy.persist(&bootstrap)
        .with_context(|| format!("could not write {}", bootstrap.display()))?;
    stamp.set(&inputs)?;
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    #[test]
    fn executables_are_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"writer"},"executable":"/t/debug/writer","fresh":true}
not json
{"reason":"build-finished","success":true}"#;
        let found = executables(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "writer");
        assert_eq!(found[0].path, Path::new("/t/debug/writer"));
    }

    #[tokio::test]
    async fn an_executable_is_copied_again_only_if_it_changed() {
        let place = tempfile::tempdir().expect("a folder");
        let executable = place.path().join("writer");
        let folder = place.path().join("lambda/writer");
        let bootstrap = folder.join("bootstrap");
        let step = Progress::Silent.start("a test");
        let read = || std::fs::read_to_string(&bootstrap).expect("copied");

        files::write_atomically(&executable, b"one").expect("written");
        write_bootstrap(&executable, &folder, &step)
            .await
            .expect("copied");
        assert_eq!(read(), "one");

        files::write_atomically(&bootstrap, b"kept").expect("written");
        write_bootstrap(&executable, &folder, &step)
            .await
            .expect("copied");
        assert_eq!(read(), "kept");

        files::write_atomically(&executable, b"three").expect("written");
        write_bootstrap(&executable, &folder, &step)
            .await
            .expect("copied");
        assert_eq!(read(), "three");
        let files: Vec<_> = std::fs::read_dir(&folder).expect("there").collect();
        assert_eq!(files.len(), 1);
    }
}
