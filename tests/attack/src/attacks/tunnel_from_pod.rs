//! A pod speaks VXLAN.

use super::tunnel::forge;
use crate::attack::Attack;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN from a pod",
    idea: "A pod sends tunnel packets to its node, and would speak to any pod as any pod.",
    needs_check: false,
    run: |scene| forge(scene, &scene.attacker, None),
};
