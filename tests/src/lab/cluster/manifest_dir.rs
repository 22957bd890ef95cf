//! The directory of manifests that agents watch.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::manifest::NodeManifest;
use super::service::ServiceManifest;

/// A directory of manifests, with a file for each object. Files are written atomically.
#[derive(Clone, Debug)]
pub struct ManifestDir {
    dir: PathBuf,
    staging: PathBuf,
}

impl ManifestDir {
    /// Creates the directory `name` in `parent`. Files are staged in `parent`.
    ///
    /// # Errors
    /// When it exists.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let dir = parent.join(name);
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir, staging: parent.join(format!("{name}.next")) })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates or changes the object's file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, node: &NodeManifest) -> Result<()> {
        self.write(&file_of(node.name()), &node.yaml())
    }

    /// Creates or changes the file of a Service and its slices.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_service(&self, service: &ServiceManifest) -> Result<()> {
        self.write(&file_of_service(service), &service.yaml())
    }

    /// Removes the file of a Service and its slices; a missing file is not an error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_service(&self, service: &ServiceManifest) -> Result<()> {
        self.remove_file(&file_of_service(service))
    }

    /// Removes the object's file; a missing file is not an error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, node: &NodeManifest) -> Result<()> {
        self.remove_file(&file_of(node.name()))
    }

    fn remove_file(&self, file: &str) -> Result<()> {
        let path = self.dir.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, content: &str) -> Result<()> {
        // One for each file: tests may share a directory.
        let staging = self.staging.with_extension(file);
        fs::write(&staging, content).with_context(|| format!("write {}", staging.display()))?;
        let path = self.dir.join(file);
        fs::rename(&staging, &path).with_context(|| format!("write {}", path.display()))
    }
}

fn file_of(name: &str) -> String {
    format!("{name}.yaml")
}

fn file_of_service(service: &ServiceManifest) -> String {
    format!("service-{}.yaml", service.name())
}
