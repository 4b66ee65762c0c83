//! The local stack: the emulator with the CDK app deployed to it.

mod addresses;
mod cdk;
mod emulator;
mod first_report;
mod process;
mod record;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::Workspace;
use crate::lock::Lock;
use crate::prerequisites;
use crate::progress::Progress;
use crate::setup::python::{self, Environment};
use crate::setup::{functions, node};
use cdk::Cdk;
use emulator::{Emulator, Settings};
use record::Record;

pub use crate::setup::functions::Packages;
pub use addresses::Local;
pub use emulator::{CREDENTIAL, Ending, Lifetime};

/// How the emulator's Athena differs from AWS's.
pub const ATHENA_LIMITS: &str = "\
The local stack executes Athena's queries in DuckDB, with the tables, views and types of the catalogue.
It executes only SELECT, doesn't have every function, and doesn't limit what a query reads.
A quotient of decimals is a double, and some dates that are computed are timestamps.";

/// The setting that a consumer in JavaScript needs to read the local stream.
pub const NODE_LIMITS: &str = "\
The AWS SDK for JavaScript reads Kinesis over HTTP/2, where the emulator truncates responses above
64 KiB: construct the client with `requestHandler: new NodeHttpHandler()` of @smithy/node-http-handler.";

/// The options of a stack.
#[derive(Debug, Clone)]
pub struct Options {
    /// The repository that it is built from.
    pub workspace: Workspace,
    /// The folder of its files. Stacks with different folders can run at the same time.
    pub state: PathBuf,
    /// The emulator's port on 127.0.0.1; `None` for any free port.
    pub port: Option<u16>,
    /// The packages that cargo selects when it builds the functions.
    pub packages: Packages,
    /// How progress is shown.
    pub progress: Progress,
}

impl Options {
    /// The options of a stack with all functions of the workspace, on a free port, which shows its
    /// progress on the standard error output.
    #[must_use]
    pub fn new(workspace: Workspace, state: PathBuf) -> Self {
        Self {
            workspace,
            state,
            port: None,
            packages: Packages::Workspace,
            progress: Progress::on_stderr(),
        }
    }
}

/// A running stack.
///
/// It is stopped when it is dropped. With [`Lifetime::Starter`] it is also stopped when this process is
/// killed.
#[derive(Debug)]
pub struct LocalStack {
    local: Local,
    // Dropped before the lock, so that no other stack starts in this folder until the emulator has ended.
    emulator: Emulator,
    _lock: Lock,
}

impl LocalStack {
    /// Runs the missing steps of the set-up, starts the emulator and deploys the CDK app to it. The stack
    /// ends with this process.
    ///
    /// # Errors
    /// If a prerequisite is missing, a stack of this folder runs already, or a step fails.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_for(Lifetime::Starter, options).await
    }

    /// Starts a stack as [`start`](Self::start) does, with the given lifetime.
    ///
    /// # Errors
    /// The same as those of [`start`](Self::start).
    pub async fn start_for(lifetime: Lifetime, options: Options) -> Result<Self> {
        let Options {
            workspace,
            state,
            port,
            packages,
            progress,
        } = options;
        let state = absolute(&state)?;
        let tools = prerequisites::check().await.into_tools()?;
        let lock = claim(&state)?;
        let artifacts = cdk::artifacts(&state);

        let start_emulator = async {
            let settings = Settings {
                programs: python::set_up_with(&tools, &workspace, Environment::Stack, &progress)
                    .await?,
                state: state.clone(),
                port,
                lifetime,
            };
            Emulator::start(&settings, &progress).await
        };
        let start_bootstrapped = async {
            let (emulator, ()) =
                tokio::try_join!(start_emulator, node::set_up(&workspace, &progress))?;
            let cdk = Cdk::new(&workspace, &state, emulator.endpoint_url());
            cdk.bootstrap(&progress).await?;
            Ok((emulator, cdk))
        };
        let ((emulator, cdk), functions) = tokio::try_join!(
            start_bootstrapped,
            functions::build(&workspace, packages, &artifacts, &progress),
        )?;
        cdk.synthesise(&functions, &progress).await?;
        let local = cdk.deploy(&progress).await?;
        first_report::make(&local, &progress).await?;
        local.write(&state)?;
        Ok(Self {
            local,
            emulator,
            _lock: lock,
        })
    }

    /// The addresses and names of the stack's parts.
    #[must_use]
    pub const fn local(&self) -> &Local {
        &self.local
    }

    /// Stops the stack, and returns when its processes have ended.
    ///
    /// # Errors
    /// If its files can't be removed.
    pub fn stop(mut self) -> Result<()> {
        self.emulator.stop()
    }

    /// Leaves the stack running. [`stop`] stops it later.
    #[must_use = "it contains the addresses of the stack"]
    pub fn detach(self) -> Local {
        self.emulator.detach();
        self.local
    }

    /// Waits until the emulator ends, without stopping it.
    ///
    /// # Errors
    /// If its exit status can't be read.
    pub async fn ended(&mut self) -> Result<Ending> {
        self.emulator.ended().await
    }
}

/// Takes the lock of the state folder. While it is held, no other stack can start in the folder.
///
/// # Errors
/// If a stack is running, starting or stopping in the folder.
fn claim(state: &Path) -> Result<Lock> {
    let lock = Lock::try_take(&state.join("stack.lock"))?;
    let running = Record::read(state)?.filter(Record::is_running);
    match (lock, running) {
        (_, Some(record)) => bail!(
            "a local stack is already running at {} (state folder {}); the command `down` stops it",
            record.endpoint_url,
            state.display()
        ),
        (None, None) => bail!(
            "another process is starting or stopping a local stack in {}",
            state.display()
        ),
        (Some(lock), None) => {
            // A process that was killed may have left these files.
            addresses::remove(state)?;
            Record::remove(state)?;
            Ok(lock)
        }
    }
}

/// Stops the stack that runs with the state folder `state`, no matter which process started it, and returns
/// its endpoint; `None` if none is running.
///
/// # Errors
/// If its files can't be read or removed.
pub async fn stop(state: &Path) -> Result<Option<String>> {
    let state = absolute(state)?;
    let Some(record) = Record::read(&state)? else {
        return Ok(None);
    };
    let running = record.is_running();
    addresses::remove(&state)?;
    if running {
        record.stop().await;
    }
    Record::remove(&state)?;
    Ok(running.then_some(record.endpoint_url))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is not a valid path", path.display()))
}
