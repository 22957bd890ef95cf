//! The baseline: the same topology without Weir, with flannel's entries made by iproute2.

use std::net::IpAddr;

use anyhow::{Context, Result};
use weir_tests::lab::{Added, Cluster, Cni, Config, Member, Observe, Pod, Stack};

/// Whether flannel's packet filter rules are installed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Routes, neighbour entries and FDB entries alone.
    None,
    /// Also what flannel's nftables mode installs.
    Flannel,
}

/// Two nodes with a pod on each.
pub(crate) struct Baseline {
    pods: Vec<(Pod, Added)>,
    _cluster: Cluster,
}

impl Baseline {
    pub(crate) fn new(rules: Rules) -> Result<Self> {
        let cluster = two_nodes()?;
        let mut pods = Vec::new();
        for node in cluster.nodes() {
            if rules == Rules::Flannel {
                let text = flannel_rules(subnet(node)?);
                node.command("nft")?.args(["-f", "-"]).stdin(text).stdout()?;
            }
            pods.push(pod(node, "pod")?);
        }
        Ok(Self { pods, _cluster: cluster })
    }

    /// The client, the server and the server's address.
    pub(crate) fn ends(&self) -> Result<(&Pod, &Pod, IpAddr)> {
        let [(client, _), (server, added)] = &*self.pods else { anyhow::bail!("not two pods") };
        Ok((client, server, added.address()?))
    }
}

/// Two nodes with a tunnel and routes to each other's pods, without packet filter rules.
pub(crate) fn two_nodes() -> Result<Cluster> {
    let cluster = Cluster::new(2).stopped().build()?;
    for node in cluster.nodes() {
        node.machine().set_sysctl("net/ipv4/ip_forward", "1")?;
        create_tunnel(node)?;
    }
    let [a, b] = cluster.nodes() else { anyhow::bail!("not two nodes") };
    add_peer(a, b)?;
    add_peer(b, a)?;
    Ok(cluster)
}

/// A pod on a node without an agent and without eBPF programs.
pub(crate) fn pod(node: &Member, name: &str) -> Result<(Pod, Added)> {
    let cni = Cni::new(node.machine(), Config::new(subnet(node)?).with("mtu", 1450))?;
    let pod = node.machine().pod(name)?;
    let added = cni.add(&pod)?;
    Ok((pod, added))
}

fn subnet(node: &Member) -> Result<&str> {
    Ok(node.manifest().subnets().first().context("a node without a subnet")?)
}

fn network(node: &Member) -> Result<&str> {
    Ok(subnet(node)?.trim_end_matches("/24"))
}

fn create_tunnel(node: &Member) -> Result<()> {
    let (local, network) = (node.address()?, network(node)?);
    node.sh(&format!(
        "ip link add flannel.1 type vxlan id 1 local {local} dev uplink dstport 8472 nolearning"
    ))?;
    node.sh(&format!("ip addr add {network}/32 dev flannel.1"))?;
    node.sh("ip link set flannel.1 mtu 1450 up").map(drop)
}

fn add_peer(node: &Member, peer: &Member) -> Result<()> {
    let mac = peer.link("flannel.1")?.mac.context("the tunnel has no MAC address")?;
    let (to, via, behind) = (subnet(peer)?, network(peer)?, peer.address()?);
    for line in [
        format!("ip neigh replace {via} lladdr {mac} dev flannel.1 nud permanent"),
        format!("bridge fdb append {mac} dev flannel.1 dst {behind}"),
        format!("ip route replace {to} via {via} dev flannel.1 onlink"),
    ] {
        node.sh(&line)?;
    }
    Ok(())
}

/// The nftables rules of flannel with `EnableNFTables` on a node, for IPv4.
fn flannel_rules(subnet: &str) -> String {
    let network = "10.244.0.0/16";
    format!(
        "table ip flannel-ipv4 {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip saddr {network} accept
    ip daddr {network} accept
  }}
  chain postrtg {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark 0x4000 return
    ip saddr {subnet} ip daddr {network} return
    ip saddr {network} ip daddr {subnet} return
    ip saddr != {network} ip daddr {subnet} return
    ip saddr {network} ip daddr != 224.0.0.0/4 masquerade fully-random
    ip saddr != {network} ip daddr {network} masquerade fully-random
  }}
}}
"
    )
}
