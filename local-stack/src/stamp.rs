//! Whether a step was already done with the very same inputs.
//!
//! A step's stamp holds the hash of what the step depended on and is written when the step is
//! through. So a step that was killed half way has no stamp, and is done again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::files;

/// Gathers what a step depends on.
#[derive(Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Depends on this value.
    pub(crate) fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        // The length keeps `ab`, `c` apart from `a`, `bc`.
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
        self
    }

    /// Depends on this file's content.
    pub(crate) fn file(self, path: &Path) -> Result<Self> {
        let content =
            std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(self.value(content))
    }

    /// Depends on the names and contents of all files below `folder`, but for the top-level entries
    /// in `left_out`.
    pub(crate) fn tree(mut self, folder: &Path, left_out: &[&str]) -> Result<Self> {
        let mut files = Vec::new();
        for path in entries(folder)? {
            let name = path.file_name().unwrap_or_default();
            if !left_out.iter().any(|left_out| *left_out == name) {
                collect(path, &mut files)?;
            }
        }
        files.sort();
        for path in files {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            self = self
                .value(name.as_os_str().as_encoded_bytes())
                .file(&path)?;
        }
        Ok(self)
    }

    /// The hash of it all.
    pub(crate) fn hash(self) -> String {
        self.0
            .finalize()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("writing to a string never fails");
                hex
            })
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("could not list {}", folder.display()))
}

fn collect(path: PathBuf, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in entries(&path)? {
            collect(entry, files)?;
        }
    } else {
        files.push(path);
    }
    Ok(())
}

/// The mark that a step leaves when it is through.
#[derive(Debug)]
pub(crate) struct Stamp(PathBuf);

impl Stamp {
    /// The stamp at `path`, there or not.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether the step was done with the inputs of this hash.
    pub(crate) fn holds(&self, hash: &str) -> Result<bool> {
        Ok(files::read_if_there(&self.0)?.is_some_and(|held| held == hash.as_bytes()))
    }

    /// The step is about to be done again: from here on, until it is through, it isn't done.
    pub(crate) fn lift(&self) -> Result<()> {
        files::remove_if_there(&self.0)
    }

    /// The step is through.
    pub(crate) fn set(&self, hash: &str) -> Result<()> {
        files::write_atomically(&self.0, hash.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            files::write_atomically(&folder.path().join(name), content.as_bytes())
                .expect("written");
        }
        Inputs::default()
            .tree(folder.path(), &["node_modules"])
            .expect("readable")
            .hash()
    }

    #[test]
    fn a_tree_is_known_by_its_names_and_contents() {
        let known = tree(&[("a", "1"), ("lib/b", "2")]);
        assert_eq!(known, tree(&[("lib/b", "2"), ("a", "1")]));
        assert_eq!(
            known,
            tree(&[("a", "1"), ("lib/b", "2"), ("node_modules/c", "3")])
        );
        for other in [
            tree(&[("a", "1"), ("lib/b", "3")]),
            tree(&[("a", "1"), ("b", "2")]),
            tree(&[("a", "1")]),
            tree(&[("a", "1"), ("lib/b", "2"), ("lib/node_modules/c", "3")]),
        ] {
            assert_ne!(known, other);
        }
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        let hash = |values: [&str; 2]| values.iter().fold(Inputs::default(), Inputs::value).hash();
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
    }

    #[test]
    fn a_stamp_holds_from_set_to_lift() {
        let folder = tempfile::tempdir().expect("a folder");
        let stamp = Stamp::at(folder.path().join("stamp"));
        assert!(!stamp.holds("x").expect("readable"));
        stamp.set("x").expect("written");
        assert!(stamp.holds("x").expect("readable"));
        assert!(!stamp.holds("y").expect("readable"));
        stamp.lift().expect("removed");
        assert!(!stamp.holds("x").expect("readable"));
    }
}
