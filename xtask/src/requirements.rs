//! What each task needs to be there before it starts.

use anyhow::{Result, bail};

use xtask::command;
use xtask::console::{self, Steps};

use crate::packages::{self, Package};
use crate::toolchain::{self, Component};
use crate::tools::{self, Tool, Upstream};
use crate::workspace::Workspace;

/// One thing that a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// `cc`, which links Rust programs. It is the only need that is not installed: cargo itself needs
    /// a C compiler, which the user has chosen.
    CCompiler,
    Component(Component),
    Package(Package),
    Tool(Tool),
}

/// The needs of building, and others.
macro_rules! to_build_and {
    ($($need:expr),* $(,)?) => {
        &[
            Need::CCompiler,
            Need::Component(Component::Musl),
            Need::Package(Package::MUSL),
            Need::Component(Component::RustSrc),
            Need::Tool(Tool::BpfLinker),
            $($need),*
        ]
    };
}

pub(crate) const BUILD: &[Need] = to_build_and![];

pub(crate) const LINT: &[Need] = &[
    Need::Component(Component::Rustfmt),
    Need::Component(Component::Clippy),
    // Checked code is built as far as its build scripts, and one of them builds the programs.
    Need::Component(Component::RustSrc),
    Need::Tool(Tool::BpfLinker),
    Need::Tool(Tool::CargoDeny),
];

pub(crate) const DEMO: &[Need] = to_build_and![
    Need::Package(Package::IPROUTE),
    Need::Package(Package::IPTABLES),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::PING),
];

pub(crate) const ATTACK: &[Need] = to_build_and![
    Need::Package(Package::IPROUTE),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::PING),
];

pub(crate) const BENCH_SERVICES: &[Need] = to_build_and![
    Need::Package(Package::IPROUTE),
    Need::Package(Package::IPTABLES),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::OPENSSL),
    Need::Tool(Tool::Upstream(Upstream::Etcd)),
    Need::Tool(Tool::Upstream(Upstream::KubeApiserver)),
    Need::Tool(Tool::Upstream(Upstream::KubeControllerManager)),
    Need::Tool(Tool::Upstream(Upstream::KubeProxy)),
    Need::Tool(Tool::Upstream(Upstream::Kubectl)),
];

pub(crate) const BENCH_OVERLAY: &[Need] =
    to_build_and![Need::Package(Package::IPROUTE), Need::Package(Package::NFTABLES),];

pub(crate) const BENCH_CNI: &[Need] =
    to_build_and![Need::Package(Package::IPROUTE), Need::Package(Package::REFERENCE_PLUGINS),];

pub(crate) const IMAGE: &[Need] =
    to_build_and![Need::Package(Package::BUILDAH), Need::Package(Package::NFTABLES),];

pub(crate) const TEST: &[Need] = to_build_and![
    Need::Package(Package::BUSYBOX),
    Need::Package(Package::CONTAINERD),
    Need::Package(Package::ETHTOOL),
    Need::Package(Package::IPROUTE),
    Need::Package(Package::IPTABLES),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::PING),
    Need::Package(Package::REFERENCE_PLUGINS),
    Need::Package(Package::RUNC),
    Need::Tool(Tool::Cnitool),
];

pub(crate) const KERNELS: &[Need] = to_build_and![
    Need::Package(Package::BUSYBOX),
    Need::Package(Package::DEBIAN_KEYRING),
    Need::Package(Package::ETHTOOL),
    Need::Package(Package::IPROUTE),
    Need::Package(Package::IPTABLES),
    Need::Package(Package::KMOD),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::PING),
    Need::Package(Package::QEMU),
];

pub(crate) const E2E_API: &[Need] = to_build_and![
    Need::Package(Package::CURL),
    Need::Package(Package::IPROUTE),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::OPENSSL),
    Need::Tool(Tool::Upstream(Upstream::Etcd)),
    Need::Tool(Tool::Upstream(Upstream::KubeApiserver)),
    Need::Tool(Tool::Upstream(Upstream::KubeControllerManager)),
    Need::Tool(Tool::Upstream(Upstream::Kubectl)),
];

/// What a whole cluster on this machine needs, before [`E2E_UPSTREAM`] is built.
pub(crate) const E2E_CLUSTER: &[Need] = to_build_and![
    Need::Package(Package::BUILDAH),
    Need::Package(Package::CONNTRACK),
    Need::Package(Package::CONTAINERD),
    Need::Package(Package::CURL),
    Need::Package(Package::DNSUTILS),
    Need::Package(Package::IPERF),
    Need::Package(Package::IPROUTE),
    Need::Package(Package::IPTABLES),
    Need::Package(Package::NETCAT),
    Need::Package(Package::NFTABLES),
    Need::Package(Package::PING),
    Need::Package(Package::REFERENCE_PLUGINS),
    Need::Package(Package::RUNC),
    Need::Package(Package::WGET),
];

/// What a whole cluster consists of.
pub(crate) const E2E_UPSTREAM: &[Need] = &[
    Need::Tool(Tool::Upstream(Upstream::Etcd)),
    Need::Tool(Tool::Upstream(Upstream::KubeApiserver)),
    Need::Tool(Tool::Upstream(Upstream::KubeControllerManager)),
    Need::Tool(Tool::Upstream(Upstream::KubeScheduler)),
    Need::Tool(Tool::Upstream(Upstream::Kubelet)),
    Need::Tool(Tool::Upstream(Upstream::KubeProxy)),
    Need::Tool(Tool::Upstream(Upstream::Kubectl)),
    Need::Tool(Tool::Upstream(Upstream::Kubeadm)),
    Need::Tool(Tool::Upstream(Upstream::Agnhost)),
    Need::Tool(Tool::Upstream(Upstream::RegressionIssue74839)),
    Need::Tool(Tool::Upstream(Upstream::Ginkgo)),
    Need::Tool(Tool::Upstream(Upstream::E2eTest)),
    Need::Tool(Tool::Upstream(Upstream::Coredns)),
];

