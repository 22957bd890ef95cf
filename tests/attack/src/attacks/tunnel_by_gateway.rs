//! A pod speaks VXLAN to another address of its node.

use std::net::SocketAddr;

use weir_tests::lab::TUNNEL_PORT;

use super::tunnel::forge_to;
use crate::attack::Attack;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN to the gateway",
    idea: "A pod sends tunnel packets to its gateway, which is its node, and would speak to any pod as any pod.",
    needs_check: false,
    run: |scene| {
        let gateway = SocketAddr::new(scene.gateway()?.0, TUNNEL_PORT);
        forge_to(scene, &scene.attacker, None, gateway)
    },
};
