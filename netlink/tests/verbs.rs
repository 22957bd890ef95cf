//! The verbs against the real kernel, each test in network namespaces of its own. Needs root.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{future::Future, net::IpAddr, thread};

use ipnetwork::IpNetwork;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use weir_netlink::{
    Link, LinkKind, MacAddr, Netlink, Netns, address, bridge,
    fdb::{self, BridgeEntry},
    link::{self, LinkChange},
    neigh, removal, route, sysctl, veth, vxlan,
};

const MAC: MacAddr = MacAddr::new([0x0a, 0x58, 10, 1, 2, 1]);
const PEER_MAC: MacAddr = MacAddr::new([0x0a, 0x58, 10, 1, 2, 2]);

/// Runs a test in a new network namespace, on a thread that ends with it.
fn in_new_netns<F: Future<Output = ()>>(test: impl FnOnce(Netlink) -> F + Send) {
    let outcome = thread::scope(|scope| {
        let run = || {
            // SAFETY: a network namespace of its own does not affect the memory of this process.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("these tests need root");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { test(Netlink::open().unwrap()).await });
        };
        scope.spawn(run).join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A network namespace that no thread is in.
fn new_netns() -> Netns {
    let create = || {
        // SAFETY: as above.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        Netns::current().unwrap()
    };
    thread::spawn(create).join().unwrap()
}

fn bridge_spec(name: &str) -> bridge::BridgeSpec {
    bridge::BridgeSpec { name: name.to_owned(), mac: MAC, mtu: 1450 }
}

/// A pair `port0` and `eth0`, the latter in `netns`.
fn pair<'a>(port_of: &Link, mtu: u32, netns: &'a Netns) -> veth::VethSpec<'a> {
    veth::VethSpec {
        name: "port0",
        controller: port_of.index,
        mtu,
        peer_name: "eth0",
        peer_mac: PEER_MAC,
        peer_netns: netns,
    }
}

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_bridge_is_created_once_and_then_found() {
    in_new_netns(|netlink| async move {
        let first = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        assert_eq!(first.kind, Some(LinkKind::Bridge));
        assert_eq!((first.mac, first.mtu, first.is_up), (Some(MAC), 1450, true));
        let other = bridge::BridgeSpec { mac: PEER_MAC, ..bridge_spec("br0") };
        let again = bridge::ensure(&netlink, &other).await.unwrap();
        assert_eq!((again.index, again.mac), (first.index, Some(MAC)));
    });
}

#[test]
fn a_bridge_that_is_down_comes_up() {
    in_new_netns(|netlink| async move {
        let found = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let down = LinkChange { up: Some(false), ..LinkChange::default() };
        link::change(&netlink, found.index, &down).await.unwrap();
        bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        assert!(link::find(&netlink, "br0").await.unwrap().unwrap().is_up);
    });
}

#[test]
fn a_link_of_another_kind_is_not_used_as_a_bridge() {
    in_new_netns(|netlink| async move {
        let error = bridge::ensure(&netlink, &bridge_spec("lo")).await.unwrap_err();
        assert!(error.is_other_kind(), "{error:?}");
    });
}

#[test]
fn the_peer_of_a_veth_is_created_in_the_other_namespace() {
    in_new_netns(|netlink| async move {
        let netns = new_netns();
        let inside = Netlink::open_in(&netns).unwrap();
        let port_of = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let spec = pair(&port_of, 1400, &netns);
        veth::create(&netlink, &spec).await.unwrap();
        let port = link::find(&netlink, "port0").await.unwrap().unwrap();
        let peer = link::find(&inside, "eth0").await.unwrap().unwrap();
        assert_eq!((port.mtu, port.controller, port.is_up), (1400, Some(port_of.index), false));
        assert_eq!((peer.mtu, peer.mac, peer.is_up), (1400, Some(PEER_MAC), false));
        assert_eq!((port.kind, port.peer), (Some(LinkKind::Veth), Some(peer.index)));

        // Either name being taken is an error that makes nothing.
        assert!(veth::create(&netlink, &spec).await.unwrap_err().is_already_there());
        let other = veth::VethSpec { name: "port1", ..spec };
        assert!(veth::create(&netlink, &other).await.unwrap_err().is_already_there());
        assert_eq!(link::find(&netlink, "port1").await.unwrap(), None);

        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        link::change(&inside, peer.index, &up).await.unwrap();
        link::change(&netlink, port.index, &up).await.unwrap();
        assert!(link::wait_until_running(&netlink, "port0").await.unwrap().is_running);
        assert!(link::delete(&netlink, "port0").await.unwrap());
        assert!(!link::delete(&netlink, "port0").await.unwrap());
        assert_eq!(link::find(&inside, "eth0").await.unwrap(), None);
    });
}

#[test]
fn a_link_that_is_deleted_unwaited_is_gone_when_that_returns() {
    in_new_netns(|netlink| async move {
        for number in 0..50 {
            let netns = new_netns();
            let inside = Netlink::open_in(&netns).unwrap();
            let port_of = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
            let spec = pair(&port_of, 1500, &netns);
            // The name is free again, so creating it does not collide.
            veth::create(&netlink, &spec).await.unwrap_or_else(|e| panic!("{number}: {e:?}"));
            assert!(removal::delete_unwaited(&netlink, "port0").await.unwrap());
            assert_eq!(link::find(&netlink, "port0").await.unwrap(), None);
            assert_eq!(link::find(&inside, "eth0").await.unwrap(), None);
            assert_eq!(link::list_ports(&netlink, port_of.index).await.unwrap(), []);
        }
        assert!(!removal::delete_unwaited(&netlink, "port0").await.unwrap());
    });
}

#[test]
fn a_link_that_cannot_be_deleted_is_an_error_unwaited_too() {
    in_new_netns(|netlink| async move {
        let error = removal::delete_unwaited(&netlink, "lo").await.unwrap_err();
        assert!(error.is_unsupported(), "{error:?}");
        assert!(link::find(&netlink, "lo").await.unwrap().is_some());
    });
}

#[test]
fn a_link_is_waited_for_until_its_carrier_comes() {
    in_new_netns(|netlink| async move {
        let netns = new_netns();
        let inside = Netlink::open_in(&netns).unwrap();
        let port_of = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let spec = pair(&port_of, 1500, &netns);
        veth::create(&netlink, &spec).await.unwrap();
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        let port = link::find(&netlink, "port0").await.unwrap().unwrap();
        link::change(&netlink, port.index, &up).await.unwrap();
        assert!(!link::find(&netlink, "port0").await.unwrap().unwrap().is_running);
        let raise = async {
            // Let the waiter subscribe first; it must see the change either way.
            tokio::task::yield_now().await;
            let peer = link::find(&inside, "eth0").await.unwrap().unwrap();
            link::change(&inside, peer.index, &up).await.unwrap();
        };
        let (running, ()) =
            futures_util::future::join(link::wait_until_running(&netlink, "port0"), raise).await;
        assert!(running.unwrap().is_running);
    });
}

#[test]
fn a_carrier_that_never_comes_is_a_timeout() {
    in_new_netns(|netlink| async move {
        bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let impatient = netlink.with_time_limit(std::time::Duration::from_millis(50));
        let error = link::wait_until_running(&impatient, "br0").await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    });
}

#[test]
fn alias_hairpin_and_ports_are_seen_as_they_were_set() {
    in_new_netns(|netlink| async move {
        let netns = new_netns();
        let port_of = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let spec = pair(&port_of, 1500, &netns);
        veth::create(&netlink, &spec).await.unwrap();
        let port = link::find(&netlink, "port0").await.unwrap().unwrap();
        assert_eq!(port.hairpin, Some(false));
        let change = LinkChange {
            alias: Some("default/web".to_owned()),
            hairpin: Some(true),
            ..LinkChange::default()
        };
        for _ in 0..2 {
            link::change(&netlink, port.index, &change).await.unwrap();
        }
        let ports = link::list_ports(&netlink, port_of.index).await.unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].alias.as_deref(), Some("default/web"));
        assert_eq!(ports[0].hairpin, Some(true));

        for _ in 0..2 {
            fdb::ensure_static(&netlink, port.index, PEER_MAC).await.unwrap();
        }
        let entry =
            BridgeEntry { mac: PEER_MAC, link: port.index, is_local: false, is_sticky: true };
        let bridge = port_of.index;
        assert_eq!(fdb::find_fixed(&netlink, bridge, PEER_MAC).await.unwrap(), Some(entry));
        assert!(fdb::list_fixed(&netlink, bridge).await.unwrap().contains(&entry));
    });
}

