//! Flows that a backend could not tell apart by their addresses and ports.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Conversation, Stack};

use super::matrix::{Spot, everywhere};
use super::{TARGET, any};

const DEADLINE: Duration = Duration::from_secs(3);

/// The addresses of two Services with one backend, and that backend's own.
fn targets(spot: &Spot<'_>) -> Result<[SocketAddr; 3]> {
    let backend = &spot.backends[0];
    let direct = SocketAddr::new(spot.address_of(&backend.pod)?, TARGET);
    Ok([spot.serve(1, &[backend])?, spot.serve(2, &[backend])?, direct])
}

/// Asks, and demands that the answer comes from whom was asked.
fn ask(socket: &UdpSocket, target: SocketAddr) -> Result<()> {
    socket.send_to(b"?\n", target)?;
    let (_, from) = socket.recv_from(&mut [0; 256]).context("no answer")?;
    ensure!(from == target, "{from} answers for {target}");
    Ok(())
}

#[test]
fn datagrams_of_one_port_to_two_services_and_their_backend_are_answered_by_whom_was_asked()
-> Result<()> {
    everywhere(|spot| {
        let [one, two, direct] = targets(spot)?;
        let orders = [[one, two, direct], [direct, two, one], [two, direct, two]];
        for order in orders {
            let socket = spot.client.run(|| Ok(UdpSocket::bind(any(one))?))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            for target in order.into_iter().chain(order) {
                ask(&socket, target).with_context(|| format!("{target} of {order:?}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn connections_of_one_port_to_two_services_and_their_backend_are_told_apart() -> Result<()> {
    everywhere(|spot| {
        let [one, two, direct] = targets(spot)?;
        for order in [[one, two, direct], [direct, one, two], [one, direct, two]] {
            let mut first = Conversation::start_from(spot.client, 0, order[0])?;
            let port = first.port()?;
            let mut others = order[1..]
                .iter()
                .map(|target| Conversation::start_from(spot.client, port, *target))
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("{order:?}"))?;
            for _ in 0..3 {
                first.ask().with_context(|| format!("the first of {order:?}"))?;
                others.iter_mut().try_for_each(|talk| talk.ask().map(drop))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_port_once_used_to_a_service_connects_to_its_backend_afterwards_and_the_other_way_round()
-> Result<()> {
    everywhere(|spot| {
        let [service, _, direct] = targets(spot)?;
        for [before, afterwards] in [[service, direct], [direct, service]] {
            let mut talk = Conversation::start_from(spot.client, 0, before)?;
            talk.ask()?;
            let port = talk.port()?;
            drop(talk);
            let who = Conversation::start_from(spot.client, port, afterwards)?.ask();
            who.with_context(|| format!("from {before} to {afterwards}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_connection_that_is_over_leaves_its_port_to_one_that_chooses_afresh() -> Result<()> {
    everywhere(|spot| {
        let [old, new] = spot.backends;
        let target = spot.serve(1, &[old])?;
        let mut talk = Conversation::start_from(spot.client, 0, target)?;
        ensure!(talk.ask()?.server == old.name);
        let port = talk.port()?;
        spot.serve(1, &[new])?;
        ensure!(talk.ask()?.server == old.name, "a connection moved");
        talk.reset()?;
        let who = Conversation::start_from(spot.client, port, target)?.ask()?;
        ensure!(who.server == new.name, "{who:?}");
        Ok(())
    })
}
