//! A pod opens connections and leaves them half open.

use super::flood::syns;
use crate::attack::Attack;
use crate::held::Connections;

pub(super) const ATTACK: Attack = Attack {
    name: "flood of SYNs",
    idea: "A pod sends SYNs to a Service from all ports, ten times as many as the table of flows has entries, \
           while a neighbour has idle connections. It would push them out: the neighbour's next segment goes \
           to another backend, which resets the connection.",
    needs_check: false,
    run: |scene| {
        let held = Connections::open(&scene.victim, scene.services.web)?;
        syns(scene)?;
        Ok(held.gain())
    },
};
