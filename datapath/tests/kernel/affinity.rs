//! What session affinity is remembered by.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use weir_datapath::Hook;
use weir_datapath::common::{
    Affinity, AffinityKey, Flow, FlowKey, Port, Scope, Service, ServiceKey, V4, V6, protocol,
};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::frames::{at, passes, tcp};
use crate::scene::Scene;
use crate::traffic::unspecified;

#[test]
fn affinity_holds_across_the_addresses_of_a_service_and_not_across_its_ports() -> Result<()> {
    affinity_is_of_a_port::<V4>()?;
    affinity_is_of_a_port::<V6>()
}

fn affinity_is_of_a_port<A: Addresses>() -> Result<()> {
    let mut scene = Scene::with_pods(5)?;
    let backends = [1, 2, 3, 4].map(|pod| (A::pod(pod), 5353));
    let service = Service { affinity: 100, ..Service::default() };
    let first = (A::service(10), 53, protocol::UDP);
    scene.service_with(first, &backends, service)?;
    // The same port of the same Service at other addresses: as an external IP will be.
    let mut table = scene.table::<ServiceKey<A>, Service>(A::SERVICES)?;
    let key = |address: A| ServiceKey::new(address, Port::new(53), protocol::UDP, Scope::Internal);
    let value = table.get(&key(A::service(10)))?.context("no frontend")?;
    for other in 11..30 {
        table.set(&key(A::service(other)), &value)?;
    }
    let any = unspecified(A::service(10).into());
    scene.pods[0].run(|| {
        for other in 10..30 {
            let target = SocketAddr::new(A::service(other).into(), 53);
            UdpSocket::bind((any, 0))?.send_to(&[1], target)?;
        }
        Ok(())
    })?;
    let flows = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_DGRAM)?;
    let used = || -> Result<HashSet<A>> {
        let forward = flows.entries()?.into_iter().filter(|(_, flow)| !flow.is_reverse());
        Ok(forward.map(|(_, flow)| flow.address).collect())
    };
    ensure!(used()?.len() == 1, "20 addresses of a Service lead to {} backends", used()?.len());
    // Twenty other ports of Services: each is a choice of its own.
    for number in 30..50 {
        scene.service_with((A::service(number), 53, protocol::UDP), &backends, service)?;
        let target = SocketAddr::new(A::service(number).into(), 53);
        scene.pods[0].run(|| Ok(UdpSocket::bind((any, 0))?.send_to(&[1], target)?))?;
    }
    ensure!(used()?.len() > 1, "20 other ports lead to the same backend");
    Ok(())
}

/// Anybody outside can send a SYN with any address, but gets no reply to it.
fn affinity_of_an_outside_client<A: Addresses>() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let service = Service { affinity: 100, ..Service::default() };
    scene.service_with((A::service(10), 80, protocol::TCP), &[(A::pod(1), 80)], service)?;
    let (client, vip, backend) = ((A::service(99), 4000), (A::service(10), 80), (A::pod(1), 80));
    let noted = scene.table::<AffinityKey<A>, Affinity>(A::AFFINITY)?;
    let uplink = "weir0";
    for (hook, frame, count) in [
        (Hook::FromUplink, tcp(client, vip, (7, "S"))?, 0),
        (Hook::FromUplink, tcp((A::service(98), 4000), vip, (7, "S"))?, 0),
        (Hook::ToUplink, tcp(backend, client, (1, "SA"))?, 0),
        (Hook::FromUplink, tcp(client, vip, (8, "A"))?, 1),
    ] {
        let trial = at(&scene, hook, uplink, &frame)?;
        ensure!(passes(&trial), "{trial:?}");
        let entries = noted.entries()?;
        ensure!(entries.len() == count, "{entries:?}");
        ensure!(entries.iter().all(|(key, _)| key.client == client.0), "{entries:?}");
    }
    Ok(())
}

#[test]
fn affinity_of_a_client_outside_begins_when_its_connection_is_established() -> Result<()> {
    affinity_of_an_outside_client::<V4>()?;
    affinity_of_an_outside_client::<V6>()
}
