//! More flows than the table has room for.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use weir_datapath::Capacities;
use weir_datapath::common::{Config, Flow, FlowKey, Port, Reason, V4, V6, protocol};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{DEADLINE, tcp, udp_between, unspecified};

/// Entries of the table; a flow has two.
const ROOM: u32 = 512;
const FLOWS: u32 = 1_500;

fn scene<A: Addresses>(flags: u32) -> Result<Scene> {
    let capacities = Capacities::default().with(A::FLOWS_DGRAM, ROOM).with(A::FLOWS_TCP, ROOM);
    let mut scene = Scene::with_capacities(2, &capacities)?;
    scene.set(Config { flags, ..Config::default() })?;
    let (vip, backend) = (A::service(10), A::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
    Ok(scene)
}

fn address<A: Addresses>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// How many entries there are, and how many of them have lost the other one of their flow.
fn entries<A: Addresses>(
    scene: &Scene,
    map: weir_datapath::common::map::Map,
) -> Result<(usize, usize)> {
    let table = scene.table::<FlowKey<A>, Flow<A>>(map)?;
    ensure!(table.capacity()? == ROOM);
    let entries = table.entries()?;
    let mut single = 0;
    for (key, flow) in &entries {
        let peer_key =
            if flow.is_reverse() { flow.forward_key(key) } else { flow.reverse_key(key) };
        single += usize::from(table.get(&peer_key)?.is_none());
    }
    Ok((entries.len(), single))
}

fn forgets_whole_flows<A: Addresses>(flags: u32) -> Result<()> {
    let scene = scene::<A>(flags)?;
    let (vip, backend) = (A::service(10), A::pod(1));
    let far = scene.pods[1].run(|| Ok(UdpSocket::bind(address(backend, 5353))?))?;
    let any = unspecified(vip.into());
    let socket = |port: u16| scene.pods[0].run(|| Ok(UdpSocket::bind((any, port))?));
    let mut ports = Vec::new();
    for number in 0..FLOWS {
        let fresh = socket(0)?;
        ports.push(fresh.local_addr()?.port());
        // Each new one works, full as the table is.
        udp_between(&fresh, &far, address(vip, 53), 10)
            .with_context(|| format!("flow {number}"))?;
    }
    let (count, single) = entries::<A>(&scene, A::FLOWS_DGRAM)?;
    // A quarter of the room is for datagrams that have a reply and are no stream.
    ensure!(count <= ROOM as usize && count >= ROOM as usize / 8, "{count} entries");
    ensure!(single == 0, "{single} of {count} entries have lost their other");
    // One that was forgotten is opened again.
    let table = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_DGRAM)?;
    let known = || -> Result<HashSet<u16>> {
        let entries = table.entries()?.into_iter();
        let forward = entries.filter(|(_, flow)| !flow.is_reverse());
        Ok(forward.map(|(key, _)| key.source_port.get()).collect())
    };
    let before = known()?;
    let forgotten = ports.into_iter().find(|port| !before.contains(port));
    let forgotten = forgotten.context("nothing was forgotten")?;
    udp_between(&socket(forgotten)?, &far, address(vip, 53), 10).context("a forgotten flow")?;
    ensure!(known()?.contains(&forgotten), "it is not known again");
    ensure!(scene.counted(Reason::DroppedTableFull)? == 0);
    Ok(())
}

#[test]
fn an_overfull_table_forgets_flows_as_a_whole_and_serves_new_ones_by_ipv4() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        forgets_whole_flows::<V4>(flags)?;
    }
    Ok(())
}

#[test]
fn an_overfull_table_forgets_flows_as_a_whole_and_serves_new_ones_by_ipv6() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        forgets_whole_flows::<V6>(flags)?;
    }
    Ok(())
}

/// A connection that is used outlives many that were used before it, and datagrams take no room of
/// connections.
fn keeps_connections_in_use<A: Addresses>(flags: u32) -> Result<()> {
    let scene = scene::<A>(flags)?;
    let (vip, backend) = (A::service(10), A::pod(1));
    let listener = scene.pods[1].run(|| Ok(TcpListener::bind(address(backend, 8080))?))?;
    let target = address(vip, 80);
    let near = scene.pods[0].run(|| Ok(TcpStream::connect_timeout(&target, DEADLINE)?))?;
    let (far, _) = listener.accept()?;
    drop(listener);
    let flows = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_TCP)?.entries()?;
    let opening = flows.first().context("it is not known")?.1.opening;
    let exchange = |byte: u8| -> Result<()> {
        use std::io::{Read, Write};
        let mut buffer = [0];
        for (mut from, mut to) in [(&near, &far), (&far, &near)] {
            to.set_read_timeout(Some(DEADLINE))?;
            from.write_all(&[byte])?;
            to.read_exact(&mut buffer)?;
            ensure!(buffer == [byte]);
        }
        Ok(())
    };
    let listen = address(backend, 8080);
    for number in 0..20_u8 {
        for _ in 0..40 {
            tcp(&scene.pods[0], &scene.pods[1], listen, target, 1)?;
        }
        exchange(number).with_context(|| format!("after {number} times 40 connections"))?;
    }
    let any = SocketAddr::new(unspecified(vip.into()), 0);
    scene.pods[0].run(|| {
        for _ in 0..FLOWS {
            UdpSocket::bind(any)?.send_to(&[1], address(vip, 53))?;
        }
        Ok(())
    })?;
    exchange(99).context("after many datagrams")?;
    let own = Port::new(near.local_addr()?.port());
    let flows = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_TCP)?.entries()?;
    let is_own = |key: &FlowKey<A>| [key.source_port, key.destination_port].contains(&own);
    let (_, first) = flows.iter().find(|(key, _)| is_own(key)).context("it is forgotten")?;
    ensure!(first.opening == opening, "it was forgotten, and another one took its place");
    ensure!(scene.counted(Reason::DroppedTableFull)? == 0);
    Ok(())
}

#[test]
fn a_connection_in_use_outlives_an_overfull_table_by_ipv4() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        keeps_connections_in_use::<V4>(flags)?;
    }
    Ok(())
}

#[test]
fn a_connection_in_use_outlives_an_overfull_table_by_ipv6() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        keeps_connections_in_use::<V6>(flags)?;
    }
    Ok(())
}
