//! Stamps: files that record that a set-up step is done, and with which inputs.
//!
//! A step's stamp contains the hash of the step's inputs. It is written when the step is done, so a step that
//! was killed has no stamp and runs again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::files;

/// Computes the hash of a step's inputs.
#[derive(Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Adds a value.
    pub(crate) fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        // The length is part of the hash, so that `ab`, `c` and `a`, `bc` have different hashes.
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
        self
    }

    /// Adds a file's content.
    pub(crate) fn file(self, path: &Path) -> Result<Self> {
        let content =
            std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(self.value(content))
    }

    /// Adds the names and contents of all files below `folder`, except the top-level entries that `excluded`
    /// names.
    pub(crate) fn tree(mut self, folder: &Path, excluded: &[&str]) -> Result<Self> {
        let mut files = Vec::new();
        for path in entries(folder)? {
            let name = path.file_name().unwrap_or_default();
            if !excluded.iter().any(|excluded| *excluded == name) {
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

    /// The SHA-256 of all inputs, in hexadecimal digits.
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

/// The file that records that a step is done.
#[derive(Debug)]
pub(crate) struct Stamp(PathBuf);

impl Stamp {
    /// The stamp at `path`, which may not exist yet.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether the step is done with the inputs that have this hash.
    pub(crate) fn matches(&self, hash: &str) -> Result<bool> {
        Ok(files::read_if_there(&self.0)?.is_some_and(|stored| stored == hash.as_bytes()))
    }

    /// Removes the stamp before the step runs again, so that a killed step doesn't count as done.
    pub(crate) fn clear(&self) -> Result<()> {
        files::remove_if_there(&self.0)
    }

    /// Records that the step is done with the inputs that have this hash.
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
    fn a_trees_hash_depends_on_its_names_and_contents() {
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
    fn the_boundary_between_two_values_changes_the_hash() {
        let hash = |values: [&str; 2]| values.iter().fold(Inputs::default(), Inputs::value).hash();
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
    }

    #[test]
    fn a_stamp_matches_from_set_to_clear() {
        let folder = tempfile::tempdir().expect("a folder");
        let stamp = Stamp::at(folder.path().join("stamp"));
        assert!(!stamp.matches("x").expect("readable"));
        stamp.set("x").expect("written");
        assert!(stamp.matches("x").expect("readable"));
        assert!(!stamp.matches("y").expect("readable"));
        stamp.clear().expect("removed");
        assert!(!stamp.matches("x").expect("readable"));
    }
}
