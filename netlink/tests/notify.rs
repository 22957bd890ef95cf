//! Notifications of the kernel, and tunnel devices. Needs root.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{net::IpAddr, thread, time::Duration};

use futures_util::{Stream, StreamExt};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, unshare_unsafe,
};
use weir_netlink::{
    MacAddr, Netlink, Netns, address,
    bridge::{self, BridgeSpec},
    fdb, link, neigh,
    notify::{self, Change, Entry},
    offload,
    route::{self, Route},
    veth::{self, VethSpec},
    vxlan::{self, VxlanSpec},
};

/// A bridge with an address, as an underlay, in a namespace of the test's own.
fn on_underlay<F: Future<Output = ()>>(test: impl FnOnce(Netlink, u32) -> F + Send) {
    let run = || {
        // SAFETY: a network namespace of its own does not affect the memory of this process.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("these tests need root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let netlink = Netlink::open().unwrap();
            let mac = MacAddr::new([0x0a, 0x58, 0, 0, 0, 1]);
            let spec = BridgeSpec { name: "under0".to_owned(), mac, mtu: 1500 };
            let underlay = bridge::ensure(&netlink, &spec).await.unwrap();
            address::ensure(&netlink, underlay.index, "192.0.2.1/24".parse().unwrap())
                .await
                .unwrap();
            test(netlink, underlay.index).await;
        });
    };
    if let Err(panic) = thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

fn spec(underlay: u32) -> VxlanSpec {
    VxlanSpec {
        name: "weir.7".to_owned(),
        vni: 7,
        port: 4789,
        local: "192.0.2.1".parse().unwrap(),
        underlay,
        mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
        mtu: 1400,
    }
}

#[test]
fn a_tunnel_device_is_read_back_as_it_was_created() {
    on_underlay(|netlink, underlay| async move {
        assert_eq!(vxlan::find(&netlink, "weir.7").await.unwrap(), None);
        let wanted = spec(underlay);
        vxlan::create(&netlink, &wanted).await.unwrap();
        let found = vxlan::find(&netlink, "weir.7").await.unwrap().unwrap();
        assert_eq!((found.vni, found.port), (Some(7), Some(4789)));
        assert_eq!((found.local, found.underlay), (Some(wanted.local), Some(underlay)));
        assert_eq!((found.link.mac, found.link.mtu), (Some(wanted.mac), 1400));
        assert!(!found.learning && found.link.is_up);
        assert!(vxlan::find(&netlink, "under0").await.unwrap_err().is_other_kind());
    });
}

#[test]
fn the_checksum_offload_of_a_tunnel_is_switched_once() {
    on_underlay(|netlink, underlay| async move {
        vxlan::create(&netlink, &spec(underlay)).await.unwrap();
        for on in [false, true] {
            assert!(offload::ensure_tx_checksum("weir.7", on).unwrap());
            assert!(!offload::ensure_tx_checksum("weir.7", on).unwrap());
        }
        assert!(offload::ensure_tx_checksum("nothing", true).unwrap_err().is_not_found());
        assert!(offload::ensure_tx_checksum(&"x".repeat(99), true).unwrap_err().is_not_found());
    });
}

#[test]
fn every_kind_of_change_is_reported_with_its_object() {
    on_underlay(|netlink, underlay| async move {
        let mut changes = notify::changes(&netlink).unwrap();
        vxlan::create(&netlink, &spec(underlay)).await.unwrap();
        let tunnel = link::find(&netlink, "weir.7").await.unwrap().unwrap().index;
        address::ensure(&netlink, tunnel, "10.1.0.0/32".parse().unwrap()).await.unwrap();
        let remote: IpAddr = "192.0.2.9".parse().unwrap();
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let entry = fdb::TunnelEntry { link: tunnel, mac, remote };
        fdb::ensure_remote(&netlink, &entry).await.unwrap();
        let to = "10.2.0.0/24".parse().unwrap();
        let plain = Route::new(to, Some("10.2.0.0".parse().unwrap()), tunnel);
        let made = Route { protocol: 87, on_link: true, ..plain };
        route::add(&netlink, &made).await.unwrap();
        let ip = "10.2.0.0".parse().unwrap();
        let neighbour = neigh::Neighbour { link: tunnel, ip, mac };
        neigh::ensure(&netlink, &neighbour).await.unwrap();

        // As the kernel reports it.
        let all = route::list(&netlink, route::TABLE_MAIN).await.unwrap();
        let made = all.into_iter().find(|found| found.destination == to).unwrap();
        let missing = vec![
            Change::Link { index: tunnel, name: "weir.7".to_owned() },
            Change::Address { link: tunnel },
            Change::Forwarding { link: tunnel, entry: Entry::Is(entry) },
            Change::Neighbour { link: tunnel, ip: Some(ip), mac: Some(mac) },
            Change::Route { protocol: 87, entry: Entry::Is(made.clone()) },
        ];
        all_are_reported(&mut changes, missing).await;

        route::delete(&netlink, &made).await.unwrap();
        neigh::delete(&netlink, tunnel, ip).await.unwrap();
        fdb::delete_remote(&netlink, &entry).await.unwrap();
        let missing = vec![
            Change::Forwarding { link: tunnel, entry: Entry::Gone(entry) },
            Change::Neighbour { link: tunnel, ip: Some(ip), mac: None },
            Change::Route { protocol: 87, entry: Entry::Gone(made) },
        ];
        all_are_reported(&mut changes, missing).await;
    });
}

#[test]
fn an_entry_of_a_bridge_is_reported_with_its_mac_address() {
    on_underlay(|netlink, bridge| async move {
        let mut changes = notify::changes(&netlink).unwrap();
        let mac = MacAddr::new([0x0a, 0x58, 0, 0, 0, 1]);
        let spec = VethSpec {
            name: "port0",
            controller: bridge,
            mtu: 1500,
            peer_name: "peer0",
            peer_mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            peer_netns: &Netns::current().unwrap(),
        };
        veth::create(&netlink, &spec).await.unwrap();
        let port = link::find(&netlink, "port0").await.unwrap().unwrap().index;
        fdb::ensure_static(&netlink, port, mac).await.unwrap();
        all_are_reported(&mut changes, vec![Change::BridgeEntry { bridge, mac, is_local: false }])
            .await;
        fdb::ensure_own(&netlink, bridge, mac).await.unwrap();
        all_are_reported(&mut changes, vec![Change::BridgeEntry { bridge, mac, is_local: true }])
            .await;
    });
}

#[test]
fn changes_are_reported_to_a_process_with_only_net_admin() {
    on_underlay(|netlink, underlay| async move {
        let only = CapabilitySet::NET_ADMIN;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: only, permitted: only, inheritable: none };
        set_capabilities(None, sets).unwrap();
        let mut changes = notify::changes(&netlink).unwrap();
        address::ensure(&netlink, underlay, "192.0.2.2/24".parse().unwrap()).await.unwrap();
        let change = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
        change.expect("a change in time").expect("a change");
    });
}

async fn all_are_reported(
    changes: &mut (impl Stream<Item = Change> + Unpin),
    mut missing: Vec<Change>,
) {
    while !missing.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
        assert!(next.is_ok(), "not reported: {missing:?}");
        let change = next.unwrap().unwrap();
        missing.retain(|wanted| *wanted != change);
    }
}
