//! What the FDB of the pods' bridge must have: an entry for the bridge itself, and one for each pod. Pure.
//!
//! The plugin makes the entries of pods and the kernel that of the bridge. If another program changes one,
//! frames for its owner go elsewhere. The agent repairs that, and the operator's tool shows it.

use std::collections::HashMap;

use crate::EndpointRecord;

/// The bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MAC address, in lower case with colons.
    pub mac: String,
}

/// A port of the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// An entry of the bridge's FDB that does not age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The MAC address, in lower case with colons.
    pub mac: String,
    /// Index of the port, or of the bridge.
    pub link: u32,
    /// Whether frames are delivered to the host.
    pub is_local: bool,
    /// Whether the entry stays when another port sends from the address.
    pub is_sticky: bool,
}

/// A difference between the FDB and what it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The entry for the bridge's own MAC address is missing or leads to a port: the node gets no frame of
    /// its pods.
    Own,
    /// The entry for a pod is missing, leads elsewhere, or may move.
    Pod {
        /// The record of the pod.
        record: EndpointRecord,
    },
    /// Two have the same MAC address, so that one of them gets no frames.
    Shared {
        /// The MAC address.
        mac: String,
        /// Who keeps it: the bridge, else the older interface.
        kept: String,
        /// The record of the other one.
        record: EndpointRecord,
    },
}

/// The faults. A record of another bridge, or whose interface is not a port of the bridge, has none: it
/// belongs to a pod that is being deleted.
///
/// To get no fault of a pod that comes or goes meanwhile, read the records before the entries, and the
/// entries before the ports.
pub fn faults(
    bridge: &Bridge,
    ports: &[Port],
    records: &[EndpointRecord],
    entries: &[Entry],
) -> Vec<Fault> {
    let by_mac: HashMap<&str, &Entry> =
        entries.iter().map(|entry| (entry.mac.as_str(), entry)).collect();
    let index_of: HashMap<&str, u32> =
        ports.iter().map(|port| (port.name.as_str(), port.index)).collect();
    let mut faults = Vec::new();
    if by_mac.get(bridge.mac.as_str()).is_none_or(|entry| !entry.is_local) {
        faults.push(Fault::Own);
    }
    let is_port = |record: &&EndpointRecord| {
        record.bridge == bridge.name
            && index_of.get(record.host_interface.as_str()) == Some(&record.host_ifindex)
    };
    let mut of_bridge: Vec<_> = records.iter().filter(is_port).collect();
    // The kernel counts indexes up: the lower one is the older interface.
    of_bridge.sort_by_key(|record| record.host_ifindex);
    let mut owners = HashMap::from([(bridge.mac.as_str(), format!("bridge {}", bridge.name))]);
    for record in of_bridge {
        let mac = record.mac.as_str();
        if let Some(kept) = owners.get(mac).cloned() {
            faults.push(Fault::Shared { mac: mac.to_owned(), kept, record: record.clone() });
            continue;
        }
        owners.insert(mac, format!("pod {}", record.pod_name()));
        let is_right =
            |entry: &Entry| entry.link == record.host_ifindex && !entry.is_local && entry.is_sticky;
        if by_mac.get(mac).is_none_or(|entry| !is_right(entry)) {
            faults.push(Fault::Pod { record: record.clone() });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attachment, PodIdentity, endpoint::LAYOUT};

    const GATEWAY: &str = "0a:58:0a:01:00:01";

    fn bridge() -> Bridge {
        Bridge { name: "weir0".into(), index: 3, mac: GATEWAY.into() }
    }

    fn mac(number: u32) -> String {
        format!("0a:58:0a:01:00:{number:02x}")
    }

    /// The pod whose host interface has this index, with the MAC address of that number.
    fn record(index: u32, number: u32) -> EndpointRecord {
        EndpointRecord {
            version: LAYOUT,
            network: "weir".into(),
            attachment: Attachment { container_id: format!("c{index}"), ifname: "eth0".into() },
            netns: "/run/netns/c".into(),
            host_interface: format!("weir{index}"),
            host_ifindex: index,
            bridge: "weir0".into(),
            mac: mac(number),
            addresses: Vec::new(),
            mtu: 1450,
            pod: PodIdentity::default(),
            port_mappings: Vec::new(),
        }
    }

    fn ports(indexes: &[u32]) -> Vec<Port> {
        indexes.iter().map(|index| Port { name: format!("weir{index}"), index: *index }).collect()
    }

    fn own() -> Entry {
        Entry { mac: GATEWAY.into(), link: 3, is_local: true, is_sticky: false }
    }

    fn entry(number: u32, link: u32) -> Entry {
        Entry { mac: mac(number), link, is_local: false, is_sticky: true }
    }

    #[test]
    fn a_bridge_with_all_entries_has_no_fault() {
        let records = [record(7, 2), record(8, 3)];
        let entries = [entry(3, 8), own(), entry(2, 7), entry(9, 9)];
        assert_eq!(faults(&bridge(), &ports(&[7, 8, 9]), &records, &entries), []);
    }

    #[test]
    fn the_bridges_own_entry_must_lead_to_the_host() {
        for entries in [vec![], vec![Entry { mac: GATEWAY.into(), ..entry(9, 7) }]] {
            assert_eq!(faults(&bridge(), &ports(&[7]), &[], &entries), [Fault::Own]);
        }
        // A bridge whose MAC address is that of a port has the port's entry.
        let of_port = Entry { link: 7, ..own() };
        assert_eq!(faults(&bridge(), &ports(&[7]), &[], &[of_port]), []);
    }

    #[test]
    fn a_pods_entry_must_lead_to_its_port_and_stay_there() {
        let pod = record(7, 2);
        let fault = Fault::Pod { record: pod.clone() };
        let wrong = [
            vec![own()],
            vec![own(), entry(2, 8)],
            vec![own(), Entry { is_local: true, ..entry(2, 7) }],
            vec![own(), Entry { is_sticky: false, ..entry(2, 7) }],
        ];
        for entries in wrong {
            let found = faults(&bridge(), &ports(&[7, 8]), std::slice::from_ref(&pod), &entries);
            assert_eq!(found, std::slice::from_ref(&fault), "{entries:?}");
        }
    }

    #[test]
    fn the_older_interface_keeps_a_shared_mac_address_and_the_bridge_before_all() {
        let records = [record(9, 2), record(7, 2), record(8, 1)];
        let entries = [own(), entry(2, 7)];
        let found = faults(&bridge(), &ports(&[7, 8, 9]), &records, &entries);
        let shared = |kept: &str, record: &EndpointRecord| Fault::Shared {
            mac: record.mac.clone(),
            kept: kept.into(),
            record: record.clone(),
        };
        assert_eq!(found, [shared("bridge weir0", &records[2]), shared("pod c7", &records[0])]);
    }

    #[test]
    fn a_record_without_its_port_has_no_fault() {
        let elsewhere = EndpointRecord { bridge: "weir1".into(), ..record(8, 3) };
        let renumbered = EndpointRecord { host_interface: "weir9".into(), ..record(7, 2) };
        let records = [record(6, 2), elsewhere, renumbered];
        assert_eq!(faults(&bridge(), &ports(&[8, 9]), &records, &[own()]), []);
    }
}
