//! The attackers.

mod tunnel;
mod tunnel_as_node;
mod tunnel_from_pod;
mod tunnel_from_remote_pod;
mod tunnel_from_underlay;

use crate::attack::Attack;

/// All attackers.
pub(crate) const ATTACKS: &[&Attack] = &[
    &tunnel_from_underlay::ATTACK,
    &tunnel_from_pod::ATTACK,
    &tunnel_from_remote_pod::ATTACK,
    &tunnel_as_node::ATTACK,
];
