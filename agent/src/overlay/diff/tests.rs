//! The operations lead to the desired state, on a model of the kernel.

use proptest::prelude::*;

use super::*;

const INDEX: u32 = 9;
const NEW_INDEX: u32 = 10;

/// The kernel's state after the operations.
fn apply(ops: &[Op], mut state: Observed) -> Observed {
    for op in ops {
        let index = state.tunnel.as_ref().map(|tunnel| tunnel.index);
        let hop = |hop: &Hop| match hop {
            Hop::Tunnel { gateway } => {
                ObservedHop { link: index.expect("no tunnel"), gateway: Some(*gateway) }
            }
            Hop::Direct { gateway, link } => ObservedHop { link: *link, gateway: Some(*gateway) },
        };
        match op {
            Op::DeleteTunnel(name) => {
                if !state.other_tunnels.remove(name) {
                    state.tunnel = None;
                    state.addresses.clear();
                    state.neighbours.clear();
                    state.fdb.clear();
                    state.routes.retain(|_, hop| Some(hop.link) != index);
                }
            }
            Op::CreateTunnel(tunnel) => {
                assert_eq!(state.tunnel, None);
                state.tunnel = Some(observed_tunnel(tunnel.clone(), NEW_INDEX));
            }
            Op::ChangeTunnel(tunnel) => {
                state.tunnel = Some(observed_tunnel(tunnel.clone(), index.unwrap()));
            }
            Op::AddAddress(network) => assert!(state.addresses.insert(*network)),
            Op::DeleteAddress(network) => assert!(state.addresses.remove(network)),
            Op::DeleteRoute(cidr, _) => assert!(state.routes.remove(cidr).is_some()),
            Op::AddRoute(cidr, new) => assert_eq!(state.routes.insert(*cidr, hop(new)), None),
            Op::ReplaceRoute(cidr, new) => {
                assert!(state.routes.insert(*cidr, hop(new)).is_some());
            }
            Op::SetNeighbour(ip, mac) => {
                state.neighbours.insert(*ip, *mac);
            }
            Op::DeleteNeighbour(ip) => assert!(state.neighbours.remove(ip).is_some()),
            Op::SetFdb(mac, remote) => {
                assert!(!state.fdb.iter().any(|(other, _)| other == mac), "still sent elsewhere");
                state.fdb.insert((*mac, *remote));
            }
            Op::DeleteFdb(mac, remote) => assert!(state.fdb.remove(&(*mac, *remote))),
        }
    }
    state
}

fn observed_tunnel(settings: Tunnel, index: u32) -> ObservedTunnel {
    let name = settings.name.clone();
    ObservedTunnel { name, settings: Some(settings), index, is_up: true, learning: false }
}

prop_compose! {
    fn any_tunnel()(
        vni in 1_u32..3, port in 1_u16..3, local in 1_u8..3, underlay in 2_u32..4,
        mac in 0_u8..2, mtu in 1400_u32..1402,
    ) -> Tunnel {
        Tunnel {
            name: "weir.1".into(), vni, port, underlay, mtu,
            local: [192, 0, 2, local].into(), mac: MacAddr::new([2, 0, 0, 0, 0, mac]),
        }
    }
}

fn cidr(n: u8) -> IpNetwork {
    format!("10.0.{n}.0/24").parse().unwrap()
}

prop_compose! {
    fn any_desired()(
        tunnel in prop::option::of(any_tunnel()),
        peers in prop::collection::btree_map(0_u8..6, (0_u8..3, any::<bool>(), 1_u8..4), 0..6),
    ) -> Desired {
        let mut desired = Desired { tunnel, ..Desired::default() };
        if desired.tunnel.is_some() {
            desired.addresses.insert("10.0.99.0/32".parse().unwrap());
        }
        for (n, (link, direct, remote)) in peers {
            let gateway: IpAddr = [192, 0, 2, remote].into();
            if direct || desired.tunnel.is_none() {
                desired.routes.insert(cidr(n), Hop::Direct { gateway, link: u32::from(link) });
            } else {
                let vtep = cidr(n).network();
                let mac = MacAddr::new([2, 1, 0, 0, 0, n]);
                desired.routes.insert(cidr(n), Hop::Tunnel { gateway: vtep });
                desired.neighbours.insert(vtep, mac);
                desired.fdb.insert(mac, gateway);
            }
        }
        desired
    }
}