#[test]
fn a_bridges_own_fdb_entry_is_taken_back_from_a_port() {
    in_new_netns(|netlink| async move {
        let netns = new_netns();
        let bridge = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        veth::create(&netlink, &pair(&bridge, 1500, &netns)).await.unwrap();
        let port = link::find(&netlink, "port0").await.unwrap().unwrap();
        let (mac, index) = (bridge.mac.unwrap(), bridge.index);
        let own = BridgeEntry { mac, link: index, is_local: true, is_sticky: false };
        assert_eq!(fdb::find_fixed(&netlink, index, mac).await.unwrap(), Some(own));

        fdb::ensure_static(&netlink, port.index, mac).await.unwrap();
        let taken = BridgeEntry { mac, link: port.index, is_local: false, is_sticky: true };
        assert_eq!(fdb::find_fixed(&netlink, index, mac).await.unwrap(), Some(taken));
        assert!(!fdb::list_fixed(&netlink, index).await.unwrap().contains(&own));

        for _ in 0..2 {
            fdb::ensure_own(&netlink, index, mac).await.unwrap();
            assert_eq!(fdb::find_fixed(&netlink, index, mac).await.unwrap(), Some(own));
        }
        let of_port: Vec<_> = fdb::list_fixed(&netlink, index).await.unwrap();
        // The port's own MAC address is the host's too.
        let port_mac = port.mac.unwrap();
        assert!(of_port.iter().any(|entry| entry.mac == port_mac && entry.is_local), "{of_port:?}");
        let unknown = MacAddr::new([2, 0, 0, 0, 0, 99]);
        assert_eq!(fdb::find_fixed(&netlink, index, unknown).await.unwrap(), None);
    });
}

