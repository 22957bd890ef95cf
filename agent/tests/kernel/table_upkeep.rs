//! Keeping, repairing, replacing and removing the table `inet weir`.

use std::{
    io,
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};

use weir_agent::masquerade::{Masquerade, Outcome, Reason, ensure, follow_peers, remove};

use crate::scene::{NODE, OUTSIDE, POD, Scene, in_new_netns, nft, tunnel, wanted};

/// An arbitrary port.
const PORT: u16 = 7000;

#[test]
fn a_second_pass_writes_nothing_although_counters_have_changed() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&wanted()).await.unwrap();
        let before = table_without_counts();
        for to in OUTSIDE.each() {
            scene.source_outside(to, PORT);
        }
        assert!(nft("list table inet weir").contains("packets 1"));
        assert_eq!(ensure(&wanted()).await.unwrap(), Outcome::Kept);
        // The kernel never reuses handles: nothing was removed and added again.
        assert_eq!(table_without_counts(), before);
    });
}

#[test]
fn every_edit_of_the_table_is_repaired() {
    in_new_netns(|| async {
        ensure(&wanted()).await.unwrap();
        let whole = rules();
        let edits = [
            "flush chain inet weir postrouting",
            "flush chain inet weir fingerprint",
            "delete element inet weir local_ipv4 { 10.244.1.0/24 }",
            "add element inet weir exempt_ipv6 { 2001:db8::/32 }",
            "insert rule inet weir prerouting counter drop",
            "add chain inet weir more { type filter hook forward priority 5; policy drop; }",
            "add chain inet weir input { policy drop; }",
            "delete table inet weir; add table inet weir",
        ];
        for edit in edits {
            nft(edit);
            let outcome = ensure(&wanted()).await.unwrap();
            assert_eq!(outcome, Outcome::Written(Reason::Edited), "{edit}");
            assert_eq!(rules(), whole, "{edit}");
            assert_eq!(ensure(&wanted()).await.unwrap(), Outcome::Kept, "{edit}");
        }
        nft("flush ruleset");
        assert_eq!(ensure(&wanted()).await.unwrap(), Outcome::Written(Reason::Absent));
        assert_eq!(rules(), whole);
    });
}

#[test]
fn new_input_replaces_the_table_and_connections_survive() {
    in_new_netns(|| async {
        let scene = Scene::new().await;
        ensure(&wanted()).await.unwrap();
        let to = OUTSIDE.each()[0];
        let server = scene.outside.run(|| TcpListener::bind((to, PORT))).unwrap().unwrap();
        let mut client = scene.pod.run(|| TcpStream::connect((to, PORT))).unwrap().unwrap();
        let (mut peer, address) = server.accept().unwrap();
        assert_eq!(address.ip(), NODE.each()[0]);

        let more = Masquerade { no_masquerade_cidrs: vec![to.into()], ..wanted() };
        assert_eq!(ensure(&more).await.unwrap(), Outcome::Written(Reason::Outdated));
        assert_eq!(scene.source_outside(to, PORT), POD.each()[0]);
        for stream in [&client, &peer] {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        io::Write::write_all(&mut client, b"still here").unwrap();
        let mut buffer = [0; 10];
        io::Read::read_exact(&mut peer, &mut buffer).unwrap();
        assert_eq!(&buffer, b"still here");
    });
}

/// The input with these peers.
fn with_peers(peers: impl IntoIterator<Item = IpAddr>) -> Masquerade {
    let peers: Vec<_> = peers.into_iter().collect();
    Masquerade { tunnel: Some(tunnel(NODE.each()[0], &peers)), ..wanted() }
}

fn peer(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0xac10_0000 + number).into()
}

