//! The handler in JavaScript, as a process that measures itself.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;

/// The process. It ends when this value is dropped, because its input ends then.
pub(crate) struct Node {
    _process: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Node {
    /// Installs the handler's packages if they are missing, and starts the process with a batch.
    pub(crate) fn start(batch: &[u8]) -> Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
        if !directory.join("node_modules").exists() {
            install(&directory)?;
        }
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("batch.json");
        fs::write(&file, batch)?;
        let mut process = Command::new("node")
            .arg(directory.join("measure.mjs"))
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the benchmark needs Node 20 or later: `node` can't be run")?;
        let input = process.stdin.take().context("it is piped")?;
        let output = process.stdout.take().context("it is piped")?;
        Ok(Self {
            _process: process,
            pipes: RefCell::new((input, BufReader::new(output))),
        })
    }

    /// The bytes of the batch's public events.
    pub(crate) fn events(&self) -> Result<Vec<Vec<u8>>> {
        let events: Vec<String> = self.request("events")?;
        Ok(events.into_iter().map(String::into_bytes).collect())
    }

    /// The CPU time that the work takes for the batch, in nanoseconds.
    pub(crate) fn time(&self, work: &str) -> Result<f64> {
        self.request(work)
    }

    fn request<T: DeserializeOwned>(&self, request: &str) -> Result<T> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        writeln!(input, "{request}")?;
        let mut answer = String::new();
        output.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("Node doesn't answer `{request}`"))
    }
}

fn install(directory: &Path) -> Result<()> {
    eprintln!("installing the packages of {}", directory.display());
    let installed = Command::new("npm")
        .arg("ci")
        .current_dir(directory)
        .stdout(Stdio::null())
        .status()
        .context("the benchmark needs npm, which comes with Node: `npm` can't be run")?;
    ensure!(
        installed.success(),
        "`npm ci` failed in {}",
        directory.display()
    );
    Ok(())
}
