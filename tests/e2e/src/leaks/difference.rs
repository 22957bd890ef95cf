//! Differences between the pods, reservations, records and ports of a node.

use std::collections::BTreeSet;

use super::inventory::Inventory;

/// An item of one list that has no counterpart in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The node.
    pub(crate) node: String,
    /// The kind of the difference.
    pub(crate) what: &'static str,
    /// The item: an address, a pod or a port.
    pub(crate) subject: String,
}

/// All differences on a node.
pub(super) fn all(node: &str, inventory: &Inventory) -> Vec<Difference> {
    let Inventory { pods, reservations, records, ports } = inventory;
    let mut found = Vec::new();
    let mut report = |what, subject: String| {
        found.push(Difference { node: node.to_owned(), what, subject });
    };
    for (ip, container) in reservations.iter().filter(|(ip, _)| !pods.contains_key(ip)) {
        report("a reserved address without a pod", format!("{ip} {container:.13}"));
    }
    for (ip, pod) in pods.iter().filter(|(ip, _)| !reservations.contains_key(ip)) {
        report("a pod without a reservation", format!("{ip} {pod}"));
    }
    let Some(records) = records else {
        let pods: BTreeSet<_> = pods.values().collect();
        if pods.len() != ports.len() {
            report("ports of the bridge", format!("{} for {} pods", ports.len(), pods.len()));
        }
        return found;
    };
    for (ip, port) in records.iter().filter(|(ip, _)| !pods.contains_key(ip)) {
        report("a record without a pod", format!("{ip} {port}"));
    }
    for (ip, pod) in pods.iter().filter(|(ip, _)| !records.contains_key(ip)) {
        report("a pod without a record", format!("{ip} {pod}"));
    }
    let recorded: BTreeSet<_> = records.values().cloned().collect();
    for port in ports.difference(&recorded) {
        report("a port without a record", port.clone());
    }
    for port in recorded.difference(ports) {
        report("a record without a port", port.clone());
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn pod() -> Inventory {
        let ip: IpAddr = [10, 0, 0, 7].into();
        Inventory {
            pods: [(ip, "a/b".to_owned())].into(),
            reservations: [(ip, "container".to_owned())].into(),
            records: Some([(ip, "weir1".to_owned())].into()),
            ports: ["weir1".to_owned()].into(),
        }
    }

    fn what(inventory: &Inventory) -> Vec<&'static str> {
        all("node1", inventory).into_iter().map(|difference| difference.what).collect()
    }

    #[test]
    fn a_pod_that_is_in_all_lists_is_not_a_difference() {
        assert!(all("node1", &pod()).is_empty());
        assert!(all("node1", &Inventory::default()).is_empty());
    }

    #[test]
    fn an_item_that_is_missing_in_one_list_is_a_difference() {
        let none = Inventory { pods: Default::default(), ..pod() };
        assert_eq!(what(&none), ["a reserved address without a pod", "a record without a pod"]);
        let unreserved = Inventory { reservations: Default::default(), ..pod() };
        assert_eq!(what(&unreserved), ["a pod without a reservation"]);
        let unconnected = Inventory { ports: Default::default(), ..pod() };
        assert_eq!(what(&unconnected), ["a record without a port"]);
        let unrecorded = Inventory { records: Some(Default::default()), ..pod() };
        assert_eq!(what(&unrecorded), ["a pod without a record", "a port without a record"]);
    }

    #[test]
    fn without_records_the_ports_are_counted() {
        let two = ["veth1".to_owned(), "veth2".to_owned()].into();
        let inventory = Inventory { records: None, ports: two, ..pod() };
        assert_eq!(what(&inventory), ["ports of the bridge"]);
    }
}
