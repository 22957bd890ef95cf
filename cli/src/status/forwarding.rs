//! Whether the bridge's FDB entries lead to the node and to its pods.

use anyhow::Result;
use weir_netlink::{LinkKind, Netlink, fdb, link};
use weir_node::{
    endpoint,
    forwarding::{Bridge, Entry, Fault, Port, faults},
};

use crate::options::NodePaths;

/// Reads the faults of the bridge's entries; none while there is no bridge.
pub(super) async fn read_faults(paths: &NodePaths, netlink: &Netlink) -> Result<Vec<Fault>> {
    let records = endpoint::list(&paths.run_dir)?.records;
    let bridge = link::find(netlink, &paths.bridge).await?;
    let bridge = bridge.filter(|link| link.kind == Some(LinkKind::Bridge));
    let Some((index, mac)) = bridge.and_then(|link| Some((link.index, link.mac?))) else {
        return Ok(Vec::new());
    };
    let entries = fdb::list_fixed(netlink, index).await?.into_iter().map(entry);
    let entries: Vec<Entry> = entries.collect();
    let ports = link::list_ports(netlink, index).await?.into_iter();
    let ports: Vec<Port> = ports.map(|port| Port { name: port.name, index: port.index }).collect();
    let bridge = Bridge { name: paths.bridge.clone(), index, mac: mac.to_string() };
    Ok(faults(&bridge, &ports, &records, &entries))
}

fn entry(found: fdb::BridgeEntry) -> Entry {
    let fdb::BridgeEntry { mac, link, is_local, is_sticky } = found;
    Entry { mac: mac.to_string(), link, is_local, is_sticky }
}
