//! The owner of a chain, a table or a link, by its name.

use std::fmt;

use serde::Serialize;

/// An owner of leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owner {
    /// The Service proxy of Kubernetes.
    KubeProxy,
    /// The network plugin that Weir replaces.
    Flannel,
}

/// Chains of the kubelet.
const OF_KUBELET: [&str; 3] = ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"];

impl Owner {
    /// Whether a chain is of this owner.
    pub(crate) fn has_chain(self, name: &str) -> bool {
        match self {
            Self::KubeProxy => name.starts_with("KUBE-") && !OF_KUBELET.contains(&name),
            Self::Flannel => name.starts_with("FLANNEL-"),
        }
    }

    /// Whether an nftables table is of this owner.
    pub(crate) fn has_table(self, name: &str) -> bool {
        match self {
            Self::KubeProxy => name == "kube-proxy",
            Self::Flannel => matches!(name, "flannel-ipv4" | "flannel-ipv6"),
        }
    }

    /// Whether a link is of this owner.
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

    /// The option of `weir cleanup` for this owner.
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

/// Describes chains by their number and the first name.
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
    fn chains_of_the_kubelet_are_not_of_kube_proxy() {
        for chain in ["KUBE-SERVICES", "KUBE-SVC-ABC", "KUBE-PROXY-CANARY", "KUBE-PROXY-FIREWALL"] {
            assert!(Owner::KubeProxy.has_chain(chain), "{chain}");
        }
        for chain in ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "FLANNEL-FWD", "DOCKER", "FORWARD"] {
            assert!(!Owner::KubeProxy.has_chain(chain), "{chain}");
        }
    }

    #[test]
    fn another_bridge_is_not_of_flannel() {
        assert!(Owner::Flannel.has_link("cni0") && Owner::Flannel.has_link("flannel.1"));
        assert!(!Owner::Flannel.has_link("cni1") && !Owner::Flannel.has_link("flannel"));
    }
}