#[test]
fn only_the_peers_that_differ_are_written() {
    in_new_netns(|| async {
        let first = with_peers([peer(2), peer(3)]);
        ensure(&first).await.unwrap();
        let rules = |listing: &str| listing[listing.find("chain").unwrap()..].to_owned();
        let before = rules(&table_without_counts());
        let second = with_peers([peer(3), peer(4)]);
        let peers = Outcome::Written(Reason::Peers);
        assert_eq!(follow_peers(&first, &second).await.unwrap(), peers);
        assert_eq!(follow_peers(&second, &second).await.unwrap(), Outcome::Kept);
        assert_eq!(ensure(&second).await.unwrap(), Outcome::Kept);
        let set = nft("list set inet weir peers_ipv4");
        assert!(!set.contains("172.16.0.2") && set.contains("172.16.0.4"), "{set}");
        // As another agent finds it that has been started since.
        assert_eq!(ensure(&first).await.unwrap(), peers);
        assert_eq!(rules(&table_without_counts()), before);
        for edit in
            ["flush set inet weir peers_ipv4", "add element inet weir peers_ipv4 { 1.2.3.4 }"]
        {
            nft(edit);
            assert_eq!(ensure(&first).await.unwrap(), peers, "{edit}");
        }
        nft("add element inet weir peers_ipv4 { 1.2.3.4 comment \"mine\" }");
        assert_eq!(ensure(&first).await.unwrap(), Outcome::Written(Reason::Edited));
        assert_eq!(rules(&table_without_counts()).len(), before.len());
    });
}

#[test]
fn peers_are_followed_in_a_table_that_another_program_has_changed() {
    in_new_netns(|| async {
        let (first, second) = (with_peers([peer(2)]), with_peers([peer(3)]));
        ensure(&first).await.unwrap();
        // The element that is to be removed does not exist.
        nft("flush set inet weir peers_ipv4");
        let peers = Outcome::Written(Reason::Peers);
        assert_eq!(follow_peers(&first, &second).await.unwrap(), peers);
        nft("flush ruleset");
        let absent = Outcome::Written(Reason::Absent);
        assert_eq!(follow_peers(&second, &first).await.unwrap(), absent);
        let other_port = Masquerade { tunnel: None, ..first.clone() };
        let outdated = Outcome::Written(Reason::Outdated);
        assert_eq!(follow_peers(&first, &other_port).await.unwrap(), outdated);
    });
}

#[test]
fn thousands_of_peers_are_accepted() {
    in_new_netns(|| async {
        let many = with_peers((2..5002).map(peer));
        assert_eq!(ensure(&many).await.unwrap(), Outcome::Written(Reason::Absent));
        assert_eq!(ensure(&many).await.unwrap(), Outcome::Kept);
        let more = with_peers((3..10_000).map(peer));
        assert_eq!(follow_peers(&many, &more).await.unwrap(), Outcome::Written(Reason::Peers));
        assert_eq!(ensure(&more).await.unwrap(), Outcome::Kept);
    });
}

#[test]
fn one_family_thousands_of_networks_and_the_default_route_are_accepted() {
    in_new_netns(|| async {
        let mut many = wanted();
        many.local_pod_cidrs.truncate(1);
        many.no_masquerade_cidrs = vec!["0.0.0.0/0".parse().unwrap()];
        let gaps = (0..5000u32).map(|n| format!("10.{}.{}.0/25", 128 + n / 256, n % 256));
        many.pod_networks = gaps.map(|text| text.parse().unwrap()).collect();
        assert_eq!(ensure(&many).await.unwrap(), Outcome::Written(Reason::Absent));
        assert_eq!(ensure(&many).await.unwrap(), Outcome::Kept);
    });
}

#[test]
fn foreign_tables_are_not_changed_by_updates_and_removal() {
    in_new_netns(|| async {
        nft(
            "table ip weir { chain mine { counter; }; }; table inet other { set s { type mark; }; }",
        );
        let foreign = || (nft("list table ip weir"), nft("list table inet other"));
        let before = foreign();
        ensure(&wanted()).await.unwrap();
        nft("flush chain inet weir postrouting");
        ensure(&wanted()).await.unwrap();
        assert_eq!(foreign(), before);
        assert!(remove().await.unwrap());
        assert!(!remove().await.unwrap());
        assert_eq!(foreign(), before);
        assert!(!nft("list tables").contains("inet weir"));
    });
}

/// The table with handles, without the values of counters.
fn table_without_counts() -> String {
    let words = nft("list table inet weir");
    let words = words.split_whitespace().scan("", |last, word| {
        let is_count = ["packets", "bytes"].contains(last);
        *last = word;
        Some(if is_count { "" } else { word })
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The table without handles and counts.
fn rules() -> String {
    let table = table_without_counts();
    let words = table.split(" # handle ").map(|part| part.trim_start_matches(char::is_numeric));
    words.collect()
}