/// The kernel after another plan, and after changes by another program.
fn any_observed() -> impl Strategy<Value = Observed> {
    (
        any_desired(),
        any::<[bool; 6]>(),
        prop::collection::vec(0_u8..6, 0..4),
        prop::collection::btree_set("weir\\.[2-4]", 0..2),
    )
        .prop_map(|(desired, [up, learning, flip, extra, stray, unreadable], lost, others)| {
            let mut state = apply(&diff(&desired, &Observed::default()), Observed::default());
            if let Some(tunnel) = &mut state.tunnel {
                tunnel.index = INDEX;
                tunnel.is_up = up;
                tunnel.learning = learning && flip;
                if unreadable && flip {
                    tunnel.settings = None;
                }
                for hop in state.routes.values_mut().filter(|hop| hop.link == NEW_INDEX) {
                    hop.link = INDEX;
                }
                if extra {
                    let mac = MacAddr::new([2, 1, 0, 0, 0, 1]);
                    state.fdb.insert((mac, [203, 0, 113, 1].into()));
                    state.fdb.insert((mac, [203, 0, 113, 2].into()));
                    state.addresses.insert("198.51.100.1/32".parse().unwrap());
                }
                if stray {
                    state.neighbours.insert([10, 9, 9, 9].into(), MacAddr::new([2; 6]));
                }
            }
            for n in lost {
                state.routes.remove(&cidr(n));
                state.neighbours.remove(&cidr(n).network());
            }
            state.other_tunnels = others;
            state
        })
}

fn is_as_wanted(desired: &Desired, state: &Observed) -> bool {
    diff(desired, state).is_empty()
        && state.tunnel.as_ref().and_then(|tunnel| tunnel.settings.clone()) == desired.tunnel
        && state.addresses == desired.addresses
        && state.neighbours == desired.neighbours
        && state.fdb == desired.fdb.iter().map(|(mac, remote)| (*mac, *remote)).collect()
        && state.routes.keys().eq(desired.routes.keys())
}

proptest! {
    #[test]
    fn the_operations_lead_to_the_desired_state_and_a_second_pass_has_none(
        desired in any_desired(), observed in any_observed(),
    ) {
        let ops = diff(&desired, &observed);
        let after = apply(&ops, observed);
        prop_assert!(is_as_wanted(&desired, &after), "{ops:?} led to {after:?}");
    }

    #[test]
    fn the_remembered_state_is_the_state_that_would_be_read(desired in any_desired(), observed in any_observed()) {
        let after = apply(&diff(&desired, &observed), observed);
        let index = after.tunnel.as_ref().map(|tunnel| tunnel.index);
        prop_assert_eq!(Observed::settled(&desired, index), Some(after));
    }

    #[test]
    fn the_remembered_state_leads_to_the_same_operations_as_reading_the_kernel(
        plans in prop::collection::vec(any_desired(), 2..4),
    ) {
        let mut state = Observed::default();
        let mut before = None;
        for desired in plans {
            let index = state.tunnel.as_ref().map(|tunnel| tunnel.index);
            let seen = diff(&desired, &state);
            if let Some(before) = &before {
                let remembered = Observed::settled(before, index).unwrap();
                prop_assert_eq!(&diff(&desired, &remembered), &seen);
            }
            state = apply(&seen, state);
            before = Some(desired);
        }
    }

    #[test]
    fn a_new_peer_needs_only_its_own_entries(desired in any_desired()) {
        let before = apply(&diff(&desired, &Observed::default()), Observed::default());
        let mut more = desired;
        let direct = Hop::Direct { gateway: [192, 0, 2, 77].into(), link: 2 };
        more.routes.insert("10.7.7.0/24".parse().unwrap(), direct);
        prop_assert_eq!(diff(&more, &before).len(), 1);
    }
}

#[test]
fn a_recreated_tunnel_gets_all_peers_in_the_same_pass() {
    let tunnel = Tunnel {
        name: "weir.1".into(),
        vni: 1,
        port: 8472,
        local: [192, 0, 2, 1].into(),
        underlay: 2,
        mac: MacAddr::new([2; 6]),
        mtu: 1450,
    };
    let mut desired = Desired { tunnel: Some(tunnel), ..Desired::default() };
    let mac = MacAddr::new([2, 1, 0, 0, 0, 1]);
    desired.routes.insert(cidr(1), Hop::Tunnel { gateway: cidr(1).network() });
    desired.neighbours.insert(cidr(1).network(), mac);
    desired.fdb.insert(mac, [192, 0, 2, 2].into());
    let observed = apply(&diff(&desired, &Observed::default()), Observed::default());
    desired.tunnel.as_mut().unwrap().port = 4789;
    let kinds: Vec<_> = diff(&desired, &observed).iter().map(Op::kind).collect();
    assert_eq!(kinds, ["tunnel_delete", "tunnel_create", "neighbour_set", "fdb_set", "route_add"]);
}
