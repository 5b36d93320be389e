//! A layer of an image with a library of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::clients::{Client, Run};
use crate::library;
use crate::overlay::{Overlay, Way};
use crate::rig::Rig;

/// The same path in every container, and a name that no other row has.
pub struct Layer {
    dir: TempDir,
    /// Of the library, in a container.
    pub folder: String,
}

impl Layer {
    /// One in a temporary folder.
    ///
    /// # Errors
    /// If the library cannot be copied.
    pub fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// One below a folder.
    ///
    /// # Errors
    /// If the library cannot be copied.
    pub fn below(place: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("llmo-layer-").tempdir_in(place)?;
        let folder = format!("/opt/{}", dir.path().file_name().context("no name")?.to_string_lossy());
        library::copy_into(&dir.path().join(folder.trim_start_matches('/')))?;
        Ok(Self { dir, folder })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its library, outside of containers.
    ///
    /// # Errors
    /// If there is no libssl.
    pub fn library(&self) -> Result<PathBuf> {
        let name = library::libssl()?;
        Ok(self.path().join(self.folder.trim_start_matches('/')).join(name.file_name().unwrap_or_default()))
    }

    /// A client in a container that uses the layer's library.
    ///
    /// # Errors
    /// If there is no such client or the container cannot be entered.
    pub fn run(&self, rig: &Rig, kind: &str, container: &Overlay, way: Way) -> Result<Run> {
        Ok(rig.run(kind)?.env("LD_LIBRARY_PATH", &self.folder).within(container.command(way)?))
    }
}

/// The first call through a library that nobody used before is not judged where this is called: it
/// may come before its probes.
///
/// # Errors
/// If it fails.
pub fn warm(run: Run) -> Result<()> {
    finish(vec![run.start(&["scenario:length#warm".to_owned()])?])
}

/// All of them succeed, as their programs say.
///
/// # Errors
/// If one does not.
pub fn finish(clients: Vec<Client>) -> Result<()> {
    for client in clients {
        let (said, status) = client.finish()?;
        ensure!(status.success() && said.iter().all(|line| line.error.is_none()), "{status}: {said:?}");
    }
    Ok(())
}
