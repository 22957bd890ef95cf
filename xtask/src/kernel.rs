//! The features of the kernel that the tests need. A probe tries each one in a namespace of its own,
//! which ends with the probe, so that nothing is left on the machine.

use std::process::Command;

use anyhow::{Result, bail};

use xtask::command;

/// Something that a kernel can be built without.
struct Feature {
    name: &'static str,
    option: &'static str,
    /// Arguments of `unshare` that succeed only with this feature.
    probe: &'static [&'static str],
}

const FEATURES: &[Feature] = &[
    Feature { name: "network namespaces", option: "CONFIG_NET_NS", probe: &["--net", "true"] },
    Feature { name: "mount namespaces", option: "CONFIG_NAMESPACES", probe: &["--mount", "true"] },
    Feature {
        name: "the other namespaces of a container",
        option: "CONFIG_PID_NS, CONFIG_IPC_NS, CONFIG_UTS_NS",
        probe: &["--pid", "--ipc", "--uts", "--fork", "true"],
    },
    Feature {
        name: "bridges",
        option: "CONFIG_BRIDGE",
        probe: &["--net", "ip", "link", "add", "weir0", "type", "bridge"],
    },
    Feature {
        name: "veth pairs",
        option: "CONFIG_VETH",
        probe: &["--net", "ip", "link", "add", "weir0", "type", "veth", "peer", "name", "weir1"],
    },
    Feature {
        name: "VXLAN",
        option: "CONFIG_VXLAN",
        probe: &[
            "--net", "ip", "link", "add", "weir0", "type", "vxlan", "id", "1", "dstport", "8472",
        ],
    },
    Feature {
        name: "IPv6 (and not switched off by net.ipv6.conf.default.disable_ipv6)",
        option: "CONFIG_IPV6",
        probe: &["--net", "ip", "-6", "address", "add", "2001:db8::1/128", "dev", "lo"],
    },
    Feature {
        name: "overlay file systems",
        option: "CONFIG_OVERLAY_FS",
        probe: &[
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs none /tmp; cd /tmp; mkdir lower upper work all
             mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work all",
        ],
    },
];

/// What kubelets, containers and Services in a cluster need in addition.
const CLUSTER_FEATURES: &[Feature] = &[
    Feature {
        name: "control groups, version 2 of them mounted beside or instead of version 1",
        option: "CONFIG_CGROUPS",
        probe: &["--cgroup", "grep", "--quiet", " cgroup2 ", "/proc/mounts"],
    },
    Feature {
        name: "a file system for pinned eBPF objects",
        option: "CONFIG_BPF_SYSCALL",
        probe: &["--mount", "mount", "-t", "bpf", "none", "/mnt"],
    },
    Feature {
        name: "nftables with address translation",
        option: "CONFIG_NF_TABLES, CONFIG_NFT_NAT",
        probe: &[
            "--net",
            "nft",
            "add table ip a; add chain ip a b { type nat hook postrouting priority 100; }; \
             add rule ip a b masquerade",
        ],
    },
    Feature {
        name: "iptables with address translation",
        option: "CONFIG_NETFILTER_XTABLES, CONFIG_NETFILTER_XT_NAT",
        probe: &["--net", "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"],
    },
    Feature {
        name: "netfilter for bridged packets",
        option: "CONFIG_BRIDGE_NETFILTER",
        probe: &["--net", "test", "-e", "/proc/sys/net/bridge/bridge-nf-call-iptables"],
    },
];

/// Fails unless the running kernel has what the tests need. The error names each missing feature.
pub(crate) fn demand_features() -> Result<()> {
    demand(FEATURES.iter())
}

/// The same for a cluster.
pub(crate) fn demand_for_cluster() -> Result<()> {
    demand(FEATURES.iter().chain(CLUSTER_FEATURES))
}

fn demand(features: impl Iterator<Item = &'static Feature>) -> Result<()> {
    let missing: Vec<_> = features.filter_map(find_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks features that the tests need:\n{}", missing.join("\n"));
}

/// What to say about the feature, if it is missing.
fn find_missing(Feature { name, option, probe }: &Feature) -> Option<String> {
    let error = command::output(Command::new("unshare").args(*probe)).err()?;
    let reason = format!("{error:#}").replace('\n', " ");
    Some(format!("{name} ({option}): {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_feature_is_named_with_its_option_and_the_reason() {
        let feature =
            Feature { name: "time travel", option: "CONFIG_TARDIS", probe: &["--no-such-option"] };
        let line = find_missing(&feature).unwrap();
        assert!(line.starts_with("time travel (CONFIG_TARDIS): unshare"), "{line}");
        assert!(line.contains("no-such-option"), "{line}");
    }
}
