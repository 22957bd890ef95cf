//! UDP flows: each keeps its backend for as long as that serves.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Stack, until};

use super::testbed::{Case, in_each_case};
use super::{any, with};

/// How often two datagrams are sent at once as the first ones of a flow, in each case.
const RACES: u32 = 250;
const DEADLINE: Duration = Duration::from_secs(3);

fn connected(case: &Case<'_>, target: SocketAddr) -> Result<UdpSocket> {
    let socket = case.client.run(|| {
        let socket = UdpSocket::bind(any(target)).context("bind")?;
        socket.connect(target).context("connect")?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(DEADLINE))?;
    Ok(socket)
}

/// Receives a reply and returns the name of its server.
fn receive(socket: &UdpSocket) -> Result<String> {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).context("no reply")?;
    let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

fn ask(socket: &UdpSocket) -> Result<String> {
    socket.send(b"?\n").context("send")?;
    receive(socket)
}

#[test]
fn a_udp_flow_moves_when_its_backend_is_removed_or_stops_serving() -> Result<()> {
    in_each_case(|case| {
        let [a, b] = case.backends;
        let target = case.serve(1, &[a])?;
        let socket = connected(case, target)?;
        ensure!(ask(&socket)? == a.name);
        // A flow keeps its backend when others are added.
        case.manifests()?.put_service(&with(case.service(1), &[b, a]))?;
        super::reaches(case.client, target, &b.name)?;
        for _ in 0..10 {
            ensure!(ask(&socket)? == a.name, "the flow moved although its backend serves");
        }
        case.manifests()?.put_service(&with(case.service(1), &[b]))?;
        let moved = |to: &str| {
            until("the flow moves", || {
                let server = ask(&socket)?;
                ensure!(server == to, "{server}");
                Ok(())
            })
        };
        moved(&b.name)?;
        let gone = json!({"conditions": {"ready": false, "serving": false, "terminating": true}});
        let service = with(case.service(1), &[a]);
        let service = service.endpoint_with(&b.pod.addresses(), &b.node, &gone);
        case.manifests()?.put_service(&service)?;
        moved(&a.name)
    })
}

/// A resolver asks for A and AAAA records at once: both requests leave one socket at the same time, on
/// two CPUs.
#[test]
fn two_concurrent_first_datagrams_of_a_socket_reach_the_same_backend() -> Result<()> {
    in_each_case(|case| {
        let [a, b] = case.backends;
        let target = case.serve(1, &[a, b])?;
        let sockets: Vec<UdpSocket> = case.client.run(|| {
            (0..RACES)
                .map(|_| {
                    let socket = UdpSocket::bind(any(target)).context("bind")?;
                    socket.connect(target).context("connect")?;
                    socket.set_read_timeout(Some(DEADLINE))?;
                    Ok(socket)
                })
                .collect()
        })?;
        // The barrier keeps all threads at the same socket, so that no queue overflows.
        let barrier = Barrier::new(3);
        let send = || {
            for socket in &sockets {
                barrier.wait();
                // A datagram that is not sent gets no reply, which fails below.
                let _ = socket.send(b"?\n");
            }
        };
        let rounds = thread::scope(|scope| {
            scope.spawn(send);
            scope.spawn(send);
            let rounds = sockets.iter().map(|socket| {
                barrier.wait();
                Ok([receive(socket)?, receive(socket)?])
            });
            rounds.collect::<Vec<Result<_>>>()
        });
        for (round, replies) in rounds.into_iter().enumerate() {
            let [first, second] = replies.with_context(|| format!("lost in round {round}"))?;
            ensure!(first == second, "round {round}: from {first} and {second}");
        }
        Ok(())
    })
}
