//! Starts and stops the emulator's process: `MiniStack`, which listens on the loopback interface only.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::addresses::{self, REGION};
use super::process;
use super::record::Record;
use crate::files;
use crate::progress::{Progress, Step};

/// The time within which the emulator must respond. It needs 0.3 s on an idle machine; up to 5 s were measured on a
/// busy one.
const START_DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// The most free ports that are tried, because another process may take a port before the emulator opens it.
const ATTEMPTS: usize = 5;
const REPORTED_LOG_LINES: usize = 20;
/// The access key id and the secret access key for the emulator. It accepts any; this is its default.
pub const CREDENTIAL: &str = "test";

/// The script that runs the emulator.
const LAUNCHER: &str = "emulator.py";

/// The launcher, and the module that it imports. Python looks for modules in the launcher's folder.
const SCRIPTS: [(&str, &str); 2] = [
    (LAUNCHER, include_str!("../../python/emulator.py")),
    ("catalogue.py", include_str!("../../python/catalogue.py")),
];

/// Determines when the emulator ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It ends when the process that started it ends, even if that process is killed.
    Starter,
    /// It runs until it is stopped.
    Own,
}

/// The settings of an emulator.
pub(super) struct Settings {
    /// The folder of the Python environment's programs.
    pub(super) programs: PathBuf,
    /// The folder of its files.
    pub(super) state: PathBuf,
    /// Its port; `None` for any free port.
    pub(super) port: Option<u16>,
    /// Whether it outlives this process.
    pub(super) lifetime: Lifetime,
}

/// How the emulator ended, if this process didn't stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was stopped: it received SIGTERM or exited with 0.
    Stopped,
    /// It failed, with this status.
    Failed(ExitStatus),
}

/// A running emulator. It is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Emulator {
    /// `None` once it is stopped or detached.
    child: Option<Child>,
    state: PathBuf,
    endpoint_url: String,
}

impl Emulator {
    /// Starts the emulator, and waits until it responds.
    pub(super) async fn start(settings: &Settings, progress: &Progress) -> Result<Self> {
        let step = progress.start("Emulator");
        if let Some(port) = settings.port
            && is_taken(port)?
        {
            bail!(
                "port {port} on 127.0.0.1 is in use; choose another one with --port, or omit --port"
            );
        }
        for _ in 0..ATTEMPTS {
            let port = settings.port.map_or_else(free_port, Ok)?;
            if let Some(emulator) = Self::attempt(settings, port, &step).await? {
                step.done();
                return Ok(emulator);
            }
        }
        bail!("other processes took each free port before the emulator could open it")
    }

    /// Starts the emulator on `port`; `None` if another process has taken the port.
    async fn attempt(settings: &Settings, port: u16, step: &Step) -> Result<Option<Self>> {
        let endpoint_url = format!("http://127.0.0.1:{port}");
        step.detail(&endpoint_url);
        let instance = format!("millrace-{}", uuid::Uuid::new_v4());
        let child = spawn(settings, &endpoint_url, port, &instance)?;
        let record = Record {
            pid: child.id().cast_signed(),
            instance,
            endpoint_url,
        };
        let mut emulator = Self {
            child: Some(child),
            state: settings.state.clone(),
            endpoint_url: record.endpoint_url.clone(),
        };
        record.write(&settings.state)?;

        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_DEADLINE)
            .build()?;
        let deadline = Instant::now() + START_DEADLINE;
        while !answers(&client, &record).await {
            if let Some(status) = emulator.exit_status()? {
                if is_taken(port)? && settings.port.is_none() {
                    return Ok(None);
                }
                let log = log_tail(&settings.state);
                bail!("the emulator ended while it started ({status}):\n{log}");
            }
            if Instant::now() > deadline {
                let log = log_tail(&settings.state);
                let seconds = START_DEADLINE.as_secs();
                bail!("the emulator did not respond within {seconds} s:\n{log}");
            }
            sleep(POLL).await;
        }
        Ok(Some(emulator))
    }

    pub(super) fn endpoint_url(&self) -> &str {
        &self.endpoint_url
    }

    /// Waits until the emulator ends, without stopping it.
    pub(super) async fn ended(&mut self) -> Result<Ending> {
        loop {
            if let Some(status) = self.exit_status()? {
                let asked = status.signal() == Some(Signal::TERM.as_raw());
                return Ok(if asked || status.success() {
                    Ending::Stopped
                } else {
                    Ending::Failed(status)
                });
            }
            sleep(POLL).await;
        }
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().context("the emulator was stopped")?;
        child
            .try_wait()
            .context("could not read the exit status of the emulator")
    }

    /// Leaves the emulator running.
    pub(super) fn detach(mut self) {
        self.child = None;
    }

    /// Stops the emulator, waits for its end and removes its files.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let removed = addresses::remove(&self.state);
        process::stop(&mut child);
        removed.and(Record::remove(&self.state))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // An error is ignored: the next start recognises and removes the files that are left.
        drop(self.stop());
    }
}

