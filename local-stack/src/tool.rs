//! Runs the tools of the set-up: cargo, npm, pip, cdk.
//!
//! While a tool runs, the last line of its output is shown. If it fails, the error contains the last lines of
//! its output. If the wait for a tool is cancelled, because of Ctrl-C or because another step failed, the
//! tool and all processes that it started are stopped.

use std::collections::VecDeque;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::progress::Step;

/// The number of last lines of each output stream that the error of a failed tool contains.
const REPORTED_LINES: usize = 400;

/// Runs a tool and waits for its end.
pub(crate) async fn run(step: &Step, command: &mut Command) -> Result<()> {
    let mut child = Child::spawn(command)?;
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    let (out, err) = tokio::try_join!(last_lines(step, stdout), last_lines(step, stderr))?;
    child.end(command, || format!("{out}{err}")).await
}

/// Runs a tool, waits for its end and returns what it wrote to stdout.
pub(crate) async fn output(step: &Step, command: &mut Command) -> Result<String> {
    let mut child = Child::spawn(command)?;
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    let (out, err) = tokio::try_join!(all(stdout), last_lines(step, stderr))?;
    child.end(command, || err).await?;
    Ok(out)
}

struct Child(tokio::process::Child);

impl Child {
    fn spawn(command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own, so that a signal reaches all processes that it starts.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("could not start {}", name(command)))?;
        Ok(Self(child))
    }

    async fn end(&mut self, command: &Command, printed: impl FnOnce() -> String) -> Result<()> {
        let status = self.0.wait().await?;
        if !status.success() {
            bail!(
                "{} failed ({status}):\n{}",
                name(command),
                printed().trim_end()
            );
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that has ended and was waited for has no id.
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // This fails if all processes of the group have just ended.
            kill_process_group(group, Signal::TERM).ok();
        }
    }
}

fn name(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut text).await?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn last_lines(step: &Step, stream: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut last_lines = VecDeque::new();
    if let Some(stream) = stream {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await? > 0 {
            let text = String::from_utf8_lossy(&line);
            // A progress bar overwrites itself. Only the text after the last carriage return stays visible.
            let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
            step.detail(text);
            if last_lines.len() == REPORTED_LINES {
                last_lines.pop_front();
            }
            last_lines.push_back(format!("{text}\n"));
            line.clear();
        }
    }
    Ok(Vec::from(last_lines).concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn returns_what_was_printed_on_stdout() {
        let step = Progress::Silent.start("a test");
        let printed = output(&step, &mut shell("echo one; echo two >&2")).await;
        assert_eq!(printed.expect("it works"), "one\n");
    }

    #[tokio::test]
    async fn a_failure_names_the_command_and_its_output() {
        let step = Progress::Silent.start("a test");
        let script = "echo out; echo err >&2; exit 3";
        let error = run(&step, &mut shell(script)).await.expect_err("it fails");
        let error = error.to_string();
        for part in [script, "exit status: 3", "out\n", "err"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn the_error_names_a_missing_tool() {
        let step = Progress::Silent.start("a test");
        let error = run(&step, &mut Command::new("no-such-tool")).await;
        assert!(
            error
                .expect_err("missing")
                .to_string()
                .contains("no-such-tool")
        );
    }
}
