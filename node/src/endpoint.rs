//! The endpoint record: what the agent, `weir` and the plugin's later calls know about a pod's
//! interface.
//!
//! A record is a JSON file in `endpoints/` of the run directory, named `<host interface>.json`.
//! The plugin's `ADD` renames the complete record to that name, so a reader never sees half of one.

use std::{
    fs,
    io::{self, ErrorKind},
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::Attachment;

/// The layout of [`EndpointRecord`]. A record with a greater version may have fields that this
/// reader does not know.
pub const LAYOUT: u32 = 1;

/// A pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRecord {
    /// [`LAYOUT`] of the writer.
    pub version: u32,
    /// Name of the network.
    pub network: String,
    /// Container and interface.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// The veth's end on the host.
    pub host_interface: String,
    /// Its index.
    pub host_ifindex: u32,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// MAC address of the pod's interface, in lower case with colons.
    pub mac: String,
    /// The pod's addresses with the prefix length of their subnet.
    pub addresses: Vec<IpNetwork>,
    /// MTU of the pod's interface, in bytes.
    pub mtu: u32,
    /// The pod, as far as the runtime named it.
    pub pod: PodIdentity,
    /// Ports of the node that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
}

impl EndpointRecord {
    /// The pod's addresses, without prefix lengths.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNetwork::ip)
    }

    /// What an operator calls the pod: `namespace/name`, or the beginning of the container's ID where the
    /// runtime named no pod.
    pub fn pod_name(&self) -> String {
        match &self.pod {
            PodIdentity { namespace: Some(namespace), name: Some(name), .. } => {
                format!("{namespace}/{name}")
            }
            _ => self.attachment.container_id.chars().take(12).collect(),
        }
    }
}

/// The pod that a container belongs to, as far as the runtime named it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the node.
    pub host_port: u16,
    /// Port in the pod.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The node's address that the mapping is for; `None` means all.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// The directory of the endpoint records in a run directory.
pub fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("endpoints")
}

/// The endpoint records of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// All records that are complete and understood.
    pub records: Vec<EndpointRecord>,
    /// The other files with the extension of a record.
    pub invalid: Vec<PathBuf>,
}

/// A file or directory that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ReadError {
    /// The file or directory.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// Reads all endpoint records. A directory that does not exist has none: no pod has been added yet.
pub fn list(run_dir: &Path) -> Result<Listing, ReadError> {
    let mut listing = Listing::default();
    for path in list_files(run_dir, "json")? {
        match fs::read(&path) {
            Ok(content) => match serde_json::from_slice(&content) {
                Ok(record) => listing.records.push(record),
                Err(_) => listing.invalid.push(path),
            },
            // Removed since the directory was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError { path, source }),
        }
    }
    Ok(listing)
}

/// The files in the directory of the endpoint records that have this extension.
pub fn list_files(run_dir: &Path, extension: &str) -> Result<Vec<PathBuf>, ReadError> {
    let directory = directory(run_dir);
    let failed = |source| ReadError { path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> EndpointRecord {
        EndpointRecord {
            version: LAYOUT,
            network: "weir".into(),
            attachment: Attachment { container_id: "c1".into(), ifname: "eth0".into() },
            netns: "/run/netns/c1".into(),
            host_interface: "weirec43057c07a".into(),
            host_ifindex: 7,
            bridge: "weir0".into(),
            mac: "0a:58:0a:f4:01:02".into(),
            addresses: vec!["10.244.1.2/24".parse().unwrap(), "fd00:1::2/64".parse().unwrap()],
            mtu: 1450,
            pod: PodIdentity {
                namespace: Some("shop".into()),
                name: Some("web-1".into()),
                uid: Some("6f1c".into()),
            },
            port_mappings: vec![
                PortMapping {
                    host_port: 8080,
                    container_port: 80,
                    protocol: Protocol::Tcp,
                    host_ip: Some("192.0.2.7".parse().unwrap()),
                },
                PortMapping {
                    host_port: 53,
                    container_port: 53,
                    protocol: Protocol::Udp,
                    host_ip: None,
                },
            ],
        }
    }

    const FULL: &str = concat!(
        r#"{"version":1,"network":"weir","containerID":"c1","ifname":"eth0","#,
        r#""netns":"/run/netns/c1","hostInterface":"weirec43057c07a","hostIfindex":7,"#,
        r#""bridge":"weir0","mac":"0a:58:0a:f4:01:02","#,
        r#""addresses":["10.244.1.2/24","fd00:1::2/64"],"mtu":1450,"#,
        r#""pod":{"namespace":"shop","name":"web-1","uid":"6f1c"},"portMappings":["#,
        r#"{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.7"},"#,
        r#"{"hostPort":53,"containerPort":53,"protocol":"udp"}]}"#,
    );

    const UNNAMED: &str = concat!(
        r#"{"version":1,"network":"weir","containerID":"c1","ifname":"eth0","#,
        r#""netns":"/run/netns/c1","hostInterface":"weirec43057c07a","hostIfindex":7,"#,
        r#""bridge":"weir0","mac":"0a:58:0a:f4:01:02","#,
        r#""addresses":["10.244.1.2/24","fd00:1::2/64"],"mtu":1450,"pod":{},"portMappings":[]}"#,
    );

    #[test]
    fn the_format_of_a_record_is_stable() {
        let unnamed =
            EndpointRecord { pod: PodIdentity::default(), port_mappings: Vec::new(), ..full() };
        for (record, text) in [(full(), FULL), (unnamed, UNNAMED)] {
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
            assert_eq!(serde_json::from_str::<EndpointRecord>(text).unwrap(), record);
        }
    }

    #[test]
    fn a_field_of_a_later_layout_is_ignored() {
        let later = FULL.replacen(r#""version":1,"#, r#""version":2,"colour":"blue","#, 1);
        let record: EndpointRecord = serde_json::from_str(&later).unwrap();
        assert_eq!(record, EndpointRecord { version: 2, ..full() });
    }

    #[test]
    fn only_complete_records_are_listed() {
        let run_dir = tempfile::tempdir().unwrap();
        let directory = directory(run_dir.path());
        fs::create_dir_all(&directory).unwrap();
        let files = [
            ("weir00000000001.json", FULL),
            ("weir00000000002.json", "{\"version\":1"),
            ("weir00000000003.pending", ""),
            ("README", ""),
        ];
        for (name, content) in files {
            fs::write(directory.join(name), content).unwrap();
        }
        let Listing { records, invalid } = list(run_dir.path()).unwrap();
        assert_eq!(records, [full()]);
        assert_eq!(invalid, [directory.join("weir00000000002.json")]);
    }

    #[test]
    fn a_run_directory_that_does_not_exist_has_no_records() {
        assert_eq!(list(Path::new("/nonexistent")).unwrap(), Listing::default());
    }
}