#[test]
fn an_address_is_added_once_usable_at_once_and_removed_once() {
    in_new_netns(|netlink| async move {
        let link = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        let wanted = [network("10.1.2.1/24"), network("fd00:1::1/64")];
        for network in wanted.iter().chain(&wanted) {
            address::ensure(&netlink, link.index, *network).await.unwrap();
        }
        let present = address::list(&netlink, link.index).await.unwrap();
        assert_eq!(present.iter().map(|a| a.network).collect::<Vec<_>>(), wanted);
        assert!(present.iter().all(|a| a.is_global && !a.is_tentative), "{present:?}");
        assert!(address::delete(&netlink, link.index, wanted[0]).await.unwrap());
        assert!(!address::delete(&netlink, link.index, wanted[0]).await.unwrap());
        // Addresses of other links are not this one's.
        assert_eq!(address::list(&netlink, 1).await.unwrap(), []);
    });
}

#[test]
fn a_route_is_read_back_as_it_was_written() {
    in_new_netns(|netlink| async move {
        let link = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        for network in [network("10.1.2.1/24"), network("fd00:1::1/64")] {
            address::ensure(&netlink, link.index, network).await.unwrap();
        }
        let routes = [
            route::Route {
                protocol: 90,
                priority: Some(7),
                mtu: Some(1300),
                advmss: Some(1200),
                scope: Some(0),
                ..route::Route::new(network("10.9.0.0/16"), Some(ip("10.1.2.7")), link.index)
            },
            route::Route {
                on_link: true,
                scope: Some(0),
                ..route::Route::new(network("0.0.0.0/0"), Some(ip("192.0.2.1")), link.index)
            },
            route::Route {
                table: 1000,
                priority: Some(1024),
                scope: Some(0),
                ..route::Route::new(network("fd09::/48"), Some(ip("fd00:1::7")), link.index)
            },
        ];
        for wanted in &routes {
            assert!(route::add(&netlink, wanted).await.unwrap(), "{wanted:?}");
            assert!(!route::add(&netlink, wanted).await.unwrap(), "{wanted:?}");
            route::ensure(&netlink, wanted).await.unwrap();
            let present = route::list(&netlink, wanted.table).await.unwrap();
            assert!(present.contains(wanted), "{wanted:?} not in {present:?}");
            assert!(route::delete(&netlink, wanted).await.unwrap());
            assert!(!route::delete(&netlink, wanted).await.unwrap());
        }
    });
}

#[test]
fn ensuring_a_route_replaces_another_gateway() {
    in_new_netns(|netlink| async move {
        let link = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        address::ensure(&netlink, link.index, network("10.1.2.1/24")).await.unwrap();
        for gateway in ["10.1.2.7", "10.1.2.8"] {
            let wanted = route::Route::new(network("10.9.0.0/16"), Some(ip(gateway)), link.index);
            route::ensure(&netlink, &wanted).await.unwrap();
        }
        let present = route::list(&netlink, route::TABLE_MAIN).await.unwrap();
        let to = network("10.9.0.0/16");
        let gateways: Vec<_> =
            present.iter().filter(|r| r.destination == to).map(|r| r.gateway).collect();
        assert_eq!(gateways, [Some(ip("10.1.2.8"))]);
    });
}

