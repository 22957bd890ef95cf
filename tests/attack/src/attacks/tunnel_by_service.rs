//! A pod speaks VXLAN by a Service whose backend is the tunnel's port of a node.

use super::tunnel::forge_to;
use crate::attack::Attack;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN by a Service",
    idea: "Pods of both nodes send tunnel packets to a Service whose backend is the tunnel's port of a node, \
           and would speak to any pod as any pod.",
    needs_check: false,
    run: |scene| {
        let target = scene.services.tunnel;
        let near = forge_to(scene, &scene.attacker, None, target)?;
        Ok(near.and(forge_to(scene, &scene.remote_attacker, None, target)?))
    },
};
