//! Pods in their node's own network: as clients and as backends of Services.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Member, Server, ask_tcp};

use super::matrix::{Spot, everywhere, on_each_way};
use super::{TARGET, reaches};

/// A server in a node's own network.
struct Host<'a> {
    node: &'a Member,
    _servers: Vec<Server>,
}

impl<'a> Host<'a> {
    fn on(node: &'a Member) -> Result<Self> {
        let own = node.manifest().addresses().iter();
        let start = |ip: &IpAddr| Server::start_at(node, (*ip, TARGET).into(), node.name());
        Ok(Self { node, _servers: own.map(start).collect::<Result<_>>()? })
    }

    /// A Service that leads to it.
    fn serve(&self, spot: &Spot<'_>) -> Result<SocketAddr> {
        let mut addresses = self.node.manifest().addresses().iter().copied();
        let own = addresses.find(|ip| ip.is_ipv4() == spot.ipv4).context("no such address")?;
        let service = spot.service(6).endpoint(&[own], self.node.name());
        spot.world()?.put_service(&service)?;
        Ok(service.targets()[0])
    }
}

#[test]
fn pods_and_processes_reach_a_service_that_a_node_itself_serves() -> Result<()> {
    on_each_way(|part| {
        let cluster = part.stage.cluster();
        let hosts = [Host::on(cluster.node(1)?)?, Host::on(cluster.node(2)?)?];
        part.everywhere(|spot| {
            let host = &hosts[usize::from(spot.across)];
            let target = host.serve(spot)?;
            reaches(spot.client, target, host.node.name()).context("a pod")?;
            reaches(spot.node()?, target, host.node.name()).context("a process")
        })
    })
}

#[test]
fn a_process_of_a_node_reaches_pods_of_its_node_and_of_another_every_way() -> Result<()> {
    everywhere(|spot| {
        let backend = &spot.backends[0];
        let target = spot.serve(1, &[backend])?;
        let node = spot.node()?;
        reaches(node, target, &backend.name)?;
        let who = ask_tcp(node, target)?;
        ensure!(who.client != spot.address_of(spot.client)?, "{who:?}");
        Ok(())
    })
}
