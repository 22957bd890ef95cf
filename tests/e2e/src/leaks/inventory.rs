//! The pods, reservations, records and ports of a node, which must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::member::Member;
use crate::spec::Cni;

/// All lists are keyed by address, except the bridge's ports, which have names only.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Pods that the API server knows on the node.
    pub(super) pods: BTreeMap<IpAddr, String>,
    /// Addresses that the plugin has reserved, with the containers' ids.
    pub(super) reservations: BTreeMap<IpAddr, String>,
    /// Endpoint records with the names of their ports. The reference plugin writes none.
    pub(super) records: Option<BTreeMap<IpAddr, String>>,
    /// Ports of the bridge.
    pub(super) ports: BTreeSet<String>,
}

/// Reads all lists of a node.
///
/// # Errors
/// When one cannot be read.
pub(super) fn of(node: &Member, pods: &[Value], cni: Cni) -> Result<Inventory> {
    let (network, bridge) = match cni {
        Cni::Weir => ("weir", "weir0"),
        Cni::Reference => ("reference", "cni0"),
    };
    let records = node.machine.path_from_outside("/run/weir/endpoints");
    Ok(Inventory {
        pods: of_api_server(node.name(), pods),
        reservations: reservations(
            &node.machine.path_from_outside("/var/lib/cni/networks").join(network),
        )?,
        records: (cni == Cni::Weir).then(|| self::records(&records)).transpose()?,
        ports: ports(node, bridge)?,
    })
}

fn of_api_server(node: &str, pods: &[Value]) -> BTreeMap<IpAddr, String> {
    let runs = |pod: &&Value| {
        pod["spec"]["nodeName"] == node
            && pod["spec"]["hostNetwork"] != true
            && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    };
    let mut found = BTreeMap::new();
    for pod in pods.iter().filter(runs) {
        let metadata = &pod["metadata"];
        let name = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
        for ip in pod["status"]["podIPs"].as_array().into_iter().flatten() {
            found.extend(text(&ip["ip"]).parse().ok().map(|ip| (ip, name.clone())));
        }
    }
    found
}

fn reservations(store: &Path) -> Result<BTreeMap<IpAddr, String>> {
    let mut found = BTreeMap::new();
    for (name, content) in files(store)? {
        if let Ok(ip) = name.parse() {
            found.insert(ip, content.lines().next().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

fn records(folder: &Path) -> Result<BTreeMap<IpAddr, String>> {
    let mut found = BTreeMap::new();
    for (name, content) in files(folder)? {
        let record: Value = serde_json::from_str(&content)
            .with_context(|| format!("read the endpoint record {name}"))?;
        for address in record["addresses"].as_array().into_iter().flatten() {
            let address = text(address).split('/').next().unwrap_or_default();
            let ip = address.parse().with_context(|| format!("an address in {name}"))?;
            found.insert(ip, text(&record["hostInterface"]).to_owned());
        }
    }
    Ok(found)
}

fn ports(node: &Member, bridge: &str) -> Result<BTreeSet<String>> {
    // A node that has had no pods has no bridge.
    let list = format!(
        "if ip link show {bridge} >/dev/null 2>&1; then ip -j link show master {bridge}; fi"
    );
    let listed = node.machine.run(&list)?;
    if listed.trim().is_empty() {
        return Ok(BTreeSet::new());
    }
    let links: Vec<Value> = serde_json::from_str(&listed).context("read the bridge's ports")?;
    // Without ports iproute2 prints an empty object.
    let names = links.iter().filter_map(|link| link["ifname"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Names and contents of a folder's files. A missing folder counts as empty, and a file that is
/// deleted meanwhile is left out.
fn files(folder: &Path) -> Result<Vec<(String, String)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, fs::read_to_string(entry.path()).ok()?))
    };
    Ok(entries.flatten().filter_map(read).collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_of_other_nodes_of_the_host_network_and_ended_ones_are_left_out() {
        let pod = |name: &str, node: &str, host: bool, phase: &str| {
            json!({
                "metadata": {"namespace": "a", "name": name},
                "spec": {"nodeName": node, "hostNetwork": host},
                "status": {"phase": phase, "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]},
            })
        };
        let pods = [
            pod("other", "node2", false, "Running"),
            pod("host", "node1", true, "Running"),
            pod("ended", "node1", false, "Succeeded"),
        ];
        assert!(of_api_server("node1", &pods).is_empty());
        let mine = of_api_server("node1", &[pod("mine", "node1", false, "Running")]);
        assert_eq!(mine.len(), 2);
        assert!(mine.values().all(|name| name == "a/mine"));
    }

    #[test]
    fn files_of_the_store_whose_names_are_not_addresses_are_left_out() {
        let store = tempfile::tempdir().unwrap();
        for (name, content) in [("10.0.0.7", "abc\neth0"), ("lock", ""), ("boot_id", "x")] {
            fs::write(store.path().join(name), content).unwrap();
        }
        let found = reservations(store.path()).unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [([10, 0, 0, 7].into(), "abc".into())]);
    }
}
