//! A pod sends datagrams as others.

use std::net::SocketAddr;

use anyhow::Result;

use crate::attack::Attack;
use crate::frame::{ALL_NODES, Macs, as_later_fragment, link_local, priority_tagged, udp};
use crate::gain::Gain;
use crate::launch::launch;
use crate::scene::{MACHINE, Scene, sibling};
use crate::witness::{Witness, forged_as};

pub(super) const ATTACK: Attack = Attack {
    name: "datagrams as others",
    idea: "A pod sends datagrams, fragments of some and such with a priority tag, with the addresses of a neighbour, a remote pod, \
           a Service, the gateway, the nodes and a machine outside, to each of them. It would speak as one \
           of them: somebody else sees such a packet.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let (gateway, _) = scene.gateway()?;
    let (near, far) = (scene.near()?.address()?, scene.far()?.address()?);
    let (victim, web) = (scene.inbox.address(), scene.services.web);
    let (own, backend) = (scene.attacker.address()?, scene.near_backend.address()?);
    let sources = [
        ("a neighbour", victim.ip()),
        ("a backend", backend),
        ("a remote pod", scene.honest.address()?),
        ("nobody", sibling(own, 250)),
        ("a Service", web.ip()),
        ("the gateway", gateway),
        ("the node", near),
        ("another node", far),
        ("a machine outside", sibling(near, MACHINE)),
    ];
    let others = [victim.ip(), backend, scene.honest.address()?, gateway, near, far];
    let others = others.map(|address| SocketAddr::new(address, victim.port()));
    let machine = SocketAddr::new(sibling(near, MACHINE), 9);
    let to_gateway = scene.to_gateway()?;
    let neighbours = [
        (victim.ip(), scene.to_neighbour(&scene.victim)?),
        (backend, scene.to_neighbour(&scene.near_backend)?),
    ];
    let mut frames = Vec::new();
    for (name, source) in sources {
        let (source, payload) = (SocketAddr::new(source, 4444), forged_as(name));
        let mut send = |macs, to: SocketAddr| -> Result<()> {
            if source.ip() != to.ip() {
                let frame = udp(macs, source, to, &payload)?;
                frames.extend([as_later_fragment(&frame)?, priority_tagged(&frame)?, frame]);
            }
            Ok(())
        };
        for to in others.into_iter().chain([web, scene.services.silent, machine]) {
            send(to_gateway, to)?;
        }
        for (address, macs) in neighbours {
            send(macs, SocketAddr::new(address, victim.port()))?;
        }
    }
    // These exist in clusters with IPv4 alone, too.
    for (name, mac) in [
        ("a neighbour's link-local", scene.to_neighbour(&scene.victim)?.to),
        ("the gateway's link-local", to_gateway.to),
    ] {
        let macs = Macs { to: ALL_NODES.0, ..to_gateway };
        let source = SocketAddr::new(link_local(mac).into(), 4444);
        let to = SocketAddr::new(ALL_NODES.1.into(), victim.port());
        frames.push(udp(macs, source, to, &forged_as(name))?);
    }
    let witness = Witness::everywhere(scene)?;
    launch(scene, &scene.attacker, "eth0", &frames)?;
    witness.gain()
}
