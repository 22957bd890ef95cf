//! Whose a chain, a table or a link is, by its name.

use std::fmt;

use serde::Serialize;

/// Who has left something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// Kubernetes' own proxy for Services.
    KubeProxy,
    /// The network plugin that Weir takes the place of.
    Flannel,
}

/// The kubelet makes these and looks after them.
const OF_KUBELET: [&str; 3] = ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"];

impl Owner {
    /// Whether a chain is its own.
    pub(crate) fn has_chain(self, name: &str) -> bool {
        match self {
            Self::KubeProxy => name.starts_with("KUBE-") && !OF_KUBELET.contains(&name),
            Self::Flannel => name.starts_with("FLANNEL-"),
        }
    }

    /// Whether a table of nftables is its own.
    pub(crate) fn has_table(self, name: &str) -> bool {
        match self {
            Self::KubeProxy => name == "kube-proxy",
            Self::Flannel => matches!(name, "flannel-ipv4" | "flannel-ipv6"),
        }
    }

    /// Whether a link is its own.
    pub(crate) fn has_link(self, name: &str) -> bool {
        match self {
            Self::KubeProxy => name == "kube-ipvs0",
            Self::Flannel => {
                name == "cni0"
                    || name.starts_with("flannel.")
                    || name.starts_with("flannel-v6.")
                    || name.starts_with("flannel-wg")
            }
        }
    }

    /// The option of `weir cleanup` that takes it away.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::KubeProxy => "--kube-proxy",
            Self::Flannel => "--flannel",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KubeProxy => "kube-proxy",
            Self::Flannel => "flannel",
        })
    }
}

/// How chains are told: with one name of several.
pub(super) fn describe(f: &mut fmt::Formatter<'_>, table: &str, chains: &[String]) -> fmt::Result {
    match chains {
        [] => write!(f, "{table}: no chain"),
        [only] => write!(f, "{table}: chain {only}"),
        [first, ..] => write!(f, "{table}: {} chains ({first}, …)", chains.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_keeps_its_chains() {
        for chain in ["KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-PROXY-CANARY", "KUBE-PROXY-FIREWALL"] {
            assert!(Owner::KubeProxy.has_chain(chain), "{chain}");
        }
        for chain in ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "FLANNEL-FWD", "DOCKER", "FORWARD"] {
            assert!(!Owner::KubeProxy.has_chain(chain), "{chain}");
        }
    }

    #[test]
    fn a_foreign_bridge_is_not_flannels() {
        assert!(Owner::Flannel.has_link("cni0") && Owner::Flannel.has_link("flannel.1"));
        assert!(!Owner::Flannel.has_link("cni1") && !Owner::Flannel.has_link("flannel"));
    }
}
