//! The table as a batch of nftables commands. Pure.
//!
//! In nft's own language, for a node of 10.244.1.0/24 whose tunnel ends at 172.16.0.1:
//!
//! ```text
//! table inet weir {
//!     set local_ipv4   { type ipv4_addr; flags interval; elements = { 10.244.1.0/24 } }
//!     set cluster_ipv4 { type ipv4_addr; flags interval; elements = { 10.244.0.0/16 } }
//!     set exempt_ipv4  { type ipv4_addr; flags interval; elements = { 224.0.0.0/4, 255.255.255.255 } }
//!     …and the same three for IPv6…
//!     chain postrouting { type nat hook postrouting priority srcnat;
//!         oifname != "weir0" ip saddr @local_ipv4 ip daddr != @cluster_ipv4 ip daddr != @exempt_ipv4
//!             counter masquerade fully-random
//!         …and the same for IPv6…
//!     }
//!     chain prerouting { type filter hook prerouting priority raw;
//!         udp dport 8472 goto to_tunnel
//!     }
//!     chain output { type filter hook output priority raw; udp dport 8472 notrack }
//!
//!     set peers_ipv4 { type ipv4_addr; elements = { 172.16.0.2, 172.16.0.3, … } }
//!     counter tunnel_from_pods { }
//!     counter tunnel_from_others { }
//!     chain to_tunnel {
//!         iifname "weir0" goto from_pods
//!         ip saddr @peers_ipv4 ip daddr 172.16.0.1 notrack accept
//!         meta nfproto ipv4 fib daddr type { local, broadcast, anycast, multicast }
//!             counter name tunnel_from_others drop
//!         ip saddr != @peers_ipv4 ip daddr @peers_ipv4 counter name tunnel_from_others drop
//!     }
//!     chain from_pods {
//!         ip daddr @peers_ipv4 counter name tunnel_from_pods drop
//!         meta nfproto ipv4 fib daddr type { local, broadcast, anycast, multicast }
//!             counter name tunnel_from_pods drop
//!     }
//!     chain input { type nat hook input priority -199;
//!         udp dport 8472 meta nfproto ipv4 counter name tunnel_from_others drop
//!     }
//!     chain to_peers { type nat hook postrouting priority -199;
//!         udp dport 8472 ip daddr @peers_ipv4 counter name tunnel_from_others drop
//!     }
//! }
//! ```
//!
//! The kernel takes tunnel packets at every address of the node, also at broadcast addresses, so the
//! port is guarded for all of them. Packets are guarded before routing, where they have to pass a chain in any
//! case for `notrack`: one more hook costs each of them more than all of these rules. The kernel's
//! conntrack has put fragments together by then. What this node forwards to the port of another one can
//! get this node's address by NAT, so it is dropped here, unless a node has sent it. What another program's
//! DNAT leads to a port afterwards is a flow of conntrack's, so the chains of type nat meet it, the last one
//! before masquerading. The tunnel's own packets, which are not tracked, do not pass these chains.
//!
//! With the eBPF data path, which sets marks, the table also has, with the default bits:
//!
//! ```text
//!     chain prerouting { type filter hook prerouting priority raw;
//!         udp dport 8472 meta mark & 0xc00000 == 0xc00000 notrack accept
//!         meta mark & 0x800000 == 0x800000 goto rejected
//!         udp dport 8472 goto to_tunnel
//!     }
//!     chain rejected {
//!         meta mark & 0x400000 == 0x400000 return
//!         meta l4proto tcp counter reject with tcp reset
//!         counter reject with icmpx port-unreachable
//!     }
//!     chain postrouting { …, first:
//!         meta mark & 0x400000 == 0x400000 meta mark set meta mark & 0xff1fffff return
//!         meta mark & 0x200000 == 0x200000 meta mark set meta mark & 0xff1fffff
//!             counter masquerade fully-random
//!     }
//! ```
//!
//! The marks are cleared with the first packet of a flow, as kube-proxy does: if a tunnel of another
//! program carries it, the flow of that tunnel's own packets begins without a mark. A chain that cleared them
//! with every packet would cost every packet.
//!
//! A packet with the marks for a reply and for a rejection is one of the tunnel's, which the program at
//! the uplink has found to be from a peer. What that program does not admit, or has not seen, is looked
//! at in `to_tunnel`. The program at the tunnel takes the marks off what was in it; before that program is
//! attached, such a packet is not rejected.
//!
//! A packet passes few rules, because a rule costs much compared with the rest of the node's work on
//! a packet: a TCP packet between two pods is compared with UDP in `prerouting` and leaves the chain.
//! A chain of type nat, with its counters, sees only the first packet of a flow.

