//! A machine on the nodes' link speaks VXLAN.

use super::tunnel::forge;
use crate::attack::Attack;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN from the underlay",
    idea: "A machine that is not a node sends tunnel packets to a node, and would speak to any pod as \
           any pod.",
    needs_check: false,
    run: |scene| forge(scene, &scene.machine, None),
};
