//! Which emulator runs in a state folder: how another process finds it, and knows it again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::process;
use crate::files;

const POLL: Duration = Duration::from_millis(50);

/// An emulator that was started, kept from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Its process id, which is its group's too.
    pub(super) pid: i32,
    /// A name that no other run has. It stands on the process's command line: process ids are given
    /// out again, names are not.
    pub(super) instance: String,
    /// Where it answers.
    pub(super) endpoint_url: String,
}

impl Record {
    /// What is recorded in the folder; `None` if nothing was started, or all was stopped.
    pub(super) fn read(state: &Path) -> Result<Option<Self>> {
        let path = path(state);
        files::read_if_there(&path)?
            .map(|content| {
                serde_json::from_slice(&content)
                    .with_context(|| format!("{} is damaged; remove it", path.display()))
            })
            .transpose()
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        files::write_atomically(&path(state), &serde_json::to_vec_pretty(self)?)
    }

    pub(super) fn remove(state: &Path) -> Result<()> {
        files::remove_if_there(&path(state))
    }

    /// Whether the very process that was recorded still runs.
    pub(super) fn is_running(&self) -> bool {
        process::command_line(self.pid).contains(&self.instance)
    }

    /// Stops it, and returns when it is gone.
    pub(super) async fn stop(&self) {
        let Some(group) = Pid::from_raw(self.pid) else {
            return;
        };
        process::signal(group, Signal::TERM);
        let deadline = tokio::time::Instant::now() + process::GRACE;
        while self.is_running() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        // Also for the functions that it started, which may be left when it is gone.
        process::signal(group, Signal::KILL);
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("emulator.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instance: &str) -> Record {
        Record {
            pid: std::process::id().cast_signed(),
            instance: instance.to_owned(),
            endpoint_url: "http://127.0.0.1:4566".to_owned(),
        }
    }

    #[test]
    fn is_read_back_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Record::read(folder.path()).expect("readable"), None);
        let record = record("x");
        record.write(folder.path()).expect("written");
        assert_eq!(Record::read(folder.path()).expect("readable"), Some(record));
        Record::remove(folder.path()).expect("removed");
        assert_eq!(Record::read(folder.path()).expect("readable"), None);
    }

    #[test]
    fn a_damaged_record_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        files::write_atomically(&path(folder.path()), b"{").expect("written");
        let error = Record::read(folder.path()).expect_err("damaged");
        assert!(error.to_string().contains("emulator.json"), "{error}");
    }

    #[test]
    fn another_process_of_the_same_id_is_not_the_one_recorded() {
        let program = std::env::args().next().expect("a command line");
        assert!(record(&program).is_running());
        assert!(!record("millrace-of-another-time").is_running());
    }
}
