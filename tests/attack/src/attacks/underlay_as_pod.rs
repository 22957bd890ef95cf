//! A machine on the nodes' link sends packets as pods.

use std::net::SocketAddr;

use anyhow::Result;
use weir_tests::lab::Mode;

use crate::attack::Attack;
use crate::frame::{Macs, as_later_fragment, priority_tagged, udp};
use crate::gain::Gain;
use crate::launch::launch;
use crate::scene::{Scene, mac_of, sibling};
use crate::witness::{Witness, forged_as};

pub(super) const ATTACK: Attack = Attack {
    name: "pods' addresses, from the underlay",
    idea: "A machine that is not a node sends datagrams to a node's pods and Services with the addresses of \
           that node's pods, and in a cluster with a tunnel of all pods. It would speak as a pod: one of \
           them arrives in a pod.",
    needs_check: true,
    run,
};

fn run(scene: &Scene) -> Result<Gain> {
    let (gateway, _) = scene.gateway()?;
    let own = mac_of(&scene.machine, "uplink")?;
    let (near, far) = (scene.near()?, scene.far()?);
    let (victim, honest) = (scene.victim.address()?, scene.honest.address()?);
    let near_sources = [
        ("a pod of the node", scene.near_backend.address()?),
        ("another pod of the node", scene.attacker.address()?),
        ("nobody", sibling(victim, 250)),
        ("the gateway", gateway),
    ];
    let far_sources =
        [("a remote pod", scene.far_backend.address()?), ("nobody", sibling(honest, 250))];
    let web = [scene.services.web, scene.services.silent];
    let to_near = [scene.inbox.address(), SocketAddr::new(scene.near_backend.address()?, 9)];
    let to_far = [SocketAddr::new(honest, 9), SocketAddr::new(scene.far_backend.address()?, 9)];
    let mut frames = Vec::new();
    let mut send = |node, sources: &[(&str, _)], targets: &[SocketAddr]| -> Result<()> {
        let macs = Macs { from: own, to: mac_of(node, "uplink")? };
        for (name, source) in sources {
            for target in targets.iter().chain(&web) {
                let frame = udp(macs, SocketAddr::new(*source, 4444), *target, &forged_as(name))?;
                // The kernel takes off all tags of no VLAN.
                let tagged = priority_tagged(&frame)?;
                frames.extend([priority_tagged(&tagged)?, tagged]);
                frames.extend([as_later_fragment(&frame)?, frame]);
            }
        }
        Ok(())
    };
    send(near, &near_sources, &to_near)?;
    send(far, &far_sources, &to_far)?;
    // Without a tunnel, pods of other nodes are expected to come by the uplink.
    if scene.setting.mode == Mode::Vxlan {
        send(near, &far_sources, &to_near)?;
        send(far, &near_sources, &to_far)?;
    }
    let witness = Witness::in_pods(scene)?;
    launch(scene, &scene.machine, "uplink", &frames)?;
    witness.gain()
}
