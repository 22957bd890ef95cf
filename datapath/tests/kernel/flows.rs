//! What is remembered of flows.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_datapath::Capacities;
use weir_datapath::common::{Backend, Config, Flow, FlowKey, Reason, Service, V4, map, protocol};
use weir_tests::lab::{Stack, until};

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{tcp, udp, udp_between};

fn address(address: V4, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

#[test]
fn a_port_that_was_used_to_a_service_works_directly_afterwards() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let near = scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let far = scene.pods[1].run(|| Ok(UdpSocket::bind(address(backend, 5353))?))?;
    udp_between(&near, &far, address(vip, 53), 100)?;
    // As if it had been used long ago.
    let mut flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_DGRAM_V4)?;
    for (key, flow) in flows.entries()? {
        flows.set(&key, &Flow { last_seen: flow.last_seen.wrapping_sub(1000), ..flow })?;
    }
    let own = near.local_addr()?.port();
    let seen = udp_between(&near, &far, address(backend, 5353), 100)?;
    assert_eq!(seen.client.port(), own, "nothing is changed");
    assert_eq!(scene.counted(Reason::StaleFlowRemoved)?, 1);
    Ok(())
}

#[test]
fn flows_of_one_socket_to_one_backend_are_told_apart() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        let mut scene = Scene::with_pods(2)?;
        scene.set(Config { flags, ..Config::default() })?;
        let backend = V4::pod(1);
        let targets = [V4::service(10), V4::service(11), backend];
        for vip in &targets[..2] {
            scene.service((*vip, 5353, protocol::UDP), &[(backend, 5353)])?;
        }
        let near = scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        let far = scene.pods[1].run(|| Ok(UdpSocket::bind(address(backend, 5353))?))?;
        let mut ports = HashSet::new();
        for target in targets.into_iter().chain(targets) {
            // The answer comes from whom the client has asked, whichever was asked before.
            ports.insert(udp_between(&near, &far, address(target, 5353), 100)?.client.port());
        }
        assert_eq!(ports.len(), 3, "{ports:?}");
        assert_eq!(scene.counted(Reason::PortRemapped)?, 2);
    }
    Ok(())
}

#[test]
fn every_backend_gets_flows() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    let backends = [(V4::pod(1), 5353), (V4::pod(2), 5353)];
    scene.service((vip, 53, protocol::UDP), &backends)?;
    let near = scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    drop(near);
    scene.pods[0].run(|| {
        for _ in 0..64 {
            UdpSocket::bind("0.0.0.0:0")?.send_to(&[1], address(vip, 53))?;
        }
        Ok(())
    })?;
    let flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_DGRAM_V4)?;
    let forward = flows.entries()?.into_iter().filter(|(_, flow)| !flow.is_reverse());
    let used: HashSet<_> = forward.map(|(_, flow)| flow.address).collect();
    assert_eq!(used.len(), 2, "{used:?}");
    Ok(())
}

#[test]
fn session_affinity_keeps_a_client_at_its_backend() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    let backends = [(V4::pod(1), 5353), (V4::pod(2), 5353)];
    let service = Service { affinity: 100, ..Service::default() };
    let ids = scene.service_with((vip, 53, protocol::UDP), &backends, service)?;
    let send = || {
        scene.pods[0].run(|| {
            for _ in 0..32 {
                UdpSocket::bind("0.0.0.0:0")?.send_to(&[1], address(vip, 53))?;
            }
            Ok(())
        })
    };
    let flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_DGRAM_V4)?;
    let used = || -> Result<HashSet<u32>> {
        let entries = flows.entries()?;
        Ok(entries
            .into_iter()
            .filter(|(_, flow)| !flow.is_reverse())
            .map(|(_, f)| f.backend)
            .collect())
    };
    send()?;
    let first = used()?;
    assert_eq!(first.len(), 1, "{first:?}");
    // The backend leaves the set, but still serves what it has: new flows go elsewhere.
    let (gone, pod) = if first.contains(&ids[0]) { (ids[0], 1) } else { (ids[1], 2) };
    let other = ids[0] + ids[1] - gone;
    let mut table = scene.table::<u32, Backend<V4>>(map::BACKENDS_V4)?;
    let flags = Backend::<V4>::SERVING;
    let port = weir_datapath::common::Port::new(5353);
    table.set(&gone, &Backend { address: V4::pod(pod), port, flags })?;
    let mut slots = scene.node.run(|| Ok(weir_datapath::maps::Slots::open(&scene.pins)?))?;
    slots.set(0, &[other, other])?;
    send()?;
    assert_eq!(used()?, HashSet::from([gone, other]));
    Ok(())
}

#[test]
fn a_udp_flow_moves_when_its_backend_is_gone() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    let ids = scene.service((vip, 53, protocol::UDP), &[(V4::pod(1), 5353)])?;
    let near = scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let listen = |pod: usize| {
        let own = V4::pod(u8::try_from(pod)?);
        scene.pods[pod].run(|| Ok(UdpSocket::bind(address(own, 5353))?))
    };
    let (first, second) = (listen(1)?, listen(2)?);
    udp_between(&near, &first, address(vip, 53), 100)?;
    let mut backends = scene.table::<u32, Backend<V4>>(map::BACKENDS_V4)?;
    backends.remove(&ids[0])?;
    scene.service((vip, 53, protocol::UDP), &[(V4::pod(2), 5353)])?;
    udp_between(&near, &second, address(vip, 53), 100)?;
    assert_eq!(scene.counted(Reason::FlowMoved)?, 1);
    Ok(())
}

