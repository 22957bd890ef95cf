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
//!         udp dport 8472 ip daddr 172.16.0.1 notrack
//!     }
//!     chain output { type filter hook output priority raw; udp dport 8472 notrack }
//! }
//! ```
//!
//! A datapath that sets marks adds to it, with the default bits:
//!
//! ```text
//!     chain prerouting { …, first:
//!         meta mark & 0x800000 == 0x800000 goto rejected
//!     }
//!     chain rejected {
//!         meta l4proto tcp counter reject with tcp reset
//!         counter reject with icmpx port-unreachable
//!     }
//!     chain postrouting { …, first:
//!         meta mark & 0x400000 == 0x400000 return
//!         meta mark & 0x200000 == 0x200000 counter masquerade fully-random
//!     }
//!     chain clear_marks { type filter hook postrouting priority 101;
//!         meta mark & 0xe00000 != 0 meta mark set meta mark & 0xff1fffff
//!     }
//! ```
//!
//! What each packet passes is kept short, because it costs as much as all else that a node does with
//! it: a TCP packet between two pods is compared with UDP in `prerouting` and leaves it. A chain of
//! type nat sees the first packet of a flow only; so do the counters.

mod phrase;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnetwork::IpNetwork;
use nftables::{
    batch::Batch,
    expr::MetaKey,
    schema::{Chain, NfListObject, Nftables, Rule, Set, SetFlag, SetType, SetTypeValue, Table},
    stmt::{Mangle, Operator, RejectType, Statement},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode},
};

use self::phrase::{
    and, counter, field, goto, has_mark, mark, masquerade, matches, meta, network, reject,
};
use super::{Marks, Masquerade, TunnelEnd, address_set::merged};

/// The table's name.
pub(super) use weir_node::names::NFTABLES_TABLE as TABLE;
/// Its family: IPv4 and IPv6 in one table.
pub(super) const FAMILY: NfFamily = NfFamily::INet;

/// At no hook: packets are sent here by their mark. `reject` before routing needs Linux 5.9.
const REJECTED: &str = "rejected";

const IPPROTO_TCP: u32 = 6;

const PRIORITY_RAW: i32 = -300;
const PRIORITY_SRCNAT: i32 = 100;

/// What never has its source replaced: multicast and the limited broadcast.
const MULTICAST: [(IpAddr, u8); 3] = [
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V4(Ipv4Addr::BROADCAST), 32),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The commands that replace the table, whatever it was, in one transaction.
pub fn ruleset(wanted: &Masquerade) -> Nftables<'static> {
    let mut batch = Batch::new();
    // Deleting what may not exist: add it first.
    batch.add(table());
    batch.delete(table());
    batch.add(table());
    add_source_nat(&mut batch, wanted);
    if let Some(marks) = wanted.marks {
        add_mark_clearing(&mut batch, marks);
    }
    add_prerouting(&mut batch, wanted);
    if let Some(TunnelEnd { port, .. }) = wanted.tunnel {
        add_chain(&mut batch, "output", NfChainType::Filter, NfHook::Output, PRIORITY_RAW);
        add_rule(&mut batch, "output", vec![is_to_port(port), Statement::Notrack]);
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
        add_rule(batch, name, vec![has_mark(marks.reply), Statement::Return(None)]);
        add_rule(batch, name, vec![has_mark(marks.masquerade), counter(), masquerade()]);
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

fn add_mark_clearing(batch: &mut Batch<'static>, marks: Marks) {
    let ours = marks.all();
    // Not in the chain above, which sees only the first packet of a flow; and after it.
    let name = "clear_marks";
    add_chain(batch, name, NfChainType::Filter, NfHook::Postrouting, PRIORITY_SRCNAT + 1);
    let is_marked = matches(and(mark(), ours), Operator::NEQ, 0);
    let clear = Statement::Mangle(Mangle { key: mark(), value: and(mark(), !ours) });
    add_rule(batch, name, vec![is_marked, clear]);
}

/// One chain for all that is decided on the way in. It comes before connection tracking: what is
/// rejected leaves no entry either.
fn add_prerouting(batch: &mut Batch<'static>, wanted: &Masquerade) {
    if wanted.marks.is_none() && wanted.tunnel.is_none() {
        return;
    }
    let name = "prerouting";
    add_chain(batch, name, NfChainType::Filter, NfHook::Prerouting, PRIORITY_RAW);
    if let Some(marks) = wanted.marks {
        add_rejected(batch);
        add_rule(batch, name, vec![has_mark(marks.reject), goto(REJECTED)]);
    }
    if let Some(TunnelEnd { port, local }) = wanted.tunnel {
        // A pod may use the same port; what is forwarded or bridged to it must be tracked, or it
        // could not be translated.
        let protocol = if local.is_ipv4() { "ip" } else { "ip6" };
        let is_for_tunnel = matches(field(protocol, "daddr"), Operator::EQ, local.to_string());
        add_rule(batch, name, vec![is_to_port(port), is_for_tunnel, Statement::Notrack]);
    }
}

fn add_rejected(batch: &mut Batch<'static>) {
    batch.add(NfListObject::Chain(Chain {
        family: FAMILY,
        table: TABLE.into(),
        name: REJECTED.into(),
        ..Chain::default()
    }));
    // By number: its name would be looked up in a file that a container image may not have.
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
