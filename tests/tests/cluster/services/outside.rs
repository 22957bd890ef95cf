//! Machines outside of the cluster reach Services by a node that their network routes cluster IPs to.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ipnetwork::IpNetwork;
use weir_tests::lab::{Cluster, Families, Member, Mode, Node, Stack, ask_tcp, until};

use super::refusal::refuses;
use super::{Backend, reaches, web, with};

/// A machine behind the underlay's router, which has a way to cluster IPs by a node.
fn outside(cluster: &Cluster, by: &Member) -> Result<Node> {
    let (machine, _) = cluster.outside()?;
    for address in by.manifest().addresses() {
        let (family, network) = match address {
            IpAddr::V4(_) => ("-4", "10.96.0.0/12"),
            IpAddr::V6(_) => ("-6", "fd96::/112"),
        };
        cluster.underlay().sh(&format!("ip {family} route add {network} via {address}"))?;
    }
    Ok(machine)
}

#[test]
fn a_machine_outside_of_the_cluster_reaches_services_by_a_node() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        let builder = Cluster::new(2).pods(Families::Dual).underlay(Families::Dual).mode(mode);
        builder.services().test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
            let client = outside(cluster, near)?;
            for backend in &backends {
                let service = with(web(Families::Dual), &[backend]);
                cluster.world()?.put_service(&service)?;
                for target in service.targets() {
                    reaches(&client, target, &backend.name).with_context(|| format!("{target}"))?;
                    // Or the answer would not come back by this node.
                    let seen = ask_tcp(&client, target)?.client;
                    ensure!(is_of(near, seen), "{} sees {seen}", backend.name);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether an address is the node's own, on the underlay or among its pods.
fn is_of(node: &Member, address: IpAddr) -> bool {
    let manifest = node.manifest();
    let mut subnets = manifest.subnets().iter().filter_map(|cidr| cidr.parse::<IpNetwork>().ok());
    manifest.addresses().contains(&address) || subnets.any(|subnet| subnet.contains(address))
}

#[test]
fn a_machine_outside_of_the_cluster_is_refused_where_nobody_serves() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).underlay(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let backend = Backend::on(node, "backend")?;
        let client = outside(cluster, node)?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.world()?.put_service(&service)?;
        for target in service.targets() {
            reaches(&client, target, "backend")?;
            refuses(&client, SocketAddr::new(target.ip(), 81))?;
        }
        cluster.world()?.put_service(&service.clone().without_endpoints())?;
        for target in service.targets() {
            until("the service refuses", || refuses(&client, target))?;
        }
        Ok(())
    })
}
