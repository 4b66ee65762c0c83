//! Running the tools that the set-up is made of: cargo, npm, pip, cdk.
//!
//! A tool's output is shown only while it runs, and in full when it fails. A tool that isn't
//! waited for to its end, because of Ctrl-C or because another step failed, is stopped together
//! with everything it started.

use std::collections::VecDeque;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use crate::progress::Step;

/// How many of a failed tool's last lines are told.
const TOLD_LINES: usize = 400;

/// Runs a tool to its end.
pub(crate) async fn run(step: &Step, command: &mut Command) -> Result<()> {
    let mut child = Child::spawn(command)?;
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    let (out, err) = tokio::try_join!(last_lines(step, stdout), last_lines(step, stderr))?;
    child.end(command, || format!("{out}{err}")).await
}

/// Runs a tool to its end and answers with what it printed on stdout.
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
            // A group of its own, so that all of it can be stopped at once.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("could not start {}", name(command)))?;
        Ok(Self(child))
    }

    async fn end(&mut self, command: &Command, told: impl FnOnce() -> String) -> Result<()> {
        let status = self.0.wait().await?;
        if !status.success() {
            bail!(
                "{} failed ({status}):\n{}",
                name(command),
                told().trim_end()
            );
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // No id: it has been waited for.
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It fails if all of them have just ended by themselves.
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
    let mut told = VecDeque::new();
    if let Some(stream) = stream {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await? > 0 {
            let text = String::from_utf8_lossy(&line);
            // A progress bar overwrites itself: what is behind the last return is what stays.
            let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
            step.detail(text);
            if told.len() == TOLD_LINES {
                told.pop_front();
            }
            told.push_back(format!("{text}\n"));
            line.clear();
        }
    }
    Ok(Vec::from(told).concat())
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
    async fn answers_with_what_was_printed() {
        let step = Progress::Silent.start("a test");
        let printed = output(&step, &mut shell("echo one; echo two >&2")).await;
        assert_eq!(printed.expect("it works"), "one\n");
    }

    #[tokio::test]
    async fn a_failure_tells_the_command_and_its_output() {
        let step = Progress::Silent.start("a test");
        let script = "echo out; echo err >&2; exit 3";
        let error = run(&step, &mut shell(script)).await.expect_err("it fails");
        let told = error.to_string();
        for part in [script, "exit status: 3", "out\n", "err"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_named() {
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
