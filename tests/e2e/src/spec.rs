//! The spec of a cluster: the options of `up`, and the addresses that follow from them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The options of `up`.
#[derive(Args, Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ClusterSpec {
    /// Number of nodes
    #[arg(long, default_value_t = Self::default().nodes, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: u8,

    /// Address families of pods, Services and nodes
    #[arg(long, value_enum, default_value_t = Self::default().ip_family)]
    pub(crate) ip_family: Family,

    /// How Weir carries packets between nodes
    #[arg(long, value_enum, default_value_t = Self::default().mode)]
    pub(crate) mode: Mode,

    /// Implementation of Services
    #[arg(long, value_enum, default_value_t = Self::default().proxy)]
    pub(crate) proxy: Proxy,

    /// The backend of upstream's kube-proxy
    #[arg(long, value_enum, default_value_t = Self::default().proxy_mode)]
    pub(crate) proxy_mode: ProxyMode,

    /// The pod network: Weir, or the reference plugins to compare with
    #[arg(long, value_enum, default_value_t = Self::default().cni)]
    pub(crate) cni: Cni,
}

/// Address families.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Family {
    /// One IPv4 address each
    Ipv4,
    /// One IPv6 address each
    Ipv6,
    /// Both; IPv4 is the primary family
    Dual,
}

/// Backends of Weir's overlay.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Mode {
    /// A tunnel
    Vxlan,
    /// Routes without a tunnel
    HostGw,
}

/// Implementations of Services.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Proxy {
    /// kube-proxy
    Upstream,
    /// Weir
    Weir,
}

/// Backends of kube-proxy.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum ProxyMode {
    /// nftables
    Nftables,
    /// iptables
    Iptables,
}

/// Pod networks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Cni {
    /// The shipped manifests
    Weir,
    /// bridge, host-local and portmap, with static routes between the nodes
    Reference,
}

/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            nodes: 2,
            ip_family: Family::Ipv4,
            mode: Mode::Vxlan,
            proxy: Proxy::Upstream,
            proxy_mode: ProxyMode::Nftables,
            cni: Cni::Weir,
        }
    }
}

impl ClusterSpec {
    /// Rejects options that do not fit together, before anything starts.
    ///
    /// # Errors
    /// When two options exclude each other.
    pub(crate) fn check(&self) -> Result<()> {
        if (self.proxy, self.cni) == (Proxy::Weir, Cni::Reference) {
            bail!("Weir serves Services to pods of its own network: use --cni weir");
        }
        Ok(())
    }
}

impl Family {
    /// The values for the families in use, in the order of the cluster's families.
    fn pick<T>(self, v4: T, v6: T) -> Vec<T> {
        match self {
            Self::Ipv4 => vec![v4],
            Self::Ipv6 => vec![v6],
            Self::Dual => vec![v4, v6],
        }
    }

    /// The ranges of pod addresses, of which each node gets a subnet.
    pub(crate) fn pod_cidrs(self) -> String {
        self.pick("10.244.0.0/16", "fd00:244::/48").join(",")
    }

    /// The ranges of ClusterIPs.
    pub(crate) fn service_cidrs(self) -> String {
        self.pick("10.96.0.0/16", "fd00:96::/112").join(",")
    }

    /// The ClusterIP of cluster DNS.
    pub(crate) fn dns(self) -> &'static str {
        match self {
            Self::Ipv4 | Self::Dual => "10.96.0.10",
            Self::Ipv6 => "fd00:96::a",
        }
    }

    /// The addresses of the hub.
    pub(crate) fn hub(self) -> Vec<IpAddr> {
        self.on_underlay(1)
    }

    /// The addresses of a node. Nodes are numbered from 1.
    pub(crate) fn node(self, number: u8) -> Vec<IpAddr> {
        self.on_underlay(10 + number)
    }

    fn on_underlay(self, host: u8) -> Vec<IpAddr> {
        let v6 = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, host.into());
        self.pick(IpAddr::V4(Ipv4Addr::new(172, 31, 77, host)), IpAddr::V6(v6))
    }
}

/// The prefix length of the underlay's subnet.
pub(crate) fn prefix_length(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// Addresses as the value of a flag: a list with commas.
pub(crate) fn join_addresses(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_cluster_has_ipv4_first() {
        assert_eq!(join_addresses(&Family::Dual.node(2)), "172.31.77.12,fd00:77::c");
        assert_eq!(Family::Dual.pod_cidrs(), "10.244.0.0/16,fd00:244::/48");
        assert_eq!(join_addresses(&Family::Ipv6.hub()), "fd00:77::1");
    }
}
