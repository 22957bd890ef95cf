//! Session affinity: clients keep their backend.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cluster, Families, ServiceManifest, Stack, ask_tcp, until};

use super::{Backend, reaches, web, with};

/// The backends that reply to a number of requests over TCP.
fn backends_of(client: &impl Stack, target: SocketAddr) -> Result<BTreeSet<String>> {
    (0..30).map(|_| Ok(ask_tcp(client, target)?.server)).collect()
}

fn with_affinity(seconds: u32) -> ServiceManifest {
    let config = json!({"clientIP": {"timeoutSeconds": seconds}});
    web(Families::Dual)
        .with("sessionAffinity", json!("ClientIP"))
        .with("sessionAffinityConfig", config)
}

#[test]
fn a_client_keeps_its_backend_while_affinity_is_on_and_the_backend_is_ready() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
        let both = [&backends[0], &backends[1]];
        let manifests = cluster.manifests()?;
        for target in web(Families::Dual).frontends() {
            // Affinity is turned on and off while the Service is in use.
            manifests.put_service(&with(web(Families::Dual), &both))?;
            until("both backends reply", || {
                ensure!(backends_of(&client, target)?.len() == 2);
                Ok(())
            })?;
            manifests.put_service(&with(with_affinity(10_800), &both))?;
            until("one backend replies", || {
                ensure!(backends_of(&client, target)?.len() == 1);
                Ok(())
            })?;
            let chosen = ask_tcp(&client, target)?.server;
            // A process of the node is a client, too.
            ensure!(backends_of(near, target)?.len() == 1);
            // A backend that is no longer ready is not kept.
            let left = if chosen == "near" { both[1] } else { both[0] };
            manifests.put_service(&with(with_affinity(10_800), &[left]))?;
            reaches(&client, target, &left.name)?;
            manifests.put_service(&with(with_affinity(10_800), &both))?;
            ensure!(backends_of(&client, target)? == BTreeSet::from([left.name.clone()]));
            manifests.put_service(&with(web(Families::Dual), &both))?;
            until("both backends reply again", || {
                ensure!(backends_of(&client, target)?.len() == 2);
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn affinity_ends_after_its_timeout() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let client = cluster.node(1)?.pod("client")?;
        let backends =
            [Backend::on(cluster.node(1)?, "near")?, Backend::on(cluster.node(2)?, "far")?];
        let service = with(with_affinity(1), &[&backends[0], &backends[1]]);
        cluster.manifests()?.put_service(&service)?;
        for target in service.frontends() {
            until("the Service is reachable", || ask_tcp(&client, target).map(drop))?;
            let first = ask_tcp(&client, target)?.server;
            until("another backend is chosen", || {
                // Any request within the timeout renews it.
                std::thread::sleep(std::time::Duration::from_millis(1100));
                ensure!(ask_tcp(&client, target)?.server != first);
                Ok(())
            })?;
        }
        Ok(())
    })
}
