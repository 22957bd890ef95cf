//! Pods in the host network: as clients and as backends of Services.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Member, Server, ask_tcp};

use super::testbed::{Case, in_each_case, on_shared_testbeds};
use super::{TARGET_PORT, reaches};

/// A server in the host network of a node.
struct Host<'a> {
    node: &'a Member,
    _servers: Vec<Server>,
}

impl<'a> Host<'a> {
    fn on(node: &'a Member) -> Result<Self> {
        let own = node.manifest().addresses().iter();
        let start = |ip: &IpAddr| Server::start_at(node, (*ip, TARGET_PORT).into(), node.name());
        Ok(Self { node, _servers: own.map(start).collect::<Result<_>>()? })
    }

    /// Writes a Service with this backend.
    fn serve(&self, case: &Case<'_>) -> Result<SocketAddr> {
        let mut addresses = self.node.manifest().addresses().iter().copied();
        let own = addresses.find(|ip| ip.is_ipv4() == case.ipv4).context("no such address")?;
        let service = case.service(6).endpoint(&[own], self.node.name());
        case.manifests()?.put_service(&service)?;
        Ok(service.frontends()[0])
    }
}

#[test]
fn pods_and_processes_reach_a_service_with_a_host_network_backend() -> Result<()> {
    on_shared_testbeds(|scope| {
        let cluster = scope.testbed.cluster();
        let hosts = [Host::on(cluster.node(1)?)?, Host::on(cluster.node(2)?)?];
        scope.in_each_case(|case| {
            let host = &hosts[usize::from(case.remote)];
            let target = host.serve(case)?;
            reaches(case.client, target, host.node.name()).context("a pod")?;
            reaches(case.node()?, target, host.node.name()).context("a process")
        })
    })
}

#[test]
fn a_process_of_a_node_reaches_local_and_remote_backends_on_every_path() -> Result<()> {
    in_each_case(|case| {
        let backend = &case.backends[0];
        let target = case.serve(1, &[backend])?;
        let node = case.node()?;
        reaches(node, target, &backend.name)?;
        let reply = ask_tcp(node, target)?;
        ensure!(reply.client != case.address_of(case.client)?, "{reply:?}");
        Ok(())
    })
}
