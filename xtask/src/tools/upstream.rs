//! Kubernetes' own programs and tests, which `cargo xtask e2e` runs Weir with.
//!
//! `tests/upstream/go.mod` pins every module of them, and `tests/upstream/coredns/go.mod` those of
//! CoreDNS. They are built together: one `go build` compiles what they share once, and links one
//! program while it compiles the next.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xtask::{command, digest};

use super::files::make_folder;
use super::go;
use crate::workspace::Workspace;

const KUBERNETES: &str = "k8s.io/kubernetes";
const GO_MOD: &str = include_str!("../../../tests/upstream/go.mod");
const COREDNS_GO_MOD: &str = include_str!("../../../tests/upstream/coredns/go.mod");
const COREDNS_MAIN: &str = include_str!("../../../tests/upstream/coredns/main.go");

/// A program of Kubernetes, or of what it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// The server and the client in most of the tests' pods.
    Agnhost,
    Coredns,
    /// Kubernetes' end-to-end tests.
    E2eTest,
    Etcd,
    /// Runs the end-to-end tests, several at a time.
    Ginkgo,
    KubeApiserver,
    KubeControllerManager,
    KubeProxy,
    KubeScheduler,
    /// Makes the certificates and kubeconfigs.
    Kubeadm,
    Kubectl,
    Kubelet,
    /// Sends what conntrack calls invalid, in one of the tests' pods.
    RegressionIssue74839,
}

/// How `go` makes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipe {
    /// `go build` of a package.
    Program(&'static str),
    /// `go test -c` of a package.
    Tests(&'static str),
    /// `go build` in a module of its own, a folder below `tests/upstream`.
    Module(&'static str),
}

impl Upstream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agnhost => "agnhost",
            Self::Coredns => "coredns",
            Self::E2eTest => "e2e.test",
            Self::Etcd => "etcd",
            Self::Ginkgo => "ginkgo",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeProxy => "kube-proxy",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubeadm => "kubeadm",
            Self::Kubectl => "kubectl",
            Self::Kubelet => "kubelet",
            Self::RegressionIssue74839 => "regression-issue-74839",
        }
    }

    fn recipe(self) -> Recipe {
        match self {
            Self::Agnhost => Recipe::Program("k8s.io/kubernetes/test/images/agnhost"),
            Self::Coredns => Recipe::Module("coredns"),
            Self::E2eTest => Recipe::Tests("k8s.io/kubernetes/test/e2e"),
            Self::Etcd => Recipe::Program("go.etcd.io/etcd/server/v3"),
            Self::Ginkgo => Recipe::Program("github.com/onsi/ginkgo/v2/ginkgo"),
            Self::KubeApiserver => Recipe::Program("k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::KubeControllerManager => {
                Recipe::Program("k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Self::KubeProxy => Recipe::Program("k8s.io/kubernetes/cmd/kube-proxy"),
            Self::KubeScheduler => Recipe::Program("k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubeadm => Recipe::Program("k8s.io/kubernetes/cmd/kubeadm"),
            Self::Kubectl => Recipe::Program("k8s.io/kubernetes/cmd/kubectl"),
            Self::Kubelet => Recipe::Program("k8s.io/kubernetes/cmd/kubelet"),
            Self::RegressionIssue74839 => {
                Recipe::Program("k8s.io/kubernetes/test/images/regression-issue-74839")
            }
        }
    }

    /// As go.mod has it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Coredns => pin(COREDNS_GO_MOD, "github.com/coredns/coredns"),
            Self::Etcd => pin(GO_MOD, "go.etcd.io/etcd/server/v3"),
            Self::Ginkgo => pin(GO_MOD, "github.com/onsi/ginkgo/v2"),
            _ => pin(GO_MOD, KUBERNETES),
        }
    }

    /// CoreDNS is another program when its plugins change.
    pub(super) fn edition(self, edition: String) -> String {
        if self != Self::Coredns {
            return edition;
        }
        format!("{edition}-{}", digest::of(&[COREDNS_GO_MOD, COREDNS_MAIN]))
    }
}

/// The version of a module in a go.mod.
fn pin(go_mod: &'static str, module: &str) -> &'static str {
    let mut pins = go_mod.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next()? == module).then(|| words.next())?
    });
    pins.next().unwrap_or("unknown")
}

