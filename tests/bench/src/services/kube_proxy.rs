//! The rules of kube-proxy, made by the real program.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use weir_api_tests::Daemon;
use weir_tests::lab::{Cluster, Member, Stack};

use super::api_server::ApiServer;
use super::objects::Service;

/// The modes of kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Iptables,
    Nftables,
}

/// The rules of kube-proxy on both nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synced {
    /// From the start of kube-proxy to the last rule.
    pub(crate) took: Duration,
    /// The position of the measured Service's rule among those that a packet is compared with. It
    /// begins with 1, is that of the node with the later rule, and exists with iptables only.
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

/// Runs kube-proxy on both nodes until the rules are complete, and ends it: the rules stay. Gives
/// `None` when they are not complete within `timeout`.
pub(crate) fn program(
    api_server: &ApiServer,
    cluster: &Cluster,
    mode: Mode,
    measured: &Service,
    services: u32,
    timeout: Duration,
) -> Result<Option<Synced>> {
    let started = Instant::now();
    let mut running = Vec::new();
    for node in cluster.nodes() {
        let link = api_server.connect(node)?;
        running.push((start(api_server, node, mode)?, link));
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
                position = position.max(rule_position(node, mode, measured)?);
            }
            return Ok(Some(Synced { took, position }));
        }
        if took > timeout {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn start(api_server: &ApiServer, node: &Member, mode: Mode) -> Result<Daemon> {
    let dir = node.machine().dir();
    let config = dir.join("kube-proxy.yaml");
    let text = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode.to_string(),
        "hostnameOverride": node.name(),
        "clientConnection": {"kubeconfig": api_server.kubeconfig()},
        "clusterCIDR": "10.244.0.0/16",
        "detectLocalMode": "ClusterCIDR",
        // The conntrack table belongs to the host.
        "conntrack": {"maxPerCore": 0, "min": 0},
    });
    fs::write(&config, text.to_string()).context("configure kube-proxy")?;
    let tools = std::env::var_os("WEIR_TOOLS_DIR").map(PathBuf::from);
    let tools = tools.context("WEIR_TOOLS_DIR is not set: run this by cargo xtask bench")?;
    let mut command = Command::new(tools.join("kube-proxy"));
    command.arg("--config").arg(&config);
    Daemon::start(node, command, &dir.join("kube-proxy.log"))
}

/// The number of Services that have rules.
fn count(node: &Member, mode: Mode) -> Result<usize> {
    Ok(match mode {
        Mode::Iptables => {
            nat_table(node)?.lines().filter(|line| line.starts_with(":KUBE-SVC-")).count()
        }
        Mode::Nftables => {
            let list = ["list", "map", "ip", "kube-proxy", "service-ips"];
            let listed = node.command("nft")?.args(list).finish()?;
            // The map does not exist at first.
            String::from_utf8_lossy(&listed.stdout).matches(" : goto service-").count()
        }
    })
}

fn rule_position(node: &Member, mode: Mode, measured: &Service) -> Result<Option<usize>> {
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
