//! What cluster somebody wants: everything that `up` lets one choose, and the addresses that follow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The choices of `up`.
#[derive(Args, Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Shape {
    /// How many nodes
    #[arg(long, default_value_t = Self::default().nodes, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: u8,

    /// Address families of pods, Services and nodes
    #[arg(long, value_enum, default_value_t = Self::default().ip_family)]
    pub(crate) ip_family: Family,

    /// How Weir carries packets between nodes
    #[arg(long, value_enum, default_value_t = Self::default().mode)]
    pub(crate) mode: Mode,

    /// Who serves Services
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
    /// One address of IPv4 each
    Ipv4,
    /// One address of IPv6 each
    Ipv6,
    /// One of each; IPv4 is the first
    Dual,
}

/// Backends of Weir's overlay.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Mode {
    /// A tunnel
    Vxlan,
    /// Plain routes
    HostGw,
}

/// Who serves Services.
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

impl Default for Shape {
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

impl Shape {
    /// Says what cannot be had before anything starts.
    ///
    /// # Errors
    /// When it asks for what does not fit together.
    pub(crate) fn check(&self) -> Result<()> {
        if (self.proxy, self.cni) == (Proxy::Weir, Cni::Reference) {
            bail!("Weir serves Services to pods of its own network: use --cni weir");
        }
        Ok(())
    }
}

impl Family {
    /// Of IPv4 and IPv6 those that are wanted, the first one first.
    fn pick<T>(self, v4: T, v6: T) -> Vec<T> {
        match self {
            Self::Ipv4 => vec![v4],
            Self::Ipv6 => vec![v6],
            Self::Dual => vec![v4, v6],
        }
    }

    /// Where pods' subnets come from.
    pub(crate) fn pod_cidrs(self) -> String {
        self.pick("10.244.0.0/16", "fd00:244::/48").join(",")
    }

    /// Where Services' addresses come from.
    pub(crate) fn service_cidrs(self) -> String {
        self.pick("10.96.0.0/16", "fd00:96::/112").join(",")
    }

    /// The Service address of DNS.
    pub(crate) fn dns(self) -> &'static str {
        match self {
            Self::Ipv4 | Self::Dual => "10.96.0.10",
            Self::Ipv6 => "fd00:96::a",
        }
    }

    /// The addresses of the machine with the control plane.
    pub(crate) fn hub(self) -> Vec<IpAddr> {
        self.on_underlay(1)
    }

    /// The addresses of a node, which are numbered from 1.
    pub(crate) fn node(self, number: u8) -> Vec<IpAddr> {
        self.on_underlay(10 + number)
    }

    fn on_underlay(self, host: u8) -> Vec<IpAddr> {
        let v6 = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, host.into());
        self.pick(IpAddr::V4(Ipv4Addr::new(172, 31, 77, host)), IpAddr::V6(v6))
    }
}

/// The length of the underlay's prefix.
pub(crate) fn prefix(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// Addresses in a list, as flags want them.
pub(crate) fn joined(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_cluster_has_ipv4_first() {
        assert_eq!(joined(&Family::Dual.node(2)), "172.31.77.12,fd00:77::c");
        assert_eq!(Family::Dual.pod_cidrs(), "10.244.0.0/16,fd00:244::/48");
        assert_eq!(joined(&Family::Ipv6.hub()), "fd00:77::1");
    }
}
