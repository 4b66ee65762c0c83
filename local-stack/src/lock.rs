//! A lock that only one process holds at a time. The kernel releases it when the process ends, even if it is
//! killed.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

const POLL: Duration = Duration::from_millis(100);

/// A lock on a file, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; `None` if another process holds it. Creates the file and its folder if necessary.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let open = || -> std::io::Result<File> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            File::options().create(true).append(true).open(path)
        };
        let file = open().with_context(|| format!("could not open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("could not lock {}", path.display()))
            }
        }
    }

    /// Waits for the lock. It polls instead of blocking a thread, so that Ctrl-C ends the wait.
    pub(crate) async fn take(path: &Path) -> Result<Self> {
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_lock_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let held = Lock::try_take(&path).expect("readable");
        assert!(held.is_some());
        assert!(Lock::try_take(&path).expect("readable").is_none());
        drop(held);
        assert!(Lock::try_take(&path).expect("readable").is_some());
    }
}
