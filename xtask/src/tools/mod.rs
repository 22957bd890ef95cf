//! Tools that are built from source, and kept in a cache folder of the project's own.
//!
//! ```text
//! <cache>/tools/<name>-<version>[-<compiler>]/bin/<name>   one edition of a tool, complete
//! <cache>/bin/<name>                                       a link to the edition in use
//! <cache>/partial/<name>-...                               an installation that runs or was interrupted
//! <cache>/llvm/<compiler>/lib/                             what bpf-linker is linked with
//! ```
//!
//! An edition is built in `partial` and renamed when it is finished, so every edition in `tools` is
//! complete. An interrupted installation continues where it stopped. Another version, or for
//! bpf-linker another compiler, is another edition. The whole folder can be deleted at any time.

mod bpf_linker;
mod cargo_deny;
mod cnitool;
mod files;
mod go;
mod install;
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::lock;

use self::files::{make_folder, remove_folder, rename, replace_link};
use self::install::BUILD_FOLDER;
use crate::workspace::Workspace;

pub(crate) use self::upstream::{Upstream, demand_go};

/// A tool that the project builds for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Links eBPF programs.
    BpfLinker,
    /// Checks the dependencies' licences and sources.
    CargoDeny,
    /// Calls a CNI plugin as a container runtime does, with the reference library.
    Cnitool,
    /// One of Kubernetes' own programs.
    Upstream(Upstream),
}

impl Tool {
    /// The tool and its version, to show.
    pub(crate) fn title(self) -> String {
        format!("{} {}", self.name(), self.version())
    }

    /// Why this machine can do without it, if it can.
    pub(crate) fn left_out(self) -> Option<&'static str> {
        match self {
            Self::BpfLinker | Self::CargoDeny | Self::Upstream(_) => None,
            Self::Cnitool => cnitool::left_out(),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BpfLinker => "bpf-linker",
            Self::CargoDeny => "cargo-deny",
            Self::Cnitool => "cnitool",
            Self::Upstream(program) => program.name(),
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::BpfLinker => bpf_linker::VERSION,
            Self::CargoDeny => cargo_deny::VERSION,
            Self::Cnitool => cnitool::VERSION,
            Self::Upstream(program) => program.version(),
        }
    }

    fn edition(self, workspace: &Workspace) -> Result<String> {
        let edition = format!("{}-{}", self.name(), self.version());
        match self {
            Self::BpfLinker => bpf_linker::edition(workspace, &edition),
            Self::Upstream(program) => Ok(program.edition(edition)),
            Self::CargoDeny | Self::Cnitool => Ok(edition),
        }
    }

    /// Whether the finished program can start; not all can be asked.
    fn starts(self, program: &Path) -> bool {
        match self {
            Self::BpfLinker => bpf_linker::starts(program),
            Self::CargoDeny | Self::Cnitool | Self::Upstream(_) => true,
        }
    }

    fn build(self, workspace: &Workspace, prefix: &Path) -> Result<()> {
        match self {
            Self::BpfLinker => bpf_linker::build(workspace, prefix),
            Self::CargoDeny => cargo_deny::build(prefix),
            Self::Cnitool => cnitool::build(prefix),
            Self::Upstream(program) => upstream::build(workspace, &[program], &prefix.join("bin")),
        }
    }

    /// Whether the wanted edition is complete and in use.
    pub(crate) fn is_there(self, workspace: &Workspace) -> Result<bool> {
        let program = self.program(workspace)?;
        let in_use = fs::read_link(self.link(workspace)).is_ok_and(|target| target == program);
        Ok(in_use && program.is_file() && self.starts(&program))
    }

    /// Builds the wanted edition unless it is there, and puts it to use.
    pub(crate) fn install(self, workspace: &Workspace) -> Result<()> {
        let _lock = lock::acquire(&workspace.cache)?;
        // Another task may have built it while this one waited.
        if !self.is_complete(workspace)? {
            let partial = self.partial(workspace)?;
            make_folder(&partial)?;
            self.build(workspace, &partial)
                .with_context(|| format!("{} could not be built", self.title()))?;
            self.complete(workspace)?;
        }
        self.put_to_use(workspace)
    }

    fn is_complete(self, workspace: &Workspace) -> Result<bool> {
        let program = self.program(workspace)?;
        Ok(program.is_file() && self.starts(&program))
    }

    /// Moves what was built to where complete editions are.
    fn complete(self, workspace: &Workspace) -> Result<()> {
        let partial = self.partial(workspace)?;
        let complete = workspace.cache.join("tools").join(self.edition(workspace)?);
        remove_folder(&partial.join(BUILD_FOLDER))?;
        remove_folder(&complete)?;
        make_folder(&workspace.cache.join("tools"))?;
        rename(&partial, &complete)
    }

    fn put_to_use(self, workspace: &Workspace) -> Result<()> {
        replace_link(&self.link(workspace), &self.program(workspace)?)
    }

    fn partial(self, workspace: &Workspace) -> Result<PathBuf> {
        Ok(workspace.cache.join("partial").join(self.edition(workspace)?))
    }

    pub(crate) fn program(self, workspace: &Workspace) -> Result<PathBuf> {
        let edition = workspace.cache.join("tools").join(self.edition(workspace)?);
        Ok(edition.join("bin").join(self.name()))
    }

    fn link(self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(self.name())
    }
}

/// [`Tool::install`] for many of Kubernetes' programs, which are built together.
pub(crate) fn install_upstream(workspace: &Workspace, programs: &[Upstream]) -> Result<()> {
    let _lock = lock::acquire(&workspace.cache)?;
    let mut absent = Vec::new();
    for program in programs {
        if !Tool::Upstream(*program).is_complete(workspace)? {
            absent.push(*program);
        }
    }
    if !absent.is_empty() {
        let built = workspace.cache.join("partial/upstream");
        upstream::build(workspace, &absent, &built)?;
        for program in absent {
            let tool = Tool::Upstream(program);
            let bin = tool.partial(workspace)?.join("bin");
            make_folder(&bin)?;
            rename(&built.join(program.name()), &bin.join(program.name()))?;
            tool.complete(workspace)?;
        }
    }
    programs.iter().try_for_each(|program| Tool::Upstream(*program).put_to_use(workspace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_installation_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace {
            root: folder.path().to_owned(),
            target: folder.path().join("target"),
            cache: folder.path().join("cache"),
        };
        let tool = Tool::CargoDeny;
        let partial = workspace.cache.join("partial").join(tool.edition(&workspace).unwrap());
        fs::create_dir_all(partial.join("bin")).unwrap();
        fs::write(partial.join("bin/cargo-deny"), "half of it").unwrap();
        assert!(!tool.is_there(&workspace).unwrap());

        let complete = tool.program(&workspace).unwrap();
        fs::create_dir_all(complete.parent().unwrap()).unwrap();
        fs::write(&complete, "all of it").unwrap();
        assert!(!tool.is_there(&workspace).unwrap(), "not in use yet");
        tool.install(&workspace).unwrap();
        assert!(tool.is_there(&workspace).unwrap());
    }
}
