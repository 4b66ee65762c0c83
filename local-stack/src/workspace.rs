//! The checkout that the local stack is built from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A checkout of Millrace.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout that the current folder lies in.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("there is no current folder")?;
        here.ancestors()
            .find(|folder| folder.join("local-stack/python/requirements.txt").is_file())
            .map(Self::at)
            .with_context(|| {
                format!(
                    "{} is not inside a checkout of Millrace; change into one",
                    here.display()
                )
            })
    }

    /// The checkout at `root`, an absolute path.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder that holds the workspace's Cargo.toml.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where everything that is set up is kept, and by default the stack's state too.
    #[must_use]
    pub fn local_folder(&self) -> PathBuf {
        self.root.join(".millrace")
    }

    /// The CDK app.
    #[must_use]
    pub fn infra(&self) -> PathBuf {
        self.root.join("infra")
    }

    /// The requirements and the launcher.
    pub(crate) fn python_sources(&self) -> PathBuf {
        self.root.join("local-stack/python")
    }
}
