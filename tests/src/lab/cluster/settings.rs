//! The settings of a cluster.

use std::path::Path;

use serde_json::{Value, json};

/// Address families, of pods or of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

impl Families {
    /// Whether IPv4 is among them.
    #[must_use]
    pub fn ipv4(self) -> bool {
        self != Self::V6
    }

    /// Whether IPv6 is among them.
    #[must_use]
    pub fn ipv6(self) -> bool {
        self != Self::V4
    }
}

/// How packets reach another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Through a tunnel.
    Vxlan,
    /// By routes to the other nodes, which all have to be on the same subnet.
    HostGw,
    /// By routes to nodes on the same subnet, through a tunnel to others.
    DirectRouting,
}

/// Settings that all nodes of a cluster share.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) pods: Families,
    pub(super) underlay: Families,
    /// Of the underlay, in bytes.
    pub(super) mtu: u32,
    /// All IPv4 pods of the cluster.
    pub(super) network: String,
    /// The agents' log level.
    pub(super) log_level: String,
    /// More flags for the agents.
    pub(super) flags: Vec<String>,
}

/// The default network of all IPv4 pods of the cluster.
pub(super) const NETWORK: &str = "10.244.0.0/16";
const IPV6_NETWORK: &str = "fd44::/48";

impl Settings {
    /// The subnets for the pods of a node.
    pub(super) fn pod_cidrs(&self, number: u8) -> Vec<String> {
        let mut cidrs = Vec::new();
        if self.pods.ipv4() {
            cidrs.push(format!("10.244.{number}.0/24"));
        }
        if self.pods.ipv6() {
            cidrs.push(format!("fd44:0:0:{number:x}::/64"));
        }
        cidrs
    }

    /// The configuration file, in flannel's format.
    pub(super) fn net_conf(&self) -> Value {
        let mut conf = json!({
            "EnableIPv4": self.pods.ipv4(),
            "EnableIPv6": self.pods.ipv6(),
            "Backend": match self.mode {
                Mode::Vxlan => json!({ "Type": "vxlan" }),
                Mode::HostGw => json!({ "Type": "host-gw" }),
                Mode::DirectRouting => json!({ "Type": "vxlan", "DirectRouting": true }),
            },
        });
        if self.pods.ipv4() {
            conf["Network"] = json!(self.network);
        }
        if self.pods.ipv6() {
            conf["IPv6Network"] = json!(IPV6_NETWORK);
        }
        conf
    }

    /// The agent's flags, with all of its directories below `dir`.
    pub(super) fn agent_flags(&self, name: &str, dir: &Path, manifests: &Path) -> Vec<String> {
        let below = |path: &str| dir.join(path).to_string_lossy().into_owned();
        let mut flags = vec!["--node-name".to_owned(), name.to_owned()];
        for (flag, value) in [
            ("--manifests", manifests.to_string_lossy().into_owned()),
            ("--net-conf", below("net-conf.json")),
            ("--cni-bin-dir", below("bin")),
            ("--cni-conf-dir", below("net.d")),
            ("--run-dir", below("run")),
            ("--data-dir", below("networks")),
            ("--pin-dir", below("bpf/weir")),
            ("--log-level", self.log_level.clone()),
        ] {
            flags.extend([flag.to_owned(), value]);
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }
}