/// Whether what is there already is reported too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Everything,
    OnlyMissing,
}

/// Installs what is missing of `needs`.
pub(crate) fn ensure(
    workspace: &Workspace,
    steps: &mut Steps,
    needs: &[Need],
    report: Report,
) -> Result<()> {
    let Sorted { c_compiler, components, packages, tools } = Sorted::of(needs);
    let report_present = |title: &str| {
        if report == Report::Everything {
            console::announce(title);
            console::aside("there");
        }
    };

    if c_compiler && command::find("cc").is_none() {
        bail!("there is no C compiler (`cc`) on PATH; on Debian: apt-get install gcc libc6-dev");
    }

    if !packages.is_empty() {
        let missing = packages::missing(&packages);
        if missing.is_empty() {
            report_present(&list("packages", &packages, |package| package.name()));
        } else {
            let title = list("install packages", &missing, |package| package.name());
            steps.step(&title, || packages::install(&missing))?;
        }
    }

    if !components.is_empty() {
        let missing = toolchain::missing(workspace, &components)?;
        if missing.is_empty() {
            report_present(&list("Rust components", &components, |component| component.name()));
        } else {
            let title = list("add Rust components", &missing, |component| component.name());
            steps.step(&title, || toolchain::add(workspace, &missing))?;
        }
    }

    let (upstream, tools) = split(tools);
    if !upstream.is_empty() {
        let mut missing = Vec::new();
        for program in &upstream {
            if !Tool::Upstream(*program).is_there(workspace)? {
                missing.push(*program);
            }
        }
        if missing.is_empty() {
            report_present(&list("Kubernetes' programs", &upstream, Upstream::name));
        } else {
            let title = list("build Kubernetes' programs", &missing, Upstream::name);
            steps.step(&title, || tools::install_upstream(workspace, &missing))?;
        }
    }

    for tool in tools {
        if let Some(reason) = tool.left_out() {
            console::announce(&tool.title());
            console::note(reason);
        } else if tool.is_there(workspace)? {
            report_present(&tool.title());
        } else {
            steps.step(&format!("install {}", tool.title()), || tool.install(workspace))?;
        }
    }
    Ok(())
}

/// Kubernetes' programs are built together, all others one by one.
fn split(tools: Vec<Tool>) -> (Vec<Upstream>, Vec<Tool>) {
    let (mut upstream, mut others) = (Vec::new(), Vec::new());
    for tool in tools {
        match tool {
            Tool::Upstream(program) => upstream.push(program),
            Tool::BpfLinker | Tool::CargoDeny | Tool::Cnitool => others.push(tool),
        }
    }
    (upstream, others)
}

fn list<T: Copy>(what: &str, things: &[T], name: impl Fn(T) -> &'static str) -> String {
    let names: Vec<_> = things.iter().map(|thing| name(*thing)).collect();
    format!("{what}: {}", names.join(", "))
}

/// Needs by kind, none twice.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted {
    c_compiler: bool,
    components: Vec<Component>,
    packages: Vec<Package>,
    tools: Vec<Tool>,
}

impl Sorted {
    fn of(needs: &[Need]) -> Self {
        let mut sorted = Self::default();
        for need in needs {
            match *need {
                Need::CCompiler => sorted.c_compiler = true,
                Need::Component(component) => add(&mut sorted.components, component),
                Need::Package(package) => add(&mut sorted.packages, package),
                Need::Tool(tool) => add(&mut sorted.tools, tool),
            }
        }
        sorted
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, thing: T) {
    if !list.contains(&thing) {
        list.push(thing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_that_builds_has_the_needs_of_building() {
        for (name, task) in [
            ("attack", ATTACK),
            ("demo", DEMO),
            ("bench overlay", BENCH_OVERLAY),
            ("bench services", BENCH_SERVICES),
            ("bench cni", BENCH_CNI),
            ("image", IMAGE),
            ("test", TEST),
            ("kernels", KERNELS),
            ("e2e api", E2E_API),
            ("e2e up", E2E_CLUSTER),
        ] {
            let missing: Vec<_> = BUILD.iter().filter(|need| !task.contains(need)).collect();
            assert!(missing.is_empty(), "{name} lacks {missing:?}");
        }
    }

    #[test]
    fn every_task_that_runs_an_agent_needs_nft() {
        for (name, task) in [
            ("attack", ATTACK),
            ("demo", DEMO),
            ("bench overlay", BENCH_OVERLAY),
            ("bench services", BENCH_SERVICES),
            ("test", TEST),
            ("kernels", KERNELS),
            ("e2e api", E2E_API),
            ("e2e up", E2E_CLUSTER),
        ] {
            assert!(task.contains(&Need::Package(Package::NFTABLES)), "{name}");
        }
    }

    #[test]
    fn a_need_of_two_tasks_is_checked_once() {
        let sorted = Sorted::of(&[BUILD, DEMO, BENCH_CNI].concat());
        assert!(sorted.c_compiler);
        assert_eq!(sorted.components, [Component::Musl, Component::RustSrc]);
        let wanted = [
            Package::MUSL,
            Package::IPROUTE,
            Package::IPTABLES,
            Package::NFTABLES,
            Package::PING,
            Package::REFERENCE_PLUGINS,
        ];
        assert_eq!(sorted.packages, wanted);
        assert_eq!(sorted.tools, [Tool::BpfLinker]);
    }
}
