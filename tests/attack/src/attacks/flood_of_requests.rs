//! A pod opens flows of datagrams that have replies.

use super::flood::requests;
use crate::attack::Attack;
use crate::held::Datagrams;

pub(super) const ATTACK: Attack = Attack {
    name: "flood of requests",
    idea: "A pod sends requests to a Service by UDP from many ports, ten times as many as the table of flows \
           has room for, and gets replies, while a neighbour has idle streams. It would push them out: the \
           neighbour's next datagram goes to another backend.",
    needs_check: false,
    run: |scene| {
        let held = Datagrams::open(&scene.victim, scene.services.web)?;
        held.become_streams()?;
        requests(scene)?;
        Ok(held.gain())
    },
};