#[test]
fn a_tcp_port_that_is_used_again_chooses_afresh() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    scene.service((vip, 80, protocol::TCP), &[(V4::pod(1), 8080)])?;
    tcp(&scene.pods[0], &scene.pods[1], address(V4::pod(1), 8080), address(vip, 80), 10)?;
    let mut flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_TCP_V4)?;
    let forward = || {
        let mut entries = flows.entries()?.into_iter();
        entries.find(|(_, flow)| !flow.is_reverse()).context("no flow")
    };
    until("the client's FIN was seen", || {
        let (_, flow) = forward()?;
        ensure!(flow.flags & Flow::<V4>::CLIENT_CLOSED != 0, "{flow:?}");
        Ok(())
    })?;
    let (key, flow) = forward()?;
    // Every other port is as if it had been used before, for another backend.
    for port in 32_768_u16..61_000 {
        let source_port = weir_datapath::common::Port::new(port);
        flows.set(&FlowKey { source_port, ..key }, &flow)?;
    }
    scene.service((vip, 80, protocol::TCP), &[(V4::pod(2), 8080)])?;
    tcp(&scene.pods[0], &scene.pods[2], address(V4::pod(2), 8080), address(vip, 80), 10)?;
    Ok(())
}

#[test]
fn simultaneous_first_datagrams_reach_one_backend() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    let backends = [(V4::pod(1), 5353), (V4::pod(2), 5353)];
    scene.service((vip, 53, protocol::UDP), &backends)?;
    let listen = |pod: u8| {
        scene.pods[usize::from(pod)].run(|| {
            let socket = UdpSocket::bind(address(V4::pod(pod), 5353))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    };
    let servers = [listen(1)?, listen(2)?];
    scene.pods[0].run(|| {
        for round in 0..500_u32 {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let barrier = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        barrier.wait();
                        socket.send_to(&round.to_le_bytes(), address(vip, 53)).expect("send");
                    });
                }
            });
            let mut got = [0, 0];
            for (server, got) in servers.iter().zip(&mut got) {
                while server.recv_from(&mut [0; 8]).is_ok() {
                    *got += 1;
                }
            }
            assert!(got == [2, 0] || got == [0, 2], "round {round}: {got:?}");
        }
        Ok(())
    })
}

#[test]
fn a_table_that_is_too_small_forgets_old_flows_and_serves_new_ones() -> Result<()> {
    const ROOM: u32 = 512;
    let capacities = Capacities::default().with(map::FLOWS_DGRAM_V4, ROOM);
    let mut scene = Scene::with_capacities(2, &capacities)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let far = scene.pods[1].run(|| Ok(UdpSocket::bind(address(backend, 5353))?))?;
    let fresh = || scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?));
    // Used all the while, so it is never the oldest.
    let steady = fresh()?;
    udp_between(&steady, &far, address(vip, 53), 10)?;
    for _ in 0..40 {
        for _ in 0..50 {
            udp_between(&fresh()?, &far, address(vip, 53), 10)?;
        }
        udp_between(&steady, &far, address(vip, 53), 10)?;
    }
    let flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_DGRAM_V4)?;
    assert_eq!(flows.capacity()?, ROOM);
    assert!(flows.entries()?.len() <= ROOM as usize);
    assert_eq!(scene.counted(Reason::FlowNotStored)?, 0);
    Ok(())
}

#[test]
fn affinity_ends_with_its_time() -> Result<()> {
    let mut scene = Scene::with_pods(3)?;
    let vip = V4::service(10);
    let backends = [(V4::pod(1), 5353), (V4::pod(2), 5353)];
    let service = Service { affinity: 1, ..Service::default() };
    scene.service_with((vip, 53, protocol::UDP), &backends, service)?;
    let flows = scene.table::<FlowKey<V4>, Flow<V4>>(map::FLOWS_DGRAM_V4)?;
    // A new flow every two seconds at most: each chooses anew, and soon not what the first has.
    until("another backend is chosen", || {
        std::thread::sleep(Duration::from_millis(1100));
        scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(&[1], address(vip, 53))?))?;
        let entries = flows.entries()?;
        let used: HashSet<_> = entries.iter().filter(|(_, flow)| !flow.is_reverse()).collect();
        let used: HashSet<_> = used.into_iter().map(|(_, flow)| flow.backend).collect();
        ensure!(used.len() == 2, "{used:?}");
        Ok(())
    })
}

#[test]
fn a_datagram_of_a_pod_without_a_service_goes_its_way() -> Result<()> {
    let scene = Scene::with_pods(2)?;
    let backend = V4::pod(1);
    udp(&scene.pods[0], &scene.pods[1], address(backend, 99), address(backend, 99), 100)?;
    Ok(())
}
