//! Floods of new flows, which would push the flows of others out of the table.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_tests::lab::{PacketSocket, Stack};

use crate::frame::{Macs, tcp, udp};
use crate::launch::launch;
use crate::scene::{FLOW_ENTRIES, MACHINE, Scene, mac_of, sibling};
use crate::services::TARGET;

/// The ports of new flows of a flood that costs little.
const MANY: Range<u16> = 1024..u16::MAX;
/// Those of one that costs more. A flow has two entries, so it has ten times as many as the table.
const FEWER: Range<u16> = 1024..1024 + 5 * FLOW_ENTRIES;
/// So many requests a server has room for.
const BATCH: usize = 128;
const DEADLINE: Duration = Duration::from_secs(5);

/// Frames of new flows, each twice: a table that favours what was used again favours them too.
fn twice(frames: impl Iterator<Item = Result<Vec<u8>>>) -> Result<Vec<Vec<u8>>> {
    let mut both = Vec::new();
    for frame in frames {
        let frame = frame?;
        both.extend([frame.clone(), frame]);
    }
    Ok(both)
}

/// SYNs from all ports.
pub(super) fn syns(scene: &Scene) -> Result<()> {
    let (macs, own) = (scene.to_gateway()?, scene.attacker.address()?);
    let syn = |port: u16| {
        tcp(macs, SocketAddr::new(own, port), scene.services.web, (u32::from(port), "S"))
    };
    launch(scene, &scene.attacker, "eth0", &twice(MANY.map(syn))?)
}

/// SYNs of a machine on the underlay, to the victim's node.
pub(super) fn syns_from_underlay(scene: &Scene) -> Result<()> {
    let macs =
        Macs { from: mac_of(&scene.machine, "uplink")?, to: mac_of(scene.near()?, "uplink")? };
    let own = sibling(scene.near()?.address()?, MACHINE);
    let syn = |port: u16| {
        tcp(macs, SocketAddr::new(own, port), scene.services.web, (u32::from(port), "S"))
    };
    launch(scene, &scene.machine, "uplink", &twice(FEWER.map(syn))?)
}

/// Connections that are closed as soon as they are open.
pub(super) fn short_connections(scene: &Scene) -> Result<()> {
    let target = scene.services.closing;
    scene.attacker.run(|| {
        for number in FEWER {
            let connected = TcpStream::connect_timeout(&target, DEADLINE);
            drop(connected.with_context(|| format!("connection {number}"))?);
        }
        Ok(())
    })
}

/// Datagrams from many ports that nobody replies to.
pub(super) fn one_way_datagrams(scene: &Scene) -> Result<()> {
    let (macs, own) = (scene.to_gateway()?, scene.attacker.address()?);
    let datagram = |port: u16| udp(macs, SocketAddr::new(own, port), scene.services.silent, b"?\n");
    launch(scene, &scene.attacker, "eth0", &twice(FEWER.map(datagram))?)
}

/// Datagrams from many ports, each with a reply.
pub(super) fn requests(scene: &Scene) -> Result<()> {
    let (macs, own) = (scene.to_gateway()?, scene.attacker.address()?);
    let request = |port: u16| udp(macs, SocketAddr::new(own, port), scene.services.web, b"?\n");
    let frames = FEWER.map(request).collect::<Result<Vec<_>>>()?;
    let socket = PacketSocket::open(&scene.attacker, "eth0")?;
    let honest = scene.attacker.run(|| UdpSocket::bind((own, 0)).context("bind"))?;
    honest.set_read_timeout(Some(DEADLINE))?;
    for batch in frames.chunks(BATCH) {
        batch.iter().try_for_each(|frame| socket.send(frame))?;
        // When they reply to this, they have replied to those before.
        for backend in [&scene.near_backend, &scene.far_backend] {
            honest.send_to(b"?\n", (backend.address()?, TARGET)).context("ask a backend")?;
            honest.recv(&mut [0; 256]).context("a busy backend")?;
        }
    }
    Ok(())
}
