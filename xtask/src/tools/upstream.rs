//! Kubernetes' own control plane, which the end-to-end tests run agents against.
//!
//! `tests/upstream/go.mod` pins every module of it. Like cnitool it wants Go; unlike cnitool's tests
//! those that want it are tasks of their own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::make_folder;
use crate::command;
use crate::workspace::Workspace;

const GO_MOD: &str = include_str!("../../../tests/upstream/go.mod");

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    Kubectl,
}

impl Upstream {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }

    /// As go.mod has it.
    pub(super) fn version(self) -> &'static str {
        let module = match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            _ => "k8s.io/kubernetes",
        };
        let mut pins = GO_MOD.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == module).then(|| words.next())?
        });
        pins.next().unwrap_or("unknown")
    }

    fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            _ => format!("k8s.io/kubernetes/cmd/{}", self.name()),
        }
    }

    pub(super) fn build(self, workspace: &Workspace, prefix: &Path) -> Result<()> {
        let bin = prefix.join("bin");
        make_folder(&bin)?;
        let version = format!("k8s.io/component-base/version.gitVersion={}", self.version());
        command::run(
            Command::new("go")
                .args(["build", "-mod=readonly", "-trimpath", "-ldflags"])
                .arg(format!("-s -w -X {version}"))
                .arg("-o")
                .arg(bin.join(self.name()))
                .arg(self.package())
                .current_dir(workspace.root.join("tests/upstream"))
                .env("CGO_ENABLED", "0"),
        )
    }
}

/// Fails unless there is Go, without which none of this can be built.
pub(crate) fn demand_go() -> Result<()> {
    command::find("go").map(drop).context(
        "there is no `go` on PATH, which Kubernetes' API server is built with; \
         see https://go.dev/doc/install",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_pinned_modules() {
        let of = |tool: Upstream| (tool.name(), tool.version());
        for (name, version) in [of(Upstream::Etcd), of(Upstream::Kubectl)] {
            let digits = version.strip_prefix('v').unwrap_or_default();
            assert!(digits.split('.').all(|part| part.parse::<u32>().is_ok()), "{name} {version}");
        }
    }
}
