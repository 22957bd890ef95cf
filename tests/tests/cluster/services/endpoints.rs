//! Which endpoints get new flows, and which keep those that they have.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::lab::{Cluster, Connection, Families, Stack, ask_tcp, ask_udp, until};

use super::rejection::refuses;
use super::{Backend, reaches, silent, web, with};

/// A slice's words on an endpoint that ends, and still serves or not.
fn ending(serving: bool) -> Value {
    json!({"conditions": {"ready": false, "serving": serving, "terminating": true}})
}

/// ServerReply answers to so many questions, over both protocols.
fn who(client: &impl Stack, target: SocketAddr) -> Result<BTreeSet<String>> {
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
            web(Families::Dual).endpoint_with(&ends.pod.addresses(), &ends.node, &ending(serving))
        };
        let service = with(web(Families::Dual), &[&ends]);
        manifests.put_service(&service)?;
        for target in service.frontends() {
            reaches(&client, target, "ends")?;
        }
        let targets = service.frontends();
        let mut talks =
            targets.iter().map(|at| Connection::start(&client, *at)).collect::<Result<Vec<_>>>()?;

        // Another one is ready: that one gets what is new.
        manifests.put_service(&with(ended(true), &[&stays]))?;
        for target in &targets {
            reaches(&client, *target, "stays")?;
            ensure!(who(&client, *target)? == only("stays"));
        }
        // No other one is ready.
        manifests.put_service(&ended(true))?;
        for target in &targets {
            reaches(&client, *target, "ends")?;
            ensure!(who(&client, *target)? == only("ends"));
        }
        // It does not serve any more, and nobody else does.
        manifests.put_service(&ended(false))?;
        for target in &targets {
            until("the service refuses", || refuses(&client, *target))?;
        }
        for talk in &mut talks {
            ensure!(talk.ask()?.server == "ends", "a connection moved");
        }
        // Not even its removal ends a connection.
        manifests.put_service(&with(web(Families::Dual), &[&stays]))?;
        for target in &targets {
            reaches(&client, *target, "stays")?;
        }
        for talk in &mut talks {
            ensure!(talk.ask()?.server == "ends", "a connection moved");
        }
        Ok(())
    })
}

/// Backends on both nodes with hints, and who answers a pod and a process of node 1.
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
                let pods = who(&client, target)?;
                ensure!(pods == expected, "a pod reaches {pods:?}");
                let processes = who(near, target)?;
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
            ensure!(who(&client, *target)? == only("here"));
            ensure!(who(near, *target)? == only("here"));
        }
        cluster.manifests()?.put_service(&with(local(), &[&there]))?;
        for target in &targets {
            until("nobody answers", || silent(&client, *target))?;
            // The other node has one.
            reaches(far, *target, "there")?;
        }
        // Nobody anywhere: then it is said.
        cluster.manifests()?.put_service(&local())?;
        for target in &targets {
            until("the service refuses", || refuses(&client, *target))?;
        }
        Ok(())
    })
}
