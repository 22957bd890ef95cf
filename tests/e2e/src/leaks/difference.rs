//! Where the places of a node do not agree.

use std::collections::BTreeSet;

use super::inventory::Inventory;

/// One thing that is somewhere and not elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The node.
    pub(crate) node: String,
    /// What is wrong.
    pub(crate) what: &'static str,
    /// With what.
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
        report("a reserved address of no pod", format!("{ip} {container:.13}"));
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
        report("a record of no pod", format!("{ip} {port}"));
    }
    for (ip, pod) in pods.iter().filter(|(ip, _)| !records.contains_key(ip)) {
        report("a pod without a record", format!("{ip} {pod}"));
    }
    let recorded: BTreeSet<_> = records.values().cloned().collect();
    for port in ports.difference(&recorded) {
        report("a port of no record", port.clone());
    }
    for port in recorded.difference(ports) {
        report("a record of no port", port.clone());
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
    fn a_pod_that_is_everywhere_is_no_difference() {
        assert!(all("node1", &pod()).is_empty());
        assert!(all("node1", &Inventory::default()).is_empty());
    }

    #[test]
    fn what_is_missing_in_one_place_is_told() {
        let none = Inventory { pods: Default::default(), ..pod() };
        assert_eq!(what(&none), ["a reserved address of no pod", "a record of no pod"]);
        let unreserved = Inventory { reservations: Default::default(), ..pod() };
        assert_eq!(what(&unreserved), ["a pod without a reservation"]);
        let unconnected = Inventory { ports: Default::default(), ..pod() };
        assert_eq!(what(&unconnected), ["a record of no port"]);
        let unrecorded = Inventory { records: Some(Default::default()), ..pod() };
        assert_eq!(what(&unrecorded), ["a pod without a record", "a port of no record"]);
    }

    #[test]
    fn without_records_the_ports_are_counted() {
        let two = ["veth1".to_owned(), "veth2".to_owned()].into();
        let inventory = Inventory { records: None, ports: two, ..pod() };
        assert_eq!(what(&inventory), ["ports of the bridge"]);
    }
}
