//! What the plugin has recorded of pods' interfaces, as far as the data path needs it.

use std::{fs, io::ErrorKind, net::IpAddr, path::Path};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use tracing::debug;
use weir_netlink::MacAddr;

use super::Error;

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Name of the veth's end on the host.
    pub host_interface: String,
    /// Its index.
    pub host_ifindex: u32,
    /// Hardware address of the pod's interface.
    pub mac: MacAddr,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

/// The layout of the plugin's records; later ones add to it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    host_interface: String,
    host_ifindex: u32,
    mac: String,
    addresses: Vec<IpNetwork>,
}

impl Record {
    fn parse(content: &[u8]) -> Option<Self> {
        let Wire { host_interface, host_ifindex, mac, addresses } =
            serde_json::from_slice(content).ok()?;
        let ips = addresses.iter().map(IpNetwork::ip).collect();
        Some(Self { host_interface, host_ifindex, mac: mac.parse().ok()?, ips })
    }
}

/// All records that are whole and understood.
pub(super) fn list(run_dir: &Path) -> Result<Vec<Record>, Error> {
    let directory = run_dir.join("endpoints");
    let failed = |source| Error::Records { path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        // No pod has been here yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match fs::read(&path) {
            Ok(content) => match Record::parse(&content) {
                Some(record) => records.push(record),
                None => debug!(path = %path.display(), "no endpoint record"),
            },
            // Removed since the directory was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_what_is_none_is_left_out() {
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