mod phrase;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::IpNetwork;
use nftables::{
    batch::Batch,
    expr::MetaKey,
    schema::{
        Chain, Counter, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table,
    },
    stmt::{Mangle, Operator, RejectType, Statement},
    types::{NfChainPolicy, NfChainType, NfHook, RejectCode},
};

use self::phrase::{
    and, count, counter, field, goto, has_mark, is_for_node, mark, masquerade, matches, meta,
    network, reject,
};
use super::{
    address_set::merged,
    peer_set,
    spec::{Marks, Masquerade, TunnelEnd},
    table::{FAMILY, TABLE},
};

/// A chain without a hook: packets with the reject mark go there. `reject` before routing needs Linux
/// 5.9.
const REJECTED: &str = "rejected";
/// Chains without a hook: packets to the tunnel's port go there, and from there those of pods.
const TO_TUNNEL: &str = "to_tunnel";
const OF_PODS: &str = "from_pods";
/// Counters of the packets to a tunnel's port that are dropped: those of this node's pods …
pub(super) const FROM_PODS: &str = "tunnel_from_pods";
/// … and those of all others that are not peers.
pub(super) const FROM_OTHERS: &str = "tunnel_from_others";

const IPPROTO_TCP: u32 = 6;

const PRIORITY_RAW: i32 = -300;
/// The first that the kernel takes for a chain of type nat: once one has translated a source, it asks no
/// others.
const PRIORITY_FIRST_NAT: i32 = -199;
const PRIORITY_SRCNAT: i32 = 100;

/// Destinations that are never masqueraded: multicast and the limited broadcast.
const MULTICAST: [(IpAddr, u8); 3] = [
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The commands that replace the table in one transaction, whether or not it exists.
pub fn ruleset(wanted: &Masquerade) -> Nftables<'static> {
    let mut batch = Batch::new();
    // Deleting a table that does not exist is an error: add it first.
    batch.add(table());
    batch.delete(table());
    batch.add(table());
    add_source_nat(&mut batch, wanted);
    add_prerouting(&mut batch, wanted);
    if let Some(tunnel) = &wanted.tunnel {
        add_translated(&mut batch, tunnel);
        add_chain(&mut batch, "output", NfChainType::Filter, NfHook::Output, PRIORITY_RAW);
        add_rule(&mut batch, "output", vec![is_to_port(tunnel.port), Statement::Notrack]);
    }
    batch.to_nftables()
}

/// The commands that delete the table.
pub(super) fn removal() -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table());
    batch.delete(table());
    batch.to_nftables()
}

fn add_source_nat(batch: &mut Batch<'static>, wanted: &Masquerade) {
    let name = "postrouting";
    add_chain(batch, name, NfChainType::NAT, NfHook::Postrouting, PRIORITY_SRCNAT);
    if let Some(marks) = wanted.marks {
        let clear = || Statement::Mangle(Mangle { key: mark(), value: and(mark(), !marks.all()) });
        let reply = vec![has_mark(marks.reply), clear(), Statement::Return(None)];
        add_rule(batch, name, reply);
        let marked = vec![has_mark(marks.masquerade), clear(), counter(), masquerade()];
        add_rule(batch, name, marked);
    }
    if !wanted.ip_masq {
        return;
    }
    for ipv4 in [true, false] {
        let (family, protocol) = if ipv4 { ("ipv4", "ip") } else { ("ipv6", "ip6") };
        let local = format!("local_{family}");
        let cluster = format!("cluster_{family}");
        let exempt = format!("exempt_{family}");
        add_set(batch, &local, ipv4, &wanted.local_pod_cidrs);
        let pods = wanted.pod_networks.iter().chain(&wanted.local_pod_cidrs);
        add_set(batch, &cluster, ipv4, pods);
        add_set(batch, &exempt, ipv4, &exemptions(wanted));
        let leaves_cluster = vec![
            matches(meta(MetaKey::Oifname), Operator::NEQ, wanted.bridge.clone()),
            matches(field(protocol, "saddr"), Operator::EQ, format!("@{local}")),
            matches(field(protocol, "daddr"), Operator::NEQ, format!("@{cluster}")),
            matches(field(protocol, "daddr"), Operator::NEQ, format!("@{exempt}")),
            counter(),
            masquerade(),
        ];
        add_rule(batch, name, leaves_cluster);
    }
}

