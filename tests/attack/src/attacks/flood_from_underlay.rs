//! A machine on the nodes' link opens connections to a Service and leaves them half open.

use super::flood::syns_from_underlay;
use crate::attack::Attack;
use crate::held::Connections;

pub(super) const ATTACK: Attack = Attack {
    name: "flood of SYNs, from the underlay",
    idea: "A machine that is not a node sends SYNs to a Service through a node, ten times as many as the table \
           of flows has room for, while a pod of the node has idle connections. It would push them out: the \
           pod's next segment goes to another backend, which resets the connection.",
    needs_check: false,
    run: |scene| {
        let held = Connections::open(&scene.victim, scene.services.web)?;
        syns_from_underlay(scene)?;
        Ok(held.gain())
    },
};
