//! Recognizing the notifications that the agent's own changes cause. Pure.
//!
//! The kernel notifies about every change, including the agent's own. A pass for an own change would
//! find nothing to do, and with thousands of peers it takes as long as the pass that made the change
//! and delays the next one. A notification does not always say which program made the change. But a
//! change that makes an entry as desired needs no pass, whichever program made it. If the entry
//! changes again, the kernel notifies again.

use weir_netlink::notify::{Change, Entry};

use crate::{
    masquerade::{Masquerade, are_as_written},
    overlay::{
        diff::{ObservedHop, is_same_hop},
        plan::Desired,
    },
};

/// Whether a change has made an entry as `desired`, or as in the nftables table that was last
/// `written`. `tunnel` is the index of the tunnel device.
pub(super) fn is_as_desired(
    change: &Change,
    desired: &Desired,
    tunnel: Option<u32>,
    written: Option<&Masquerade>,
) -> bool {
    match change {
        Change::Elements(elements) => are_as_written(elements, written),
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
    use std::{net::IpAddr, sync::Arc};

    use weir_netlink::{MacAddr, fdb::TunnelEntry, notify::SetElement, route::Route};

    use super::*;
    use crate::{
        masquerade::TunnelEnd,
        overlay::{ROUTE_PROTOCOL, plan::Hop},
    };

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

    /// The table for a node with one peer.
    fn written() -> Masquerade {
        let peers = Arc::new([ip("192.0.2.1")].into());
        let local = ip("192.0.2.9");
        Masquerade {
            local_pod_cidrs: Vec::new(),
            pod_networks: Vec::new(),
            direct_nodes: Vec::new(),
            no_masquerade_cidrs: Vec::new(),
            ip_masq: true,
            tunnel: Some(TunnelEnd { port: 8472, local, peers }),
            bridge: "weir0".to_owned(),
            marks: None,
        }
    }

    fn elements(set: &str, entries: impl IntoIterator<Item = Entry<IpAddr>>) -> Change {
        let element = |entry| SetElement { set: set.to_owned(), entry };
        Change::Elements(entries.into_iter().map(element).collect())
    }

    fn is_self_caused(change: &Change) -> bool {
        is_as_desired(change, &desired(), Some(TUNNEL), Some(&written()))
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
    fn a_desired_entry_that_is_set_and_an_undesired_one_that_is_removed_need_no_pass() {
        for change in [
            route("10.1.0.0/24", TUNNEL, Entry::Is),
            route("10.2.0.0/24", TUNNEL, Entry::Gone),
            neighbour("10.1.0.0", Some(1)),
            neighbour("10.2.0.0", None),
            forwarding(1, "192.0.2.1", Entry::Is),
            forwarding(1, "192.0.2.2", Entry::Gone),
            forwarding(2, "192.0.2.1", Entry::Gone),
            elements("peers_ipv4", [Entry::Is(ip("192.0.2.1")), Entry::Gone(ip("192.0.2.2"))]),
        ] {
            assert!(is_self_caused(&change), "{change:?}");
        }
    }

    #[test]
    fn every_other_change_needs_a_pass() {
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
            elements("peers_ipv4", [Entry::Is(ip("192.0.2.1")), Entry::Is(ip("192.0.2.2"))]),
            elements("peers_ipv4", [Entry::Gone(ip("192.0.2.1"))]),
            elements("peers_ipv4", [Entry::Other]),
            elements("cluster_ipv4", [Entry::Is(ip("192.0.2.1"))]),
            Change::Table,
            Change::Link { index: TUNNEL, name: "weir.1".to_owned() },
            Change::Lost,
        ] {
            assert!(!is_self_caused(&change), "{change:?}");
        }
    }

    #[test]
    fn while_the_table_is_unknown_every_change_of_it_needs_a_pass() {
        let change = elements("peers_ipv4", [Entry::Is(ip("192.0.2.1"))]);
        assert!(!is_as_desired(&change, &desired(), Some(TUNNEL), None));
    }

    #[test]
    fn an_entry_on_another_tunnel_device_is_not_as_desired() {
        let change = neighbour("10.1.0.0", Some(1));
        assert!(!is_as_desired(&change, &desired(), Some(TUNNEL + 1), None));
        assert!(!is_as_desired(&route("10.1.0.0/24", TUNNEL, Entry::Is), &desired(), None, None));
    }
}
