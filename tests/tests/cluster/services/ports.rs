//! Services with several ports.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{
    Cluster, Connection, Families, Server, ServiceManifest, ask_tcp, ask_udp, until,
};

use super::rejection::refuses;
use super::resilience::no_request_is_lost;
use super::{
    Backend, TARGET_PORT, cluster_ips, reaches, reaches_by_tcp, reaches_by_udp, web, with,
};

const OTHER: u16 = 8081;

#[test]
fn each_port_of_a_service_has_its_own_target_by_protocol_and_number() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let client = cluster.node(1)?.pod("client")?;
        let pod = cluster.node(2)?.pod("backend")?;
        let (_one, _two) =
            (Server::start(&pod, TARGET_PORT, "one")?, Server::start(&pod, OTHER, "two")?);
        // Port 53 over both protocols, each with another target port.
        let service = ServiceManifest::new("dns", &cluster_ips(Families::Dual), 53, TARGET_PORT)
            .without_port("udp")
            .port("dns-udp", "UDP", 53, OTHER)
            .port("more", "TCP", 54, OTHER)
            .endpoint(&pod.addresses(), "node2");
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches_by_tcp(&client, target, "one")?;
            reaches_by_udp(&client, target, "two")?;
            let more = SocketAddr::new(target.ip(), 54);
            ensure!(ask_tcp(&client, more)?.server == "two");
            ensure!(ask_udp(&client, more).is_err(), "the port is TCP only");
        }
        Ok(())
    })
}

/// A named target port may have another number in each slice.
#[test]
fn a_named_target_port_may_differ_between_pods() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let client = cluster.node(1)?.pod("client")?;
        let (old, new) = (cluster.node(1)?.pod("old")?, cluster.node(2)?.pod("new")?);
        let _servers =
            [Server::start(&old, TARGET_PORT, "old")?, Server::start(&new, OTHER, "new")?];
        let ips = cluster_ips(Families::Dual);
        let service = ServiceManifest::new("named", &ips, 80, TARGET_PORT);
        let mut yaml = service.clone().endpoint(&old.addresses(), "node1").yaml();
        for ip in new.addresses() {
            let kind = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"namespace": "default", "name": format!("named-new-{kind}"),
                    "labels": {"kubernetes.io/service-name": "named"}},
                "addressType": kind,
                "ports": [{"name": "tcp", "protocol": "TCP", "port": OTHER}],
                "endpoints": [{"addresses": [ip], "nodeName": "node2"}],
            });
            yaml += &format!("\n---\n{slice}");
        }
        cluster.manifests()?.write("named.yaml", &yaml)?;
        for target in service.frontends() {
            for name in ["old", "new"] {
                reaches_by_tcp(&client, target, name)?;
            }
        }
        Ok(())
    })
}

#[test]
fn adding_and_removing_ports_does_not_disturb_flows_of_another_port() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let client = cluster.node(1)?.pod("client")?;
        let backend = Backend::on(cluster.node(2)?, "backend")?;
        let _more = Server::start(&backend.pod, OTHER, "more")?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "backend")?;
            let more = SocketAddr::new(target.ip(), 81);
            let mut connection = Connection::start(&client, target)?;
            no_request_is_lost(&client, target, || {
                for _ in 0..5 {
                    let both = service.clone().port("more", "TCP", 81, OTHER);
                    cluster.manifests()?.put_service(&both)?;
                    until("the port is added", || ask_tcp(&client, more).map(drop))?;
                    cluster.manifests()?.put_service(&service)?;
                    until("the port is removed", || refuses(&client, more))?;
                }
                Ok(())
            })?;
            connection.ask().context("the existing connection")?;
        }
        Ok(())
    })
}