fn spawn(settings: &Settings, endpoint_url: &str, port: u16, instance: &str) -> Result<Child> {
    let state = &settings.state;
    let temporary = state.join("tmp");
    files::remove_if_there(&temporary)?;
    std::fs::create_dir_all(&temporary)?;
    let log = File::create(log_path(state)).context("could not open the emulator's log")?;

    for (name, script) in SCRIPTS {
        files::write_atomically(&state.join(name), script.as_bytes())?;
    }
    let mut command = Command::new(settings.programs.join("python"));
    command.arg(state.join(LAUNCHER)).arg(instance);
    match settings.lifetime {
        Lifetime::Starter => command.arg("--watch").stdin(Stdio::piped()),
        Lifetime::Own => command.stdin(Stdio::null()),
    };
    command
        .current_dir(&temporary)
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        // The functions inherit the environment of the emulator, so it must not contain this process's
        // variables.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", state)
        .env("TMPDIR", &temporary)
        .env("PYTHONUTF8", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", Ipv4Addr::LOCALHOST.to_string())
        // The emulator passes these on to the functions.
        .env("AWS_ENDPOINT_URL", endpoint_url)
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
        .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
        .env("S3_DATA_DIR", temporary.join("s3"))
        .env("STATE_DIR", temporary.join("state"))
        // The health endpoint returns this version, which distinguishes this instance from another emulator on
        // the port.
        .env("MINISTACK_VERSION", instance)
        // Both servers would listen on all interfaces.
        .env("SFTP_ENABLED", "0")
        .env("IOT_MTLS_ENABLED", "0");
    command.spawn().context("could not start the emulator")
}

#[derive(Deserialize)]
struct Health {
    version: String,
}

async fn answers(client: &reqwest::Client, record: &Record) -> bool {
    let health = async {
        let url = format!("{}/_ministack/health", record.endpoint_url);
        client.get(url).send().await?.json::<Health>().await
    };
    health
        .await
        .is_ok_and(|health| health.version == record.instance)
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on 127.0.0.1 is free")?;
    Ok(listener.local_addr()?.port())
}

fn is_taken(port: u16) -> Result<bool> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(true),
        Err(error) => {
            Err(error).with_context(|| format!("could not open port {port} on 127.0.0.1"))
        }
    }
}

fn log_path(state: &Path) -> PathBuf {
    state.join("ministack.log")
}

/// The last lines of the log, and the path of the file.
fn log_tail(state: &Path) -> String {
    let path = log_path(state);
    let log = std::fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(REPORTED_LOG_LINES)..];
    format!("{}\n(from {})", tail.join("\n"), path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_while_a_process_listens_on_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        assert!(is_taken(port).expect("known"));
    }

    #[test]
    fn reports_the_last_lines_of_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log: Vec<_> = (1..=50).map(|n| format!("line {n}\n")).collect();
        files::write_atomically(&log_path(folder.path()), log.concat().as_bytes())
            .expect("written");
        let tail = log_tail(folder.path());
        assert!(
            tail.starts_with("line 31\n") && tail.contains("line 50\n"),
            "{tail}"
        );
    }
}
