//! Flows to one backend with the same client address and port.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Connection, Stack};

use super::testbed::{Case, in_each_case};
use super::{TARGET_PORT, any};

const DEADLINE: Duration = Duration::from_secs(3);

/// The frontends of two Services with the same backend, and the backend's own address.
fn frontends(case: &Case<'_>) -> Result<[SocketAddr; 3]> {
    let backend = &case.backends[0];
    let direct = SocketAddr::new(case.address_of(&backend.pod)?, TARGET_PORT);
    Ok([case.serve(1, &[backend])?, case.serve(2, &[backend])?, direct])
}

/// Sends a request, and checks that the reply comes from the same address.
fn ask(socket: &UdpSocket, target: SocketAddr) -> Result<()> {
    socket.send_to(b"?\n", target)?;
    let (_, from) = socket.recv_from(&mut [0; 256]).context("no reply")?;
    ensure!(from == target, "the reply to {target} comes from {from}");
    Ok(())
}

#[test]
fn one_udp_port_may_be_used_to_two_services_and_their_common_backend() -> Result<()> {
    in_each_case(|case| {
        let [one, two, direct] = frontends(case)?;
        let orders = [[one, two, direct], [direct, two, one], [two, direct, two]];
        for order in orders {
            let socket = case.client.run(|| Ok(UdpSocket::bind(any(one))?))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            for target in order.into_iter().chain(order) {
                ask(&socket, target).with_context(|| format!("{target} of {order:?}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn one_tcp_port_may_be_used_to_two_services_and_their_common_backend() -> Result<()> {
    in_each_case(|case| {
        let [one, two, direct] = frontends(case)?;
        for order in [[one, two, direct], [direct, one, two], [one, direct, two]] {
            let mut first = Connection::start_from(case.client, 0, order[0])?;
            let port = first.port()?;
            let mut others = order[1..]
                .iter()
                .map(|target| Connection::start_from(case.client, port, *target))
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("{order:?}"))?;
            for _ in 0..3 {
                first.ask().with_context(|| format!("the first of {order:?}"))?;
                others.iter_mut().try_for_each(|connection| connection.ask().map(drop))?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_port_used_to_a_service_may_be_reused_to_its_backend_and_vice_versa() -> Result<()> {
    in_each_case(|case| {
        let [service, _, direct] = frontends(case)?;
        for [before, afterwards] in [[service, direct], [direct, service]] {
            let mut connection = Connection::start_from(case.client, 0, before)?;
            connection.ask()?;
            let port = connection.port()?;
            drop(connection);
            let reply = Connection::start_from(case.client, port, afterwards)?.ask();
            reply.with_context(|| format!("from {before} to {afterwards}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_new_connection_that_reuses_a_port_selects_a_backend_again() -> Result<()> {
    in_each_case(|case| {
        let [old, new] = case.backends;
        let target = case.serve(1, &[old])?;
        let mut connection = Connection::start_from(case.client, 0, target)?;
        ensure!(connection.ask()?.server == old.name);
        let port = connection.port()?;
        case.serve(1, &[new])?;
        ensure!(connection.ask()?.server == old.name, "a connection moved");
        connection.reset()?;
        let reply = Connection::start_from(case.client, port, target)?.ask()?;
        ensure!(reply.server == new.name, "{reply:?}");
        Ok(())
    })
}
