//! The part of the plugin's endpoint records that the data path needs.

use std::{net::IpAddr, path::Path};

use tracing::debug;
use weir_netlink::MacAddr;
use weir_node::{
    EndpointRecord, PodIdentity,
    endpoint::{self, Listing, ReadError},
};

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Name of the veth's end on the host.
    pub host_interface: String,
    /// Its index.
    pub host_ifindex: u32,
    /// MAC address of the pod's interface.
    pub mac: MacAddr,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// The pod.
    pub pod: PodIdentity,
}

impl Record {
    /// `None` if the record's MAC address cannot be parsed.
    fn of(endpoint: &EndpointRecord) -> Option<Self> {
        Some(Self {
            host_interface: endpoint.host_interface.clone(),
            host_ifindex: endpoint.host_ifindex,
            mac: endpoint.mac.parse().ok()?,
            ips: endpoint.ips().collect(),
            pod: endpoint.pod.clone(),
        })
    }
}

/// All records that are complete and understood.
pub(super) fn list(run_dir: &Path) -> Result<Vec<Record>, ReadError> {
    let Listing { records, invalid } = endpoint::list(run_dir)?;
    for path in invalid {
        debug!(path = %path.display(), "not an endpoint record");
    }
    Ok(records.iter().filter_map(Record::of).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn invalid_records_are_left_out() {
        let run_dir = tempfile::tempdir().unwrap();
        assert_eq!(list(run_dir.path()).unwrap(), []);
        let directory = run_dir.path().join("endpoints");
        fs::create_dir(&directory).unwrap();
        let content = r#"{"version": 1, "network": "weir", "containerID": "c", "ifname": "eth0",
            "netns": "/run/netns/c", "hostInterface": "weir0123456789a", "hostIfindex": 7,
            "bridge": "weir0", "mac": "0a:58:0a:f4:01:02", "mtu": 1450, "pod": {},
            "addresses": ["10.244.1.2/24", "fd44::2/64"], "portMappings": []}"#;
        fs::write(directory.join("weir0123456789a.json"), content).unwrap();
        fs::write(directory.join("weir0123456789b.pending"), content).unwrap();
        fs::write(directory.join("weir0123456789c.json"), "{").unwrap();
        let [record] = &*list(run_dir.path()).unwrap() else { panic!("one record") };
        assert_eq!((record.host_ifindex, record.mac.octets()[5]), (7, 2));
        let ips: Vec<String> = record.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.244.1.2", "fd44::2"]);
    }
}