/// Builds programs into `folder`, each under its name.
pub(super) fn build(workspace: &Workspace, programs: &[Upstream], folder: &Path) -> Result<()> {
    make_folder(folder)?;
    let source = workspace.root.join("tests/upstream");
    let packages: Vec<_> = programs
        .iter()
        .filter_map(|program| match program.recipe() {
            Recipe::Program(package) => Some(package),
            Recipe::Tests(_) | Recipe::Module(_) => None,
        })
        .collect();
    if !packages.is_empty() {
        // With a slash at its end it is a folder, also for one package.
        let folder = folder.join("");
        go::compile(go(&["build"], &folder).args(packages).current_dir(&source))?;
    }
    for program in programs {
        let file = folder.join(program.name());
        match program.recipe() {
            Recipe::Program(package) => {
                let built = folder.join(name_of(package));
                fs::rename(&built, &file)
                    .with_context(|| format!("rename {} to {}", built.display(), file.display()))?;
            }
            Recipe::Tests(package) => {
                // Unvetted: that would take longer than to compile it, and is upstream's concern.
                let mut test = go(&["test", "-c", "-vet=off"], &file);
                go::compile(test.arg(package).current_dir(&source))?;
            }
            Recipe::Module(module) => {
                go::compile(go(&["build"], &file).arg(".").current_dir(source.join(module)))?;
            }
        }
    }
    Ok(())
}

fn go(verb: &[&str], output: &Path) -> Command {
    let mut go = Command::new("go");
    let version = pin(GO_MOD, KUBERNETES);
    go.args(verb).args(["-v", "-mod=readonly", "-trimpath", "-ldflags"]);
    go.arg(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"));
    go.arg("-o").arg(output).env("CGO_ENABLED", "0");
    go
}

/// The name that `go build` gives to the program of a package: the last element of the path that is
/// not a version.
fn name_of(package: &str) -> &str {
    let is_version = |element: &str| {
        let digits = element.strip_prefix('v').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    package.rsplit('/').find(|element| !is_version(element)).unwrap_or(package)
}

/// Fails unless a Go is installed that can build the pinned modules.
pub(crate) fn demand_go(workspace: &Workspace) -> Result<()> {
    command::find("go").context(
        "there is no `go` on PATH, which Kubernetes' programs are built with; \
         see https://go.dev/doc/install",
    )?;
    // In the module's folder, whose go.mod requires a version: an older `go` fails there.
    let folder = workspace.root.join("tests/upstream");
    command::output(Command::new("go").arg("version").current_dir(folder))
        .map(drop)
        .context("Kubernetes' programs need another Go; see https://go.dev/doc/install")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Upstream; 13] = [
        Upstream::Agnhost,
        Upstream::Coredns,
        Upstream::E2eTest,
        Upstream::Etcd,
        Upstream::Ginkgo,
        Upstream::KubeApiserver,
        Upstream::KubeControllerManager,
        Upstream::KubeProxy,
        Upstream::KubeScheduler,
        Upstream::Kubeadm,
        Upstream::Kubectl,
        Upstream::Kubelet,
        Upstream::RegressionIssue74839,
    ];

    #[test]
    fn versions_are_those_of_the_pinned_modules() {
        for program in ALL {
            let (name, version) = (program.name(), program.version());
            let digits = version.strip_prefix('v').unwrap_or_default();
            assert!(digits.split('.').all(|part| part.parse::<u32>().is_ok()), "{name} {version}");
        }
    }

    #[test]
    fn every_package_is_a_tool_of_the_pinned_module() {
        for program in ALL {
            if let Recipe::Program(package) | Recipe::Tests(package) = program.recipe() {
                let tool = GO_MOD.lines().any(|line| line.trim() == package);
                assert!(tool, "{package} is not in the list of tools in go.mod");
            }
        }
    }

    #[test]
    fn a_program_is_named_by_its_package_without_the_version() {
        assert_eq!(name_of("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(name_of("k8s.io/kubernetes/cmd/kubelet"), "kubelet");
        assert_eq!(name_of("example.org/v1beta1"), "v1beta1");
    }

    #[test]
    fn a_pin_is_found_in_a_list_and_on_a_line_of_its_own() {
        assert_eq!(
            pin("require (\n\texample.org/a v1.2.3 // indirect\n)", "example.org/a"),
            "v1.2.3"
        );
        assert_eq!(pin("require example.org/a v1.2.3", "example.org/a"), "v1.2.3");
        assert_eq!(
            pin("replace example.org/b => example.org/a v2.0.0", "example.org/a"),
            "unknown"
        );
    }

    #[test]
    fn coredns_with_other_plugins_is_another_edition() {
        let edition = Upstream::Coredns.edition("coredns-v1".to_owned());
        assert!(edition.strip_prefix("coredns-v1-").is_some_and(|digest| digest.len() == 8));
        assert_eq!(Upstream::Kubelet.edition("kubelet-v1".to_owned()), "kubelet-v1");
    }
}
