//! The process of a function: its release binary with the environment of a Lambda function.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// The process's clock ticks per second: Linux reports CPU times in 1/100 s to programs
/// ([proc(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), `USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// The environment variables of all functions.
const ENVIRONMENT: [(&str, &str); 25] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_LAMBDA_FUNCTION_NAME", "function"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "log"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "log"),
    ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
    ("EVENTS_TABLE", "Events"),
    ("IDEMPOTENCY_TABLE", "Idempotency"),
    ("CURSOR_TABLE", "Cursors"),
    ("STREAM_NAME", "DomainStream"),
    ("VIEW_TABLE", "Views"),
    ("HISTORY_TABLE", "History"),
    ("DELIVERY_STREAM", "Lake"),
    ("DEFAULT_CURRENCY", "EUR"),
    ("RECONCILER_TABLE", "Reconciler"),
    ("FAILURE_BUCKET", "failures"),
    (
        "EVENTS_STREAM_ARN",
        "arn:aws:dynamodb:eu-west-1:1:table/Events/stream/2026",
    ),
    (
        "STREAM_ARN",
        "arn:aws:kinesis:eu-west-1:1:stream/DomainStream",
    ),
    ("TRANSLATOR_FUNCTION", "translator"),
    ("PROJECTOR_FUNCTION", "projector"),
    ("ARCHIVER_FUNCTION", "archiver"),
    ("RUST_BACKTRACE", "0"),
];

/// Builds the functions in release mode, and returns the folder of their binaries.
///
/// # Errors
/// If the build fails.
pub async fn build(names: &[&str]) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(["build", "--release", "--package", "millrace-app"]);
    for name in names {
        build.args(["--bin", name]);
    }
    let status = build.arg("--manifest-path").arg(&manifest).status().await?;
    ensure!(status.success(), "the functions could not be built");
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .await?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let target = metadata["target_directory"].as_str().context("a folder")?;
    Ok(Path::new(target).join("release"))
}

/// A running function. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Function {
    process: Child,
    /// When the process was started.
    pub started: Instant,
}

impl Function {
    /// Starts a binary with the mocks at `runtime_api` and `services`. If there is a file of `roots`, the services
    /// are reached with TLS.
    ///
    /// # Errors
    /// If the binary can't be started.
    pub fn start(
        binary: &Path,
        runtime_api: SocketAddr,
        services: SocketAddr,
        roots: Option<&Path>,
    ) -> Result<Self> {
        let scheme = if roots.is_some() { "https" } else { "http" };
        let started = Instant::now();
        let process = Command::new(binary)
            .env_clear()
            .envs(ENVIRONMENT)
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string())
            .env("AWS_ENDPOINT_URL", format!("{scheme}://{services}"))
            .envs(roots.map(|roots| ("SSL_CERT_FILE", roots)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", binary.display()))?;
        Ok(Self { process, started })
    }

    fn file(&self, name: &str) -> Result<String> {
        let id = self.process.id().context("the function has ended")?;
        let path = format!("/proc/{id}/{name}");
        std::fs::read_to_string(&path).with_context(|| format!("{path} (this needs Linux)"))
    }

    /// The CPU time of the process so far, in user and kernel mode. The resolution is 10 ms.
    ///
    /// # Errors
    /// If the process has ended, or the system isn't Linux.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.file("stat")?;
        // The second field, the program's name, is in parentheses and may contain spaces.
        let (_, fields) = stat.rsplit_once(')').context("the program's name")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || {
            fields
                .next()
                .context("a CPU time")?
                .parse::<u64>()
                .context("ticks")
        };
        Ok(Duration::from_millis(
            (ticks()? + ticks()?) * 1000 / TICKS_PER_SECOND,
        ))
    }

    /// The highest resident memory of the process so far, in KiB.
    ///
    /// # Errors
    /// If the process has ended, or the system isn't Linux.
    pub fn peak_memory(&self) -> Result<u32> {
        let status = self.file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.context("VmHWM")?.parse().context("a number of KiB")
    }
}