/// One chain for all decisions about incoming packets. It comes before conntrack, so that a rejected
/// packet leaves no conntrack entry.
fn add_prerouting(batch: &mut Batch<'static>, wanted: &Masquerade) {
    if wanted.marks.is_none() && wanted.tunnel.is_none() {
        return;
    }
    let name = "prerouting";
    add_chain(batch, name, NfChainType::Filter, NfHook::Prerouting, PRIORITY_RAW);
    if let Some(marks) = wanted.marks {
        add_rejected(batch, marks);
        if let Some(tunnel) = &wanted.tunnel {
            let is_admitted = has_mark(marks.reply | marks.reject);
            let accept = Statement::Accept(None);
            let admitted = vec![is_to_port(tunnel.port), is_admitted, Statement::Notrack, accept];
            add_rule(batch, name, admitted);
        }
        add_rule(batch, name, vec![has_mark(marks.reject), goto(REJECTED)]);
    }
    if let Some(tunnel) = &wanted.tunnel {
        add_to_tunnel(batch, tunnel, &wanted.bridge);
        add_rule(batch, name, vec![is_to_port(tunnel.port), goto(TO_TUNNEL)]);
    }
}

/// What happens to packets to the tunnel's port before routing.
fn add_to_tunnel(batch: &mut Batch<'static>, tunnel: &TunnelEnd, bridge: &str) {
    let ipv4 = tunnel.local.is_ipv4();
    let protocol = if ipv4 { "ip" } else { "ip6" };
    batch.add(peer_set::new(&tunnel.peers, ipv4));
    for name in [FROM_PODS, FROM_OTHERS] {
        batch.add(NfListObject::Counter(Counter {
            family: FAMILY,
            table: TABLE.into(),
            name: name.into(),
            packets: Some(0),
            bytes: Some(0),
            ..Counter::default()
        }));
    }
    for chain in [TO_TUNNEL, OF_PODS] {
        add_chain_without_hook(batch, chain);
    }
    let is_from_pod = matches(meta(MetaKey::Iifname), Operator::EQ, bridge.to_owned());
    add_rule(batch, TO_TUNNEL, vec![is_from_pod, goto(OF_PODS)]);
    // A pod may use the same port. Packets that are forwarded or bridged to it need conntrack for NAT.
    let own = vec![
        matches(field(protocol, "saddr"), Operator::EQ, peers_of(tunnel)),
        matches(field(protocol, "daddr"), Operator::EQ, tunnel.local.to_string()),
        Statement::Notrack,
        Statement::Accept(None),
    ];
    add_rule(batch, TO_TUNNEL, own);
    let to_socket = |count| vec![is_of_family(tunnel), is_for_node(), count, Statement::Drop(None)];
    add_rule(batch, TO_TUNNEL, to_socket(count(FROM_OTHERS)));
    let is_from_peer = |op| matches(field(protocol, "saddr"), op, peers_of(tunnel));
    let forwarded = vec![is_from_peer(Operator::NEQ), is_for_peer(tunnel)];
    let dropped = [count(FROM_OTHERS), Statement::Drop(None)];
    add_rule(batch, TO_TUNNEL, [forwarded, dropped.into()].concat());
    add_rule(batch, OF_PODS, vec![is_for_peer(tunnel), count(FROM_PODS), Statement::Drop(None)]);
    add_rule(batch, OF_PODS, to_socket(count(FROM_PODS)));
}

