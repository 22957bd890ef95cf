//! Fixtures of many tests: pods on all nodes, traffic between them, and nodes that are only manifests.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{
    AttachedPod, Cluster, Member, NodeManifest, Observe, Stack, ping, tcp_echo, tcp_transfer, until,
};

const MEGABYTE: usize = 1 << 20;

/// A pod on each node.
pub(crate) fn pod_everywhere(cluster: &Cluster, name: &str) -> Result<Vec<AttachedPod>> {
    cluster.nodes().iter().map(|node| node.pod(name)).collect()
}

/// Every pod reaches every other, in all of their families.
pub(crate) fn all_talk(pods: &[AttachedPod]) -> Result<()> {
    for (index, from) in pods.iter().enumerate() {
        for (other, to) in pods.iter().enumerate() {
            if index != other {
                talk(from, to)
                    .with_context(|| format!("from node {} to {}", index + 1, other + 1))?;
            }
        }
    }
    Ok(())
}

/// Echo requests, and small and large transfers over TCP.
pub(crate) fn talk(from: &impl Stack, to: &AttachedPod) -> Result<()> {
    for address in to.addresses() {
        ping(from, address)?;
        tcp_echo(from, to, address, b"hello")?;
        tcp_transfer(from, to, address, 4 * MEGABYTE)?;
    }
    Ok(())
}

/// New pods on all nodes reach each other.
pub(crate) fn new_pods_talk(cluster: &Cluster, name: &str) -> Result<()> {
    all_talk(&pod_everywhere(cluster, name)?)
}

/// A Node manifest on the first subnet, without a machine.
pub(crate) fn fake_node(number: u8) -> NodeManifest {
    NodeManifest::new(&format!("fake{number}"))
        .created(&format!("2026-02-01T{:02}:{:02}:00Z", number / 60, number % 60))
        .pod_cidrs(&[format!("10.244.{number}.0/24")])
        .internal_ips(&[IpAddr::from([172, 31, 70, number])])
}

/// Waits until duplicate address detection is over, because its end is a notification, too.
pub(crate) fn addresses_are_ready(node: &Member) -> Result<()> {
    until("duplicate address detection is over", || {
        let busy = node.links()?.iter().any(|link| link.addresses.iter().any(|ip| ip.tentative));
        ensure!(!busy, "not yet");
        Ok(())
    })
}

/// The number of the agent's reconciliation passes.
pub(crate) fn passes(node: &Member) -> Result<f64> {
    Ok(node.get("/metrics")?.metric("weir_reconciles_total").unwrap_or_default())
}
