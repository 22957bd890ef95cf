//! Services that are deleted, recreated, or change their type.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{AttachedPod, Cluster, Connection, Families, ask_tcp, ask_udp, until};

use super::{Backend, reaches, web, with};

/// Checks that no Service has the address any more.
fn is_unreachable(client: &AttachedPod, target: SocketAddr) -> Result<()> {
    ensure!(ask_tcp(client, target).is_err(), "{target} is reachable");
    Ok(())
}

#[test]
fn a_service_that_is_deleted_and_recreated_at_once_is_served_at_once() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let client = cluster.node(1)?.pod("client")?;
        let (old, new) =
            (Backend::on(cluster.node(1)?, "old")?, Backend::on(cluster.node(2)?, "new")?);
        let manifests = cluster.manifests()?;
        let service = with(web(Families::Dual), &[&old]);
        manifests.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "old")?;
        }
        let mut connections = service
            .frontends()
            .iter()
            .map(|at| Connection::start(&client, *at))
            .collect::<Result<Vec<_>>>()?;
        // The first rounds recreate the Service at once, the last ones after it was gone.
        for round in 0..4 {
            let backend = if round % 2 == 0 { &new } else { &old };
            let again = with(web(Families::Dual), &[backend]).uid(&format!("web-{round}"));
            manifests.remove_service(&service)?;
            if round >= 2 {
                for target in service.frontends() {
                    until("the Service is gone", || is_unreachable(&client, target))?;
                }
            }
            manifests.put_service(&again)?;
            for target in again.frontends() {
                reaches(&client, target, &backend.name)?;
                for _ in 0..5 {
                    ensure!(ask_tcp(&client, target)?.server == backend.name);
                    ensure!(ask_udp(&client, target)?.server == backend.name);
                }
            }
        }
        connections.iter_mut().try_for_each(|connection| {
            let reply = connection.ask().context("a connection to the first Service")?;
            ensure!(reply.server == "old", "{reply:?}");
            Ok(())
        })
    })
}

#[test]
fn a_service_may_become_headless_or_external_name_and_cluster_ip_again() -> Result<()> {
    Cluster::new(1).pods(Families::Dual).services().test(|cluster| {
        let node = cluster.node(1)?;
        let (client, backend) = (node.pod("client")?, Backend::on(node, "backend")?);
        let service = with(web(Families::Dual), &[&backend]);
        let headless =
            service.clone().with("clusterIP", json!("None")).with("clusterIPs", json!(["None"]));
        let name = web(Families::Dual)
            .with("type", json!("ExternalName"))
            .with("externalName", json!("example.org"))
            .with("clusterIP", json!(null))
            .with("clusterIPs", json!(null));
        for other in [headless, name] {
            cluster.manifests()?.put_service(&service)?;
            for target in service.frontends() {
                reaches(&client, target, "backend")?;
            }
            cluster.manifests()?.put_service(&other)?;
            for target in service.frontends() {
                until("the Service has no cluster IP", || is_unreachable(&client, target))?;
            }
        }
        cluster.manifests()?.put_service(&service)?;
        service.frontends().into_iter().try_for_each(|at| reaches(&client, at, "backend"))
    })
}
