//! Pods on different nodes reach each other, in all modes and families.

use anyhow::Result;
use weir_tests::lab::{Builder, Cluster, Families, Mode, ping, tcp_echo};

use crate::fixture::{new_pods_talk, pod_everywhere};

fn pods_talk(builder: Builder) -> Result<()> {
    builder.test(|cluster| new_pods_talk(cluster, "pod"))
}

#[test]
fn ipv4_pods_talk_through_a_tunnel() -> Result<()> {
    pods_talk(Cluster::new(3))
}

#[test]
fn ipv6_pods_talk_through_a_tunnel_over_ipv4() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::V6))
}

#[test]
fn dual_stack_pods_talk_through_a_tunnel_over_ipv4() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::Dual))
}

#[test]
fn dual_stack_pods_talk_through_a_tunnel_over_ipv6() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::Dual).underlay(Families::V6))
}

#[test]
fn ipv4_pods_talk_through_a_tunnel_over_ipv6() -> Result<()> {
    pods_talk(Cluster::new(2).underlay(Families::V6))
}

#[test]
fn ipv6_pods_talk_through_a_tunnel_over_ipv6() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::V6).underlay(Families::V6))
}

#[test]
fn dual_stack_pods_talk_through_a_tunnel_over_a_dual_stack_underlay() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::Dual).underlay(Families::Dual))
}

#[test]
fn pods_talk_through_a_tunnel_across_a_router() -> Result<()> {
    pods_talk(Cluster::new(2).pods(Families::Dual).behind_router(2))
}

#[test]
fn ipv4_pods_talk_by_routes() -> Result<()> {
    pods_talk(Cluster::new(3).mode(Mode::HostGw))
}

#[test]
fn ipv6_pods_talk_by_routes() -> Result<()> {
    pods_talk(Cluster::new(2).mode(Mode::HostGw).pods(Families::V6))
}

#[test]
fn dual_stack_pods_talk_by_routes() -> Result<()> {
    pods_talk(Cluster::new(2).mode(Mode::HostGw).pods(Families::Dual))
}

#[test]
fn pods_and_nodes_talk_to_each_other_across_nodes() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        Cluster::new(2).mode(mode).test(|cluster| {
            let pods = pod_everywhere(cluster, "pod")?;
            let (node, far) = (cluster.node(1)?, cluster.node(2)?);
            tcp_echo(node, &pods[1], pods[1].address()?, b"from a node to a pod of another")?;
            tcp_echo(&pods[0], far, far.address()?, b"from a pod to another node")?;
            ping(&pods[0], far.address()?)
        })?;
    }
    Ok(())
}