#[test]
fn a_tunnel_sends_only_to_the_remotes_that_were_set() {
    in_new_netns(|netlink| async move {
        let underlay = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        address::ensure(&netlink, underlay.index, network("192.0.2.1/24")).await.unwrap();
        let spec = vxlan::VxlanSpec {
            name: "weir.1".to_owned(),
            vni: 1,
            port: 8472,
            local: ip("192.0.2.1"),
            underlay: underlay.index,
            mac: PEER_MAC,
            mtu: 1400,
        };
        vxlan::create(&netlink, &spec).await.unwrap();
        assert!(vxlan::create(&netlink, &spec).await.unwrap_err().is_already_there());
        let tunnel = link::find(&netlink, "weir.1").await.unwrap().unwrap();
        assert_eq!(tunnel.kind, Some(LinkKind::Vxlan));
        assert_eq!((tunnel.mac, tunnel.mtu, tunnel.is_up), (Some(PEER_MAC), 1400, true));

        let mut entry = fdb::TunnelEntry { link: tunnel.index, mac: MAC, remote: ip("192.0.2.2") };
        fdb::ensure_remote(&netlink, &entry).await.unwrap();
        entry.remote = ip("192.0.2.3");
        for _ in 0..2 {
            fdb::ensure_remote(&netlink, &entry).await.unwrap();
        }
        assert_eq!(fdb::list_remote(&netlink, tunnel.index).await.unwrap(), [entry]);
        assert!(fdb::delete_remote(&netlink, &entry).await.unwrap());
        assert!(!fdb::delete_remote(&netlink, &entry).await.unwrap());

        let neighbour = neigh::Neighbour { link: tunnel.index, ip: ip("10.1.3.0"), mac: MAC };
        for _ in 0..2 {
            neigh::ensure(&netlink, &neighbour).await.unwrap();
        }
        assert_eq!(neigh::list_permanent(&netlink, tunnel.index).await.unwrap(), [neighbour]);
        assert!(neigh::delete(&netlink, tunnel.index, neighbour.ip).await.unwrap());
        assert!(!neigh::delete(&netlink, tunnel.index, neighbour.ip).await.unwrap());
    });
}

#[test]
fn a_tunnel_over_ipv6_is_read_back() {
    in_new_netns(|netlink| async move {
        let underlay = bridge::ensure(&netlink, &bridge_spec("br0")).await.unwrap();
        address::ensure(&netlink, underlay.index, network("fd00:77::1/64")).await.unwrap();
        let spec = vxlan::VxlanSpec {
            name: "weir.1".to_owned(),
            vni: 1,
            port: 8472,
            local: ip("fd00:77::1"),
            underlay: underlay.index,
            mac: PEER_MAC,
            mtu: 1380,
        };
        vxlan::create(&netlink, &spec).await.unwrap();
        let tunnel = link::find(&netlink, "weir.1").await.unwrap().unwrap();
        let entry = fdb::TunnelEntry { link: tunnel.index, mac: MAC, remote: ip("fd00:77::2") };
        fdb::ensure_remote(&netlink, &entry).await.unwrap();
        assert_eq!(fdb::list_remote(&netlink, tunnel.index).await.unwrap(), [entry]);
    });
}

#[test]
fn a_sysctl_belongs_to_the_namespace_and_is_written_only_if_it_differs() {
    in_new_netns(|_netlink| async move {
        let key = "net/ipv4/conf/lo/rp_filter";
        let other = if sysctl::read(key).unwrap() == "1" { "0" } else { "1" };
        assert_eq!(sysctl::ensure(key, other).unwrap(), sysctl::Outcome::Changed);
        assert_eq!(sysctl::ensure(key, other).unwrap(), sysctl::Outcome::Kept);
        let elsewhere = new_netns().run(|| sysctl::read(key).unwrap()).unwrap();
        assert_ne!(elsewhere, other);
        assert!(sysctl::read("net/ipv4/conf/nothing/rp_filter").unwrap_err().is_not_found());
    });
}

#[test]
fn a_thread_is_back_in_its_namespace_after_a_panic() {
    let home = Netns::current().unwrap();
    let away = new_netns();
    assert!(!home.is_same_as(&away).unwrap());
    let panicked = std::panic::catch_unwind(|| {
        let _ = away.run(|| assert!(home.is_same_as(&Netns::current().unwrap()).unwrap()));
    });
    assert!(panicked.is_err());
    assert!(home.is_same_as(&Netns::current().unwrap()).unwrap());
}

#[test]
fn a_file_that_is_not_a_namespace_is_an_error_that_names_the_file() {
    let error = Netns::open("/nonexistent/netns").unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("/nonexistent/netns"), "{error}");
    let error = Netns::open("/proc/self/status").unwrap().run(|| ()).unwrap_err();
    assert!(error.to_string().contains("/proc/self/status"), "{error}");
}
