//! A pod of another node speaks VXLAN. NAT would give its packets the address of its node.

use super::tunnel::forge;
use crate::attack::Attack;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN from a remote pod",
    idea: "A pod sends tunnel packets to another node, where they would arrive with its own node's address, \
           and would speak to any pod as any pod.",
    needs_check: false,
    run: |scene| forge(scene, &scene.remote_attacker, None),
};
