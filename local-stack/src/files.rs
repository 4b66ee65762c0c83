//! Files that another process may read at any moment, or that a kill may cut short.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes `content` so that `path` holds either what it held or all of it.
///
/// # Errors
/// When it can't be written, with the path.
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

/// The content of `path`; `None` where there is no such file.
///
/// # Errors
/// When it can't be read, with the path.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// Removes `path`, a file or a folder with all that is in it, if it is there.
///
/// # Errors
/// When it can't be removed, with the path.
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
    fn writes_over_what_was_there_and_removes_it() {
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
