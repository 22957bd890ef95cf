//! A pod opens flows of datagrams that nobody replies to.

use super::flood::one_way_datagrams;
use crate::attack::Attack;
use crate::held::Datagrams;

pub(super) const ATTACK: Attack = Attack {
    name: "flood of datagrams",
    idea: "A pod sends datagrams without replies to a Service from all ports, ten times as many as the table \
           of flows has entries, while a neighbour has idle flows with replies. It would push them out: the \
           neighbour's next datagram goes to another backend.",
    needs_check: false,
    run: |scene| {
        let held = Datagrams::open(&scene.victim, scene.services.web)?;
        one_way_datagrams(scene)?;
        Ok(held.gain())
    },
};
