//! `emulator.json`: the record of the emulator that runs with a state folder. With it, another process can find and
//! stop the emulator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::process;
use crate::files;

const POLL: Duration = Duration::from_millis(50);

/// The record of an emulator, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Its process id, which is also the id of its process group.
    pub(super) pid: i32,
    /// A unique id of this run, which the process's command line contains. The process id alone doesn't identify the
    /// process, because the system reuses process ids.
    pub(super) instance: String,
    /// Its URL.
    pub(super) endpoint_url: String,
}

impl Record {
    /// Reads the record in the folder; `None` if no emulator was started since the last one was stopped.
    pub(super) fn read(state: &Path) -> Result<Option<Self>> {
        let path = path(state);
        files::read_if_there(&path)?
            .map(|content| {
                serde_json::from_slice(&content)
                    .with_context(|| format!("{} can't be decoded; remove it", path.display()))
            })
            .transpose()
    }

    pub(super) fn write(&self, state: &Path) -> Result<()> {
        files::write_atomically(&path(state), &serde_json::to_vec_pretty(self)?)
    }

    pub(super) fn remove(state: &Path) -> Result<()> {
        files::remove_if_there(&path(state))
    }

    /// Whether the recorded process is still running.
    pub(super) fn is_running(&self) -> bool {
        process::command_line(self.pid).contains(&self.instance)
    }

    /// Stops the emulator, and returns when it has ended.
    pub(super) async fn stop(&self) {
        let Some(group) = Pid::from_raw(self.pid) else {
            return;
        };
        process::signal(group, Signal::TERM);
        let deadline = tokio::time::Instant::now() + process::GRACE;
        while self.is_running() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        // Sent even if the emulator has ended, because the functions that it started may still be running.
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
    fn a_record_is_read_back_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Record::read(folder.path()).expect("readable"), None);
        let record = record("x");
        record.write(folder.path()).expect("written");
        assert_eq!(Record::read(folder.path()).expect("readable"), Some(record));
        Record::remove(folder.path()).expect("removed");
        assert_eq!(Record::read(folder.path()).expect("readable"), None);
    }

    #[test]
    fn the_error_names_an_unreadable_record() {
        let folder = tempfile::tempdir().expect("a folder");
        files::write_atomically(&path(folder.path()), b"{").expect("written");
        let error = Record::read(folder.path()).expect_err("damaged");
        assert!(error.to_string().contains("emulator.json"), "{error}");
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_recorded_one() {
        let program = std::env::args().next().expect("a command line");
        assert!(record(&program).is_running());
        assert!(!record("millrace-of-another-time").is_running());
    }
}
