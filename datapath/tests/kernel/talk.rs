//! A TCP connection and a UDP flow through a Service, which go on while something happens.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use weir_datapath::common::protocol;
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::{DEADLINE, udp_between, unspecified};

/// Both ends of both.
pub(crate) struct Talk {
    tcp: [TcpStream; 2],
    udp: [UdpSocket; 2],
    target: SocketAddr,
}

impl Talk {
    /// Begins between pods 0 and 1 of the scene, through a new Service.
    pub(crate) fn begin<A: Addresses>(scene: &mut Scene) -> Result<Self> {
        let (vip, backend) = (A::service(10), A::pod(1));
        scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
        scene.service((vip, 80, protocol::TCP), &[(backend, 8080)])?;
        let target = SocketAddr::new(vip.into(), 53);
        let at = |port| SocketAddr::new(backend.into(), port);
        let far = scene.pods[1].run(|| Ok(UdpSocket::bind(at(5353))?))?;
        let near = scene.pods[0].run(|| Ok(UdpSocket::bind((unspecified(target.ip()), 0))?))?;
        let listener = scene.pods[1].run(|| Ok(TcpListener::bind(at(8080))?))?;
        let web = SocketAddr::new(vip.into(), 80);
        let client = scene.pods[0].run(|| Ok(TcpStream::connect_timeout(&web, DEADLINE)?))?;
        let (server, _) = listener.accept()?;
        let mut talk = Self { tcp: [client, server], udp: [near, far], target };
        for stream in &talk.tcp {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_nodelay(true)?;
        }
        talk.exchange().context("at the beginning")?;
        Ok(talk)
    }

    /// A byte and a datagram there and back.
    pub(crate) fn exchange(&mut self) -> Result<()> {
        let [client, server] = &self.tcp;
        let mut buffer = [0];
        for (mut from, mut to) in [(client, server), (server, client)] {
            from.write_all(&[7]).context("send a byte")?;
            to.read_exact(&mut buffer).context("receive a byte")?;
            ensure!(buffer == [7], "the byte is another");
        }
        let [near, far] = &self.udp;
        udp_between(near, far, self.target, 100)?;
        Ok(())
    }
}
