//! The set of the peers' addresses: what follows the nodes while the rest of the table stays as it is.
//!
//! Two sets differ by few elements when a node joins or leaves, and the transaction has only these.
//! The set is therefore no part of the table's fingerprint.

use std::{collections::BTreeSet, net::IpAddr};

use nftables::{
    batch::Batch,
    expr::Expression,
    schema::{Element, NfListObject, Nftables, Set, SetType, SetTypeValue},
};
use serde_json::Value;

use super::table::{FAMILY, TABLE};

/// The sets' names: IPv4, then IPv6. A table has the one of the tunnel's family.
const NAMES: [&str; 2] = ["peers_ipv4", "peers_ipv6"];

/// The name of a family's set.
pub(super) const fn name(ipv4: bool) -> &'static str {
    let [of_ipv4, of_ipv6] = NAMES;
    if ipv4 { of_ipv4 } else { of_ipv6 }
}

/// Whether this is the name of a set of peers.
pub(super) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The set of a new table. It has no intervals, so that a look-up is one of a hash table.
pub(super) fn new(peers: &BTreeSet<IpAddr>, ipv4: bool) -> NfListObject<'static> {
    let elements: Vec<_> = peers.iter().map(element).collect();
    let kind = if ipv4 { SetType::Ipv4Addr } else { SetType::Ipv6Addr };
    NfListObject::Set(Box::new(Set {
        family: FAMILY,
        table: TABLE.into(),
        name: name(ipv4).into(),
        set_type: SetTypeValue::Single(kind),
        elem: (!elements.is_empty()).then(|| elements.into()),
        ..Set::default()
    }))
}

/// The transaction that leads from the elements `present` to those that are wanted; `None` if they
/// are the same.
pub(super) fn change(
    present: &BTreeSet<IpAddr>,
    wanted: &BTreeSet<IpAddr>,
) -> Option<Nftables<'static>> {
    if present == wanted {
        return None;
    }
    let mut batch = Batch::new();
    for ipv4 in [true, false] {
        let of_family = |ip: &&IpAddr| ip.is_ipv4() == ipv4;
        let elements = |ips: Vec<&IpAddr>| {
            let elem: Vec<_> = ips.into_iter().map(element).collect();
            let object = |elem: Vec<_>| {
                NfListObject::Element(Element {
                    family: FAMILY,
                    table: TABLE.into(),
                    name: name(ipv4).into(),
                    elem: elem.into(),
                })
            };
            (!elem.is_empty()).then(|| object(elem))
        };
        let new = elements(wanted.difference(present).filter(of_family).collect());
        let stale = elements(present.difference(wanted).filter(of_family).collect());
        new.into_iter().for_each(|new| batch.add(new));
        stale.into_iter().for_each(|stale| batch.delete(stale));
    }
    Some(batch.to_nftables())
}

/// Takes the addresses out of a listed set, which is then as it was declared. An element that the
/// agent does not write, such as one with a comment, stays.
pub(super) fn take_elements(set: &mut Value) -> BTreeSet<IpAddr> {
    let mut taken = BTreeSet::new();
    let Some(members) = set.as_object_mut() else { return taken };
    if let Some(Value::Array(elements)) = members.get_mut("elem") {
        elements.retain(|element| {
            let ip: Option<IpAddr> = element.as_str().and_then(|text| text.parse().ok());
            taken.extend(ip);
            ip.is_none()
        });
        if elements.is_empty() {
            members.remove("elem");
        }
    }
    taken
}

fn element(ip: &IpAddr) -> Expression<'static> {
    Expression::String(ip.to_string().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The elements after a transaction. As in the kernel, a deleted element must exist.
    fn apply(transaction: &Nftables<'_>, mut present: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let transaction = serde_json::to_value(transaction).unwrap();
        for command in transaction["nftables"].as_array().unwrap() {
            for (verb, add) in [("add", true), ("delete", false)] {
                let Some(element) = command.pointer(&format!("/{verb}/element")) else { continue };
                for ip in element["elem"].as_array().unwrap() {
                    let ip: IpAddr = ip.as_str().unwrap().parse().unwrap();
                    assert_eq!(element["name"], name(ip.is_ipv4()));
                    let changed = if add { present.insert(ip) } else { present.remove(&ip) };
                    assert!(changed, "{verb} {ip}");
                }
            }
        }
        present
    }

    fn any_peers() -> impl Strategy<Value = BTreeSet<IpAddr>> {
        let ip = (0_u8..12, any::<bool>()).prop_map(|(host, ipv4)| {
            let text = if ipv4 { format!("192.0.2.{host}") } else { format!("2001:db8::{host:x}") };
            text.parse().unwrap()
        });
        prop::collection::btree_set(ip, 0..10)
    }

    proptest! {
        #[test]
        fn the_transaction_leads_to_the_wanted_peers(present in any_peers(), wanted in any_peers()) {
            match change(&present, &wanted) {
                Some(transaction) => {
                    prop_assert_eq!(apply(&transaction, present), wanted);
                }
                None => prop_assert_eq!(present, wanted),
            }
        }
    }

    #[test]
    fn a_listed_set_without_its_addresses_is_as_it_was_declared() {
        let declared = json!({"name": "peers_ipv4", "type": "ipv4_addr"});
        let mut listed = declared.clone();
        listed["elem"] = json!(["192.0.2.1", "192.0.2.7"]);
        let taken = take_elements(&mut listed);
        assert_eq!(taken, ["192.0.2.1", "192.0.2.7"].map(|ip| ip.parse().unwrap()).into());
        assert_eq!(listed, declared);
        listed["elem"] = json!([{"elem": {"val": "192.0.2.1", "comment": "mine"}}]);
        assert!(take_elements(&mut listed).is_empty());
        assert_ne!(listed, declared);
    }
}
