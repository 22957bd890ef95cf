//! ICMP errors about packets that were translated.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use weir_datapath::common::{Config, Reason, V4, V6, protocol};
use weir_tests::lab::{Stack, close};

use crate::family::Addresses;
use crate::pair::Pair;
use crate::traffic::{DEADLINE, unspecified};

fn come_to_both_ends<A: Addresses>(flags: u32, backend: u8) -> Result<()> {
    let mut pair = Pair::with_pods(2, flags)?;
    let vip = A::service(10);
    pair.nodes[0].service((vip, 53, protocol::UDP), &[(A::pod(backend), 5353)])?;
    let client = &pair.nodes[0].pods[0];
    let server = &pair.nodes[usize::from(backend / 100)].pods[usize::from(backend % 100)];
    let connect = || {
        client.run(|| {
            let socket = UdpSocket::bind((unspecified(vip.into()), 0))?;
            socket.set_read_timeout(Some(DEADLINE))?;
            socket.connect((vip.into(), 53))?;
            socket.send(&[1; 100])?;
            Ok(socket)
        })
    };
    // Nobody listens at the backend.
    let error = connect()?.recv(&mut [0; 10]).err().context("it is answered")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "at the client");

    // The client is gone when the backend answers.
    let listen = SocketAddr::new(A::pod(backend).into(), 5353);
    let far = server.run(|| Ok(UdpSocket::bind(listen)?))?;
    far.set_read_timeout(Some(DEADLINE))?;
    let near = connect()?;
    let (_, peer) = far.recv_from(&mut [0; 200]).context("the server receives nothing")?;
    close(near);
    far.connect(peer)?;
    far.send(&[2; 100])?;
    let error = far.recv(&mut [0; 10]).err().context("it is answered")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "at the backend");
    assert_eq!(pair.nodes[0].counted(Reason::IcmpTranslated)?, 2);
    Ok(())
}

#[test]
fn errors_come_to_client_and_backend_of_a_node() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        come_to_both_ends::<V4>(flags, 1)?;
        come_to_both_ends::<V6>(flags, 1)?;
    }
    Ok(())
}

#[test]
fn errors_come_to_client_and_backend_across_nodes() -> Result<()> {
    for flags in [0, Config::FAST_PATH] {
        come_to_both_ends::<V4>(flags, 100)?;
        come_to_both_ends::<V6>(flags, 100)?;
    }
    Ok(())
}
