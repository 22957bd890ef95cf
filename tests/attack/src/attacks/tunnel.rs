//! Forged packets of a tunnel, which several attackers send.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use weir_tests::lab::{Stack, TUNNEL_PORT, tunnel_payload};

use crate::gain::Gain;
use crate::scene::Scene;
use crate::send::send;

const TRIES: usize = 10;
/// Any will do where there is no tunnel.
const NO_TUNNEL: &str = "02:00:00:00:00:01";

/// Sends packets to the tunnel's port of the victim's node.
pub(super) fn forge(scene: &Scene, from: &impl Stack, source: Option<IpAddr>) -> Result<Gain> {
    forge_to(scene, from, source, SocketAddr::new(scene.near()?.address()?, TUNNEL_PORT))
}

/// Sends packets that are meant for the tunnel of the victim's node. Each has a datagram to the victim in
/// it that seems to come from the honest pod.
pub(super) fn forge_to(
    scene: &Scene,
    from: &impl Stack,
    source: Option<IpAddr>,
    target: SocketAddr,
) -> Result<Gain> {
    // It follows from the node's name, so an attacker knows it.
    let mac = scene.near()?.tunnel_mac().unwrap_or_else(|_| NO_TUNNEL.to_owned());
    let honest = SocketAddr::new(scene.honest.address()?, 4444);
    let payload = tunnel_payload(&mac, honest, scene.inbox.address(), b"forged")?;
    for _ in 0..TRIES {
        send(from, source, target, &payload)?;
    }
    Ok(Gain::of_datagrams(scene.inbox.count_others(&scene.honest)?, TRIES))
}
