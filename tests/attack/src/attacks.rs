//! The attackers.

mod connection_as_neighbour;
mod datagrams_as_others;
mod flood;
mod flood_from_underlay;
mod flood_of_connections;
mod flood_of_datagrams;
mod flood_of_requests;
mod flood_of_syns;
mod neighbour_entries;
mod replies_as_service;
mod replies_from_underlay;
mod routes_of_neighbours;
mod tunnel;
mod tunnel_as_node;
mod tunnel_by_gateway;
mod tunnel_by_service;
mod tunnel_from_pod;
mod tunnel_from_remote_pod;
mod tunnel_from_underlay;
mod underlay_as_pod;

use crate::attack::Attack;

/// All attackers.
pub(crate) const ATTACKS: &[&Attack] = &[
    &connection_as_neighbour::ATTACK,
    &datagrams_as_others::ATTACK,
    &replies_as_service::ATTACK,
    &replies_from_underlay::ATTACK,
    &neighbour_entries::ATTACK,
    &routes_of_neighbours::ATTACK,
    &underlay_as_pod::ATTACK,
    &tunnel_from_underlay::ATTACK,
    &tunnel_from_pod::ATTACK,
    &tunnel_from_remote_pod::ATTACK,
    &tunnel_as_node::ATTACK,
    &tunnel_by_gateway::ATTACK,
    &tunnel_by_service::ATTACK,
    &flood_of_syns::ATTACK,
    &flood_from_underlay::ATTACK,
    &flood_of_connections::ATTACK,
    &flood_of_datagrams::ATTACK,
    &flood_of_requests::ATTACK,
];
