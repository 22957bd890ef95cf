//! Where the parts of images are, and where images are left.

use std::path::PathBuf;

use clap::Args;
use xtask::released::PROGRAMS;

/// Given by `cargo xtask`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Folders {
    /// The released programs
    #[arg(long, env = "WEIR_BIN_DIR", value_name = "DIR")]
    released: PathBuf,

    /// Programs of Kubernetes
    #[arg(long, env = "WEIR_TOOLS_DIR", value_name = "DIR")]
    tools: PathBuf,

    /// Where images that change seldom are kept
    #[arg(long, env = "WEIR_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache: PathBuf,

    /// The repository
    #[arg(long, value_name = "DIR")]
    pub(crate) repository: PathBuf,

    /// Where the images' files and archives are left
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

impl Folders {
    /// The released programs, with their names.
    pub(crate) fn released(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        PROGRAMS.iter().map(|name| (*name, self.released.join(name)))
    }

    /// A program of Kubernetes.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.tools.join(name)
    }

    /// The images that change seldom, and the folder that they are made in.
    pub(crate) fn kept(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// The module that pins Kubernetes' version.
    pub(crate) fn upstream(&self) -> PathBuf {
        self.repository.join("tests/upstream")
    }
}
