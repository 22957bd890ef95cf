//! A pod opens and closes connections.

use super::flood::short_connections;
use crate::attack::Attack;
use crate::held::Connections;

pub(super) const ATTACK: Attack = Attack {
    name: "flood of short connections",
    idea: "A pod opens and closes connections to a Service, ten times as many as the table of flows has room \
           for, while a neighbour has idle connections. It would push them out: the neighbour's next segment \
           goes to another backend, which resets the connection.",
    needs_check: false,
    run: |scene| {
        let held = Connections::open(&scene.victim, scene.services.web)?;
        short_connections(scene)?;
        Ok(held.gain())
    },
};
