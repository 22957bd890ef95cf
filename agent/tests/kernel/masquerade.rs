//! The effect of the table `inet weir` on traffic.

use std::{
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use weir_agent::masquerade::{Masquerade, Outcome, Reason, ensure};
use weir_netlink::sysctl;

use crate::scene::{
    EXEMPT, NODE, OTHER_NODE, OTHER_POD, OUTSIDE, POD, REMOTE_POD, Scene, in_new_netns, nft, talk,
    tunnel, wanted,
};

/// An arbitrary port.
const PORT: u16 = 7000;

#[test]
fn traffic_out_of_the_cluster_gets_the_nodes_address() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        for (to, pod) in OUTSIDE.each().into_iter().zip(POD.each()) {
            assert_eq!(scene.source_outside(to, PORT), pod, "without the table there is no NAT");
        }
        assert_eq!(ensure(&wanted()).await.unwrap(), Outcome::Written(Reason::Absent));
        for (to, node) in OUTSIDE.each().into_iter().zip(NODE.each()) {
            assert_eq!(scene.source_outside(to, PORT), node);
        }
        // Otherwise a pod's address would be the source on the underlay.
        for (to, node) in OTHER_NODE.each().into_iter().zip(NODE.each()) {
            assert_eq!(scene.source_outside(to, PORT), node);
        }
    });
}

#[test]
fn within_the_cluster_and_to_exempt_networks_a_pod_keeps_its_address() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        let direct_nodes = OTHER_NODE.each().to_vec();
        ensure(&Masquerade { direct_nodes, tunnel: None, ..wanted() }).await.unwrap();
        for to in [REMOTE_POD, EXEMPT, OTHER_NODE] {
            for (to, pod) in to.each().into_iter().zip(POD.each()) {
                assert_eq!(scene.source_outside(to, PORT), pod, "{to}");
            }
        }
        for (to, pod) in OTHER_POD.each().into_iter().zip(POD.each()) {
            assert_eq!(talk(&scene.pod, &scene.other_pod, (to, PORT).into()), pod, "{to}");
        }
    });
}

#[test]
fn bridged_frames_keep_their_source_even_if_netfilter_sees_them() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        scene.route_outside_through_other_pod().await;
        ensure(&wanted()).await.unwrap();
        for value in ["0", "1"] {
            for family in ["ip", "ip6"] {
                sysctl::ensure(&format!("net/bridge/bridge-nf-call-{family}tables"), value)
                    .unwrap();
            }
            for destination in [OTHER_POD, OUTSIDE] {
                for (to, pod) in destination.each().into_iter().zip(POD.each()) {
                    let source = talk(&scene.pod, &scene.other_pod, (to, PORT).into());
                    assert_eq!(source, pod, "to {to}, bridge-nf-call {value}");
                }
            }
        }
    });
}

#[test]
fn without_ip_masq_only_marked_packets_are_masqueraded() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&Masquerade { ip_masq: false, ..wanted() }).await.unwrap();
        nft("table inet foreign { chain pre { type filter hook prerouting priority mangle;
            udp dport 7002 meta mark set 0x200000; }; }");
        for (to, (pod, node)) in
            OUTSIDE.each().into_iter().zip(POD.each().into_iter().zip(NODE.each()))
        {
            assert_eq!(scene.source_outside(to, PORT), pod);
            assert_eq!(scene.source_outside(to, 7002), node);
        }
    });
}

#[test]
fn marks_take_precedence_over_addresses_and_are_cleared() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&wanted()).await.unwrap();
        nft("table inet foreign {
            counter left { }
            counter kept { }
            chain pre { type filter hook prerouting priority mangle;
                udp dport 7001 meta mark set 0x400001
                udp dport 7002 meta mark set 0x200001
            }
            chain post { type filter hook postrouting priority 200;
                meta mark & 0xe00000 != 0 counter name left
                meta mark 1 counter name kept
            }
        }");
        for (to, pod) in OUTSIDE.each().into_iter().zip(POD.each()) {
            assert_eq!(scene.source_outside(to, 7001), pod, "a reply is never masqueraded");
        }
        for (to, node) in EXEMPT.each().into_iter().zip(NODE.each()) {
            assert_eq!(scene.source_outside(to, 7002), node, "a marked packet always is");
        }
        let counters = nft("list counters table inet foreign");
        let (kept, left) = counters.split_once("counter left").map(|(a, b)| (b, a)).unwrap();
        assert!(kept.contains("packets 0"), "Weir's bits were not cleared: {counters}");
        assert!(!left.contains("packets 0"), "a foreign bit was cleared: {counters}");
        assert!(counters.contains("packets 4"), "{counters}");
    });
}

