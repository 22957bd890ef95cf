//! The folders of programs, images and manifests, and that of the cluster's files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The folders. `cargo xtask e2e` sets their variables; each has a flag too.
#[derive(Args, Clone, Debug)]
pub(crate) struct Environment {
    /// Programs of Kubernetes, etcd and CoreDNS
    #[arg(long, env = "WEIR_TOOLS_DIR", value_name = "DIR", global = true)]
    tools_dir: Option<PathBuf>,

    /// Archives of container images
    #[arg(long, env = "WEIR_IMAGES_DIR", value_name = "DIR", global = true)]
    images_dir: Option<PathBuf>,

    /// Weir's manifests
    #[arg(long, env = "WEIR_MANIFESTS_DIR", value_name = "DIR", global = true)]
    manifests_dir: Option<PathBuf>,

    /// State and logs of the cluster
    #[arg(long, env = "WEIR_E2E_DIR", value_name = "DIR", global = true)]
    e2e_dir: Option<PathBuf>,
}

impl Environment {
    /// A program of Kubernetes.
    ///
    /// # Errors
    /// When it has not been built.
    pub(crate) fn tool(&self, name: &str) -> Result<PathBuf> {
        let path = given(self.tools_dir.as_deref(), "WEIR_TOOLS_DIR")?.join(name);
        ensure!(path.is_file(), "there is no program {}", path.display());
        Ok(path)
    }

    /// The folder of the images' archives.
    ///
    /// # Errors
    /// When none was given.
    pub(crate) fn images(&self) -> Result<&Path> {
        given(self.images_dir.as_deref(), "WEIR_IMAGES_DIR")
    }

    /// The folder with `base` and `overlays`.
    ///
    /// # Errors
    /// When none was given.
    pub(crate) fn manifests(&self) -> Result<&Path> {
        given(self.manifests_dir.as_deref(), "WEIR_MANIFESTS_DIR")
    }

    /// The folder of the cluster's files, which `down` removes.
    ///
    /// # Errors
    /// When it is below a path where each node has its own mount.
    pub(crate) fn state(&self) -> Result<&Path> {
        let dir = given(self.e2e_dir.as_deref(), "WEIR_E2E_DIR")?;
        ensure!(dir.is_absolute(), "WEIR_E2E_DIR {} is not absolute", dir.display());
        for private in ["/etc", "/opt", "/var", "/run", "/sys"] {
            ensure!(
                !dir.starts_with(private),
                "WEIR_E2E_DIR {} is below {private}, where each node has its own mount",
                dir.display()
            );
        }
        Ok(dir)
    }
}

fn given<'a>(dir: Option<&'a Path>, variable: &str) -> Result<&'a Path> {
    dir.with_context(|| format!("{variable} is not set: run this by cargo xtask e2e"))
}
