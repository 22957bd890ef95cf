//! A client that uses one port for connection after connection.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use weir_datapath::common::{Config, Flow, FlowKey, Reason, V4, V6, protocol};
use weir_tests::lab::{Connection, Server};

use crate::family::Addresses;
use crate::scene::Scene;

const CONNECTIONS: u64 = 400;
/// Each connection has another backend than the one before half of the time: 200 of them, give or take
/// 10 as a standard deviation.
const CHANGES: std::ops::Range<usize> = 150..250;

fn has_one_flow<A: Addresses>(flags: u32) -> Result<()> {
    const NAMES: [&str; 2] = ["one", "two"];
    let mut scene = Scene::with_pods(3)?;
    scene.set(Config { flags, ..Config::default() })?;
    let vip = A::service(10);
    scene.service((vip, 80, protocol::TCP), &[(A::pod(1), 8080), (A::pod(2), 8080)])?;
    let servers = scene.pods.iter().skip(1).zip(NAMES);
    let _servers: Vec<Server> =
        servers.map(|(pod, name)| Server::start(pod, 8080, name)).collect::<Result<_>>()?;
    let flows = scene.table::<FlowKey<A>, Flow<A>>(A::FLOWS_TCP)?;
    let target = SocketAddr::new(vip.into(), 80);
    let mut port = 0;
    let mut answered = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connect = || -> Result<Connection> {
            let mut talk = Connection::start_from(&scene.pods[0], port, target)?;
            answered.push(talk.ask()?.server);
            Ok(talk)
        };
        let talk = connect().with_context(|| format!("connection {number}"))?;
        port = talk.port()?;
        let entries = flows.entries()?;
        let closed = Flow::<A>::CLIENT_CLOSED | Flow::<A>::BACKEND_CLOSED;
        let is_open = entries.iter().all(|(_, flow)| flow.flags & closed == 0);
        ensure!(entries.len() == 2 && is_open, "connection {number}: {entries:?}");
        talk.reset()?;
    }
    let changes = answered.windows(2).filter(|pair| pair[0] != pair[1]).count();
    ensure!(CHANGES.contains(&changes), "the backend changes {changes} times");
    assert_eq!(scene.counted(Reason::FlowOpened)?, CONNECTIONS);
    Ok(())
}

#[test]
fn connections_by_one_port_have_the_entries_of_one_and_choose_freely_by_ipv4() -> Result<()> {
    [0, Config::FAST_PATH].into_iter().try_for_each(has_one_flow::<V4>)
}

#[test]
fn connections_by_one_port_have_the_entries_of_one_and_choose_freely_by_ipv6() -> Result<()> {
    [0, Config::FAST_PATH].into_iter().try_for_each(has_one_flow::<V6>)
}