#[test]
fn packets_marked_for_rejection_are_refused_at_once() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&wanted()).await.unwrap();
        // Like the eBPF data path, which sets the mark before any chain.
        nft("table inet foreign { chain pre { type filter hook prerouting priority -350;
            iifname uplink meta l4proto { tcp, udp } th dport 7003 meta mark set 0x800000; }; }");
        // Forwarded to a pod, and to the node itself; both have a listener.
        for (at, is_pod) in [(POD, true), (NODE, false)] {
            for ip in at.each() {
                let bind = || (TcpListener::bind((ip, 7003)), UdpSocket::bind((ip, 7003)));
                let listeners = if is_pod { scene.pod.run(bind).unwrap() } else { bind() };
                let (_tcp, _udp) = (listeners.0.unwrap(), listeners.1.unwrap());
                let limit = Duration::from_secs(5);
                let connect = || TcpStream::connect_timeout(&(ip, 7003).into(), limit);
                let refused = scene.outside.run(connect).unwrap().unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "TCP to {ip}");

                let ask = || -> io::Result<usize> {
                    let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any)?;
                    socket.set_read_timeout(Some(limit))?;
                    socket.connect((ip, 7003))?;
                    socket.send(b"?")?;
                    socket.recv(&mut [0; 1])
                };
                let refused = scene.outside.run(ask).unwrap().unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "UDP to {ip}");
            }
        }
    });
}

#[test]
fn without_the_data_path_a_mark_has_no_effect() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&Masquerade { marks: None, ..wanted() }).await.unwrap();
        nft("table inet foreign { chain pre { type filter hook prerouting priority -350;
            udp dport 7001 meta mark set 0x400000
            udp dport 7002 meta mark set 0x200000
            udp dport 7003 meta mark set 0x800000; }; }");
        for (to, node) in OUTSIDE.each().into_iter().zip(NODE.each()) {
            assert_eq!(scene.source_outside(to, 7001), node);
            assert_eq!(scene.source_outside(to, 7003), node);
        }
        for (to, pod) in REMOTE_POD.each().into_iter().zip(POD.each()) {
            assert_eq!(scene.source_outside(to, 7002), pod);
        }
    });
}

#[test]
fn only_the_nodes_own_tunnel_packets_bypass_conntrack() {
    for (family, local) in NODE.each().into_iter().enumerate() {
        in_new_netns(|| async move {
            let scene = Scene::new().await;
            let tunnel = Some(tunnel(local, &[OTHER_NODE.each()[family]]));
            ensure(&Masquerade { tunnel, ..wanted() }).await.unwrap();
            nft("table inet foreign {
                counter untracked { }
                chain pre { type filter hook prerouting priority 0;
                    udp dport 8472 ct state untracked counter name untracked
                }
                chain out { type filter hook output priority 0;
                    udp dport 8472 ct state untracked counter name untracked
                }
            }");
            let untracked = || nft("list counters table inet foreign");
            // A pod may use the port too. Masquerading its traffic needs conntrack.
            for (to, node) in OUTSIDE.each().into_iter().zip(NODE.each()) {
                assert_eq!(scene.source_outside(to, 8472), node);
            }
            for ip in POD.each() {
                talk(&scene.outside, &scene.pod, (ip, 8472).into());
            }
            assert!(untracked().contains("packets 0"), "{}", untracked());

            let here = weir_netlink::Netns::current().unwrap();
            talk(&scene.outside, &here, (local, 8472).into());
            assert!(untracked().contains("packets 1"), "{}", untracked());
            talk(&here, &scene.outside, (OTHER_NODE.each()[family], 8472).into());
            assert!(untracked().contains("packets 2"), "{}", untracked());
        });
    }
}
