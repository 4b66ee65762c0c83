//! What a long command has done, so that it goes on there when it was killed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};

/// The aggregates that are through, one JSON string per line of a file.
pub(crate) struct Checkpoint {
    path: PathBuf,
    file: Mutex<File>,
    done: BTreeSet<String>,
}

impl Checkpoint {
    /// Opens the checkpoint called `name`, or begins it. A last line that was cut off counts for
    /// nothing: its aggregate is done again.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let open = || -> std::io::Result<(BTreeSet<String>, File)> {
            std::fs::create_dir_all(folder)?;
            let content = match std::fs::read_to_string(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error),
            };
            let done = content
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            if !content.is_empty() && !content.ends_with('\n') {
                file.write_all(b"\n")?;
            }
            Ok((done, file))
        };
        let (done, file) = open().with_context(|| format!("could not open {}", path.display()))?;
        Ok(Self {
            path,
            file: Mutex::new(file),
            done,
        })
    }

    /// How many were done before.
    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether this one was done before.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    /// This one is done.
    pub(crate) fn add(&self, id: &str) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(id)?);
        let mut file = self.file.lock().expect("nobody panics while writing");
        file.write_all(line.as_bytes())
            .with_context(|| format!("could not write {}", self.path.display()))
    }

    /// All is done: the next run begins anew.
    pub(crate) fn finish(self) -> Result<()> {
        crate::files::remove_if_there(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_a_kill_is_known_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Checkpoint::open(folder.path(), "done").expect("opened");
        let first = open();
        first.add("a").expect("added");
        first.add("b\n\"").expect("added");
        // Killed in the middle of a line.
        let mut file = OpenOptions::new()
            .append(true)
            .open(folder.path().join("done"))
            .expect("there");
        file.write_all(b"\"c").expect("written");
        let second = open();
        assert_eq!(second.len(), 2);
        assert!(second.holds("b\n\"") && !second.holds("c"));
        second.add("c").expect("added");
        let third = open();
        assert!(third.holds("c"));
        third.finish().expect("removed");
        assert_eq!(open().len(), 0);
    }
}
