//! The choice of endpoints for new flows, and the endpoints that keep existing ones.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::lab::{Cluster, Connection, Families, Stack, ask_tcp, ask_udp, until};

use super::rejection::refuses;
use super::{Backend, reaches, times_out, web, with};

/// The conditions of a terminating endpoint.
fn terminating(serving: bool) -> Value {
    json!({"conditions": {"ready": false, "serving": serving, "terminating": true}})
}

/// The backends that reply to a number of requests over both protocols.
fn backends_of(client: &impl Stack, target: SocketAddr) -> Result<BTreeSet<String>> {
    let ask = |number: u8| if number.is_multiple_of(2) { ask_tcp } else { ask_udp }(client, target);
    (0..30).map(|number| Ok(ask(number)?.server)).collect()
}

fn only(name: &str) -> BTreeSet<String> {
    [name.to_owned()].into()
}

#[test]
fn a_terminating_endpoint_serves_if_no_other_does_and_keeps_its_connections() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let (ends, stays) = (Backend::on(near, "ends")?, Backend::on(far, "stays")?);
        let manifests = cluster.manifests()?;
        let ended = |serving| {
            web(Families::Dual).endpoint_with(
                &ends.pod.addresses(),
                &ends.node,
                &terminating(serving),
            )
        };
        let service = with(web(Families::Dual), &[&ends]);
        manifests.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "ends")?;
        }
        let targets = service.frontends();
        let mut connections =
            targets.iter().map(|at| Connection::start(&client, *at)).collect::<Result<Vec<_>>>()?;

        // Another endpoint is ready, so it gets new flows.
        manifests.put_service(&with(ended(true), &[&stays]))?;
        for target in &targets {
            reaches(&client, *target, "stays")?;
            ensure!(backends_of(&client, *target)? == only("stays"));
        }
        // No other endpoint is ready.
        manifests.put_service(&ended(true))?;
        for target in &targets {
            reaches(&client, *target, "ends")?;
            ensure!(backends_of(&client, *target)? == only("ends"));
        }
        // No endpoint serves.
        manifests.put_service(&ended(false))?;
        for target in &targets {
            until("the service refuses", || refuses(&client, *target))?;
        }
        for connection in &mut connections {
            ensure!(connection.ask()?.server == "ends", "a connection moved");
        }
        // Even the removal of an endpoint does not end its connections.
        manifests.put_service(&with(web(Families::Dual), &[&stays]))?;
        for target in &targets {
            reaches(&client, *target, "stays")?;
        }
        for connection in &mut connections {
            ensure!(connection.ask()?.server == "ends", "a connection moved");
        }
        Ok(())
    })
}

/// Checks which backends with these hints a pod and a process of node 1 reach.
fn hinted(near_hints: &Value, far_hints: &Value, expected: &[&str]) -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        for (node, zone) in cluster.nodes().iter().zip(["a", "b"]) {
            let labelled = node.manifest().clone();
            cluster.manifests()?.put(&labelled.labelled("topology.kubernetes.io/zone", zone))?;
        }
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "near")?, Backend::on(far, "far")?];
        let [first, second] = &backends;
        let service = web(Families::Dual)
            .endpoint_with(&first.pod.addresses(), &first.node, near_hints)
            .endpoint_with(&second.pod.addresses(), &second.node, far_hints);
        cluster.manifests()?.put_service(&service)?;
        let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
        for target in service.frontends() {
            until("hints are followed", || {
                let pods = backends_of(&client, target)?;
                ensure!(pods == expected, "a pod reaches {pods:?}");
                let processes = backends_of(near, target)?;
                ensure!(processes == expected, "a process reaches {processes:?}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

fn for_zone(zone: &str) -> Value {
    json!({"conditions": {"ready": true}, "hints": {"forZones": [{"name": zone}]}})
}

fn for_node(node: &str, zone: &str) -> Value {
    let hints = json!({"forNodes": [{"name": node}], "forZones": [{"name": zone}]});
    json!({"conditions": {"ready": true}, "hints": hints})
}

#[test]
fn endpoints_with_a_hint_for_the_clients_zone_are_preferred() -> Result<()> {
    hinted(&for_zone("b"), &for_zone("a"), &["far"])
}

#[test]
fn endpoints_with_a_hint_for_the_clients_node_are_preferred_to_those_for_its_zone() -> Result<()> {
    hinted(&for_node("node1", "b"), &for_node("node2", "a"), &["near"])
}

#[test]
fn all_endpoints_are_used_if_one_has_no_hint() -> Result<()> {
    hinted(&for_zone("a"), &json!({"conditions": {"ready": true}}), &["far", "near"])
}

#[test]
fn internal_traffic_policy_local_drops_packets_without_a_local_endpoint() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let (here, there) = (Backend::on(near, "here")?, Backend::on(far, "there")?);
        let local = || web(Families::Dual).with("internalTrafficPolicy", json!("Local"));
        cluster.manifests()?.put_service(&with(local(), &[&here, &there]))?;
        let targets = local().frontends();
        for target in &targets {
            reaches(&client, *target, "here")?;
            ensure!(backends_of(&client, *target)? == only("here"));
            ensure!(backends_of(near, *target)? == only("here"));
        }
        cluster.manifests()?.put_service(&with(local(), &[&there]))?;
        for target in &targets {
            until("connections time out", || times_out(&client, *target))?;
            // The other node has a local endpoint.
            reaches(far, *target, "there")?;
        }
        // Without any endpoint, connections are refused.
        cluster.manifests()?.put_service(&local())?;
        for target in &targets {
            until("the service refuses", || refuses(&client, *target))?;
        }
        Ok(())
    })
}
