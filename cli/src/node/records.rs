//! The plugin's endpoint records: which pods are on the node.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use serde::Deserialize;

/// A pod's interface, as far as the tool needs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) host_interface: String,
    pub(crate) host_ifindex: u32,
    pub(crate) mac: String,
    pub(crate) addresses: Vec<IpNetwork>,
    pub(crate) mtu: u32,
    #[serde(default)]
    pub(crate) pod: Pod,
}

/// Who it is, as far as the runtime has told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Pod {
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Record {
    /// `namespace/name`; the container's ID where the runtime told none.
    pub(crate) fn name(&self) -> String {
        match &self.pod {
            Pod { namespace: Some(namespace), name: Some(name) } => format!("{namespace}/{name}"),
            _ => self.container_id.chars().take(12).collect(),
        }
    }

    /// The pod's addresses.
    pub(crate) fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNetwork::ip)
    }

    /// Whether `who` is its name, an address of it, or the beginning of its container's ID.
    pub(crate) fn is(&self, who: &str) -> bool {
        let named = matches!(
            (&self.pod.namespace, &self.pod.name),
            (Some(namespace), Some(name)) if who.split_once('/') == Some((namespace, name))
        );
        let addressed = || who.parse().is_ok_and(|ip: IpAddr| self.ips().any(|own| own == ip));
        named || addressed() || (!who.is_empty() && self.container_id.starts_with(who))
    }
}

/// Every record, by pod. One that goes meanwhile is left out, and so is what is none.
pub(crate) fn list(run_dir: &Path) -> Result<Vec<Record>> {
    let directory = run_dir.join("endpoints");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", directory.display())),
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            match fs::read(&path) {
                Ok(content) => records.extend(serde_json::from_slice::<Record>(&content).ok()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
    }
    records.sort_by_key(Record::name);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_goes_by_its_name_its_addresses_and_its_container() {
        let record: Record = serde_json::from_str(
            r#"{"version":1,"network":"weir","containerID":"0123456789abcdef","ifname":"eth0",
                "netns":"/run/netns/a","hostInterface":"weir0","hostIfindex":7,"bridge":"weir0",
                "mac":"0a:58:0a:f4:01:05","addresses":["10.244.1.5/24","fd00::5/64"],"mtu":1450,
                "pod":{"namespace":"shop","name":"web-1"},"portMappings":[]}"#,
        )
        .unwrap();
        assert_eq!(record.name(), "shop/web-1");
        for who in ["shop/web-1", "10.244.1.5", "fd00::5", "0123"] {
            assert!(record.is(who), "{who}");
        }
        for who in ["web-1", "shop/web-10", "10.244.1.50", "12", ""] {
            assert!(!record.is(who), "{who}");
        }
        let unnamed = Record { pod: Pod::default(), ..record };
        assert_eq!(unnamed.name(), "0123456789ab");
    }
}
