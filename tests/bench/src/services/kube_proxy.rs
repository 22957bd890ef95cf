//! The rules of kube-proxy, made by itself.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_api_tests::Daemon;
use weir_tests::lab::{Cluster, Member, Stack};

use super::control::Control;
use super::objects::Service;

/// How kube-proxy does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Iptables,
    Nftables,
}

/// What it took to have the rules on both nodes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synced {
    pub(crate) took: Duration,
    /// Where the measured Service's rule is among those that a packet is compared with, beginning
    /// with 1, at the client's node of the worse place; only of iptables.
    pub(crate) position: Option<usize>,
}

impl Display for Mode {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

/// Lets kube-proxy make its rules on both nodes, and ends it: rules stay. None when they are not
/// complete after `patience`.
pub(crate) fn program(
    control: &Control,
    cluster: &Cluster,
    mode: Mode,
    measured: &Service,
    services: u32,
    patience: Duration,
) -> Result<Option<Synced>> {
    let started = Instant::now();
    let mut running = Vec::new();
    for node in cluster.nodes() {
        let plug = control.plug(node)?;
        running.push((start(control, node, mode)?, plug));
    }
    let wanted = usize::try_from(services)?;
    loop {
        let mut missing = 0;
        for (node, (daemon, _)) in cluster.nodes().iter().zip(&running) {
            ensure!(daemon.is_running()?, "kube-proxy ended:\n{}", daemon.log());
            missing += wanted.saturating_sub(count(node, mode)?);
        }
        let took = started.elapsed();
        if missing == 0 {
            let mut position = None;
            for node in cluster.nodes() {
                position = position.max(find(node, mode, measured)?);
            }
            return Ok(Some(Synced { took, position }));
        }
        if took > patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn start(control: &Control, node: &Member, mode: Mode) -> Result<Daemon> {
    let dir = node.machine().dir();
    let config = dir.join("kube-proxy.yaml");
    let text = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode.to_string(),
        "hostnameOverride": node.name(),
        "clientConnection": {"kubeconfig": control.kubeconfig()},
        "clusterCIDR": "10.244.0.0/16",
        "detectLocalMode": "ClusterCIDR",
        // The size of the table is the machine's.
        "conntrack": {"maxPerCore": 0, "min": 0},
    });
    fs::write(&config, text.to_string()).context("configure kube-proxy")?;
    let tools = std::env::var_os("WEIR_TOOLS_DIR").map(PathBuf::from);
    let tools = tools.context("WEIR_TOOLS_DIR is not set: run this by cargo xtask bench")?;
    let mut command = Command::new(tools.join("kube-proxy"));
    command.arg("--config").arg(&config);
    Daemon::start(node, command, &dir.join("kube-proxy.log"))
}

/// For how many Services there are rules.
fn count(node: &Member, mode: Mode) -> Result<usize> {
    Ok(match mode {
        Mode::Iptables => {
            nat_table(node)?.lines().filter(|line| line.starts_with(":KUBE-SVC-")).count()
        }
        Mode::Nftables => {
            let list = ["list", "map", "ip", "kube-proxy", "service-ips"];
            let listed = node.command("nft")?.args(list).finish()?;
            // It is not there at first.
            String::from_utf8_lossy(&listed.stdout).matches(" : goto service-").count()
        }
    })
}

fn find(node: &Member, mode: Mode, measured: &Service) -> Result<Option<usize>> {
    if mode == Mode::Nftables {
        return Ok(None);
    }
    let address = format!("-d {}/32 ", measured.address);
    let table = nat_table(node)?;
    let mut rules = table.lines().filter(|line| line.starts_with("-A KUBE-SERVICES "));
    match rules.position(|line| line.contains(&address)) {
        Some(index) => Ok(Some(index + 1)),
        None => bail!("no rule leads to the measured Service"),
    }
}

fn nat_table(node: &Member) -> Result<String> {
    node.command("iptables-save")?.args(["-t", "nat"]).stdout()
}
