//! The repository that the local stack is built from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A repository with an application of Millrace: a Cargo workspace with the functions' binaries, and the CDK
/// app in the folder `infra/`.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The repository that contains the current folder: the nearest folder upwards with a `Cargo.toml` and an
    /// `infra/cdk.json`.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("there is no current folder")?;
        here.ancestors()
            .find(|folder| {
                let is_there = |file| folder.join(file).is_file();
                is_there("Cargo.toml") && is_there("infra/cdk.json")
            })
            .map(Self::at)
            .with_context(|| {
                format!(
                    "neither {} nor a folder above it has a Cargo.toml and an infra/cdk.json; change \
                     into the repository of the application",
                    here.display()
                )
            })
    }

    /// The repository at `root`, an absolute path.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder that contains the workspace's Cargo.toml.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder into which the set-up installs packages, and by default also the folder of the stack's state.
    #[must_use]
    pub fn local_folder(&self) -> PathBuf {
        self.root.join(".millrace")
    }

    /// The folder of the CDK app.
    #[must_use]
    pub fn infra(&self) -> PathBuf {
        self.root.join("infra")
    }
}
