//! Telling apart what the agent writes itself and what others change. Pure.
//!
//! The kernel tells of every change, also of the agent's own, and a pass for these would find
//! nothing to do: with thousands of peers that takes as long as what it follows, and holds up what
//! comes next. Who has made a change is not always said. But an entry that has become what it shall
//! be needs no pass, whoever made it so; if it becomes something else, that is told again.

use weir_netlink::notify::{Change, Entry};

use crate::overlay::{
    diff::{ObservedHop, is_same_hop},
    plan::Desired,
};

/// Whether a change has made an entry what `desired` says. `tunnel` is the index of the device.
pub(super) fn is_as_desired(change: &Change, desired: &Desired, tunnel: Option<u32>) -> bool {
    match change {
        Change::Route { protocol: _, entry } => match entry {
            Entry::Is(route) => desired.routes.get(&route.destination).is_some_and(|hop| {
                let found = ObservedHop { link: route.link, gateway: route.gateway };
                is_same_hop(hop, &found, tunnel)
            }),
            Entry::Gone(route) => !desired.routes.contains_key(&route.destination),
            Entry::Other => false,
        },
        Change::Neighbour { link, ip: Some(ip), mac } if Some(*link) == tunnel => {
            desired.neighbours.get(ip) == mac.as_ref()
        }
        Change::Forwarding { link, entry } if Some(*link) == tunnel => match entry {
            Entry::Is(found) => desired.fdb.get(&found.mac) == Some(&found.remote),
            Entry::Gone(found) => desired.fdb.get(&found.mac) != Some(&found.remote),
            Entry::Other => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use weir_netlink::{MacAddr, fdb::TunnelEntry, route::Route};

    use super::*;
    use crate::overlay::{ROUTE_PROTOCOL, plan::Hop};

    const TUNNEL: u32 = 9;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    fn desired() -> Desired {
        let mut desired = Desired::default();
        desired
            .routes
            .insert("10.1.0.0/24".parse().unwrap(), Hop::Tunnel { gateway: ip("10.1.0.0") });
        desired.neighbours.insert(ip("10.1.0.0"), mac(1));
        desired.fdb.insert(mac(1), ip("192.0.2.1"));
        desired
    }

    fn is_echo(change: &Change) -> bool {
        is_as_desired(change, &desired(), Some(TUNNEL))
    }

    fn route(to: &str, link: u32, wrap: fn(Route) -> Entry<Route>) -> Change {
        let network: ipnetwork::IpNetwork = to.parse().unwrap();
        let entry = wrap(Route::new(network, Some(network.ip()), link));
        Change::Route { protocol: ROUTE_PROTOCOL, entry }
    }

    fn neighbour(at: &str, last: Option<u8>) -> Change {
        Change::Neighbour { link: TUNNEL, ip: Some(ip(at)), mac: last.map(mac) }
    }

    fn forwarding(last: u8, to: &str, wrap: fn(TunnelEntry) -> Entry<TunnelEntry>) -> Change {
        let entry = wrap(TunnelEntry { link: TUNNEL, mac: mac(last), remote: ip(to) });
        Change::Forwarding { link: TUNNEL, entry }
    }

    #[test]
    fn what_comes_as_it_shall_be_and_what_goes_that_shall_not_be_needs_no_pass() {
        for change in [
            route("10.1.0.0/24", TUNNEL, Entry::Is),
            route("10.2.0.0/24", TUNNEL, Entry::Gone),
            neighbour("10.1.0.0", Some(1)),
            neighbour("10.2.0.0", None),
            forwarding(1, "192.0.2.1", Entry::Is),
            forwarding(1, "192.0.2.2", Entry::Gone),
            forwarding(2, "192.0.2.1", Entry::Gone),
        ] {
            assert!(is_echo(&change), "{change:?}");
        }
    }

    #[test]
    fn everything_else_does() {
        for change in [
            route("10.1.0.0/24", TUNNEL, Entry::Gone),
            route("10.1.0.0/24", TUNNEL + 1, Entry::Is),
            route("10.2.0.0/24", TUNNEL, Entry::Is),
            neighbour("10.1.0.0", None),
            neighbour("10.1.0.0", Some(2)),
            neighbour("10.2.0.0", Some(1)),
            forwarding(1, "192.0.2.1", Entry::Gone),
            forwarding(1, "192.0.2.2", Entry::Is),
            forwarding(2, "192.0.2.1", Entry::Is),
            Change::Route { protocol: ROUTE_PROTOCOL, entry: Entry::Other },
            Change::Neighbour { link: TUNNEL, ip: None, mac: None },
            Change::Forwarding { link: TUNNEL, entry: Entry::Other },
            Change::Link { index: TUNNEL, name: "weir.1".to_owned() },
            Change::Lost,
        ] {
            assert!(!is_echo(&change), "{change:?}");
        }
    }

    #[test]
    fn on_another_tunnel_device_nothing_is_as_it_shall_be() {
        let change = neighbour("10.1.0.0", Some(1));
        assert!(!is_as_desired(&change, &desired(), Some(TUNNEL + 1)));
        assert!(!is_as_desired(&route("10.1.0.0/24", TUNNEL, Entry::Is), &desired(), None));
    }
}