/// What DNAT has led to the tunnel's port, of this node and of others. The latter is dropped before any
/// source NAT.
fn add_translated(batch: &mut Batch<'static>, tunnel: &TunnelEnd) {
    for (name, hook, is_for_tunnel) in [
        ("input", NfHook::Input, is_of_family(tunnel)),
        ("to_peers", NfHook::Postrouting, is_for_peer(tunnel)),
    ] {
        add_chain(batch, name, NfChainType::NAT, hook, PRIORITY_FIRST_NAT);
        let to_port = is_to_port(tunnel.port);
        let dropped = vec![to_port, is_for_tunnel, count(FROM_OTHERS), Statement::Drop(None)];
        add_rule(batch, name, dropped);
    }
}

fn is_for_peer(tunnel: &TunnelEnd) -> Statement<'static> {
    let protocol = if tunnel.local.is_ipv4() { "ip" } else { "ip6" };
    matches(field(protocol, "daddr"), Operator::EQ, peers_of(tunnel))
}

/// The tunnel has a socket of its own family only.
fn is_of_family(tunnel: &TunnelEnd) -> Statement<'static> {
    let family = if tunnel.local.is_ipv4() { "ipv4" } else { "ipv6" };
    matches(meta(MetaKey::Nfproto), Operator::EQ, family.to_owned())
}

fn peers_of(tunnel: &TunnelEnd) -> String {
    format!("@{}", peer_set::name(tunnel.local.is_ipv4()))
}

fn add_rejected(batch: &mut Batch<'static>, marks: Marks) {
    add_chain_without_hook(batch, REJECTED);
    // It came out of the tunnel, before the program there was attached.
    add_rule(batch, REJECTED, vec![has_mark(marks.reply), Statement::Return(None)]);
    // By number, because nft looks names up in a file that a container image may not have.
    let is_tcp = matches(meta(MetaKey::L4proto), Operator::EQ, IPPROTO_TCP);
    let reset = reject(RejectType::TCPReset, None);
    let unreachable = reject(RejectType::ICMPX, Some(RejectCode::PortUnreach));
    add_rule(batch, REJECTED, vec![is_tcp, counter(), reset]);
    add_rule(batch, REJECTED, vec![counter(), unreachable]);
}

fn is_to_port(port: u16) -> Statement<'static> {
    matches(field("udp", "dport"), Operator::EQ, u32::from(port))
}

fn exemptions(wanted: &Masquerade) -> Vec<IpNetwork> {
    let multicast = MULTICAST.iter().filter_map(|(ip, prefix)| IpNetwork::new(*ip, *prefix).ok());
    let nodes = wanted.direct_nodes.iter().copied().map(IpNetwork::from);
    wanted.no_masquerade_cidrs.iter().copied().chain(nodes).chain(multicast).collect()
}

fn table() -> NfListObject<'static> {
    NfListObject::Table(Table { family: FAMILY, name: TABLE.into(), handle: None })
}

fn add_chain(
    batch: &mut Batch<'static>,
    name: &'static str,
    kind: NfChainType,
    hook: NfHook,
    priority: i32,
) {
    batch.add(NfListObject::Chain(Chain {
        family: FAMILY,
        table: TABLE.into(),
        name: name.into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
}

fn add_chain_without_hook(batch: &mut Batch<'static>, name: &'static str) {
    batch.add(NfListObject::Chain(Chain {
        family: FAMILY,
        table: TABLE.into(),
        name: name.into(),
        ..Chain::default()
    }));
}

fn add_rule(batch: &mut Batch<'static>, chain: &'static str, statements: Vec<Statement<'static>>) {
    batch.add(NfListObject::Rule(Rule {
        family: FAMILY,
        table: TABLE.into(),
        chain: chain.into(),
        expr: statements.into(),
        ..Rule::default()
    }));
}

fn add_set<'a>(
    batch: &mut Batch<'static>,
    name: &str,
    ipv4: bool,
    networks: impl IntoIterator<Item = &'a IpNetwork>,
) {
    let elements: Vec<_> = merged(networks, ipv4).into_iter().map(network).collect();
    let kind = if ipv4 { SetType::Ipv4Addr } else { SetType::Ipv6Addr };
    batch.add(NfListObject::Set(Box::new(Set {
        family: FAMILY,
        table: TABLE.into(),
        name: name.to_owned().into(),
        set_type: SetTypeValue::Single(kind),
        flags: Some(HashSet::from([SetFlag::Interval])),
        elem: (!elements.is_empty()).then(|| elements.into()),
        ..Set::default()
    })));
}

#[cfg(test)]
mod tests;
