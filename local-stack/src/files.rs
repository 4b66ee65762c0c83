//! Reads, writes and removes files that another process may read at any time. A killed process never leaves
//! an incomplete file.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Replaces the content of `path`: at any time, the file contains either its old content or all of `content`.
/// Creates the folder if necessary.
///
/// # Errors
/// If the file can't be written. The error names the path.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("could not write {}", path.display()))
}

/// The content of the file at `path`; `None` if it doesn't exist.
///
/// # Errors
/// If the file can't be read. The error names the path.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// Removes `path`, a file or a folder with all its content, if it exists.
///
/// # Errors
/// If it can't be removed. The error names the path.
pub fn remove_if_there(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_removes_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/file");
        assert_eq!(read_if_there(&path).expect("readable"), None);
        write_atomically(&path, b"one").expect("written");
        write_atomically(&path, b"two").expect("written");
        assert_eq!(
            read_if_there(&path).expect("readable"),
            Some(b"two".to_vec())
        );
        for _ in 0..2 {
            remove_if_there(&path).expect("removed");
            remove_if_there(path.parent().expect("a folder")).expect("removed");
        }
        assert!(!path.exists());
    }
}
