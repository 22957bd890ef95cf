//! `weir endpoints`: the pods of this node, with their map entries and programs.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use weir_datapath::Hook;
use weir_datapath::common::Mac;
use weir_node::EndpointRecord;

use crate::node::maps;
use crate::node::programs::{self, Found, Pinned};
use crate::node::records;
use crate::options::NodePaths;
use crate::output::{Output, UNKNOWN, print_json, print_text, table};

/// Options of `weir endpoints`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    paths: NodePaths,
}

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    namespace: Option<String>,
    name: Option<String>,
    container_id: Option<String>,
    addresses: Vec<IpAddr>,
    interface: Option<String>,
    ifindex: u32,
    mac: String,
    mtu: Option<u32>,
    /// Its entries in the map of pods; `None` if nothing is pinned.
    map_entry: Option<MapEntry>,
    /// Whether it may send with addresses of others; `None` if nothing is pinned.
    routes: Option<bool>,
    from_pod: Option<Found>,
    to_pod: Option<Found>,
}

/// Whether the map of pods has the right entries for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MapEntry {
    /// All of its addresses lead to its interface.
    Present,
    /// An address has no entry.
    Missing,
    /// An address leads to another interface.
    Elsewhere,
    /// The map has an entry and the node has no record: the pod is being added, or was not removed
    /// completely.
    Unrecorded,
}

/// Lists pods.
pub(crate) fn run(options: &Options) -> Result<()> {
    let entries = list(&options.paths)?;
    match options.output {
        Output::Json => print_json(&entries),
        Output::Text => print_text(&show(&entries)),
    }
}

fn list(paths: &NodePaths) -> Result<Vec<Entry>> {
    let pins = paths.pins();
    let records = records::list(&paths.run_dir)?;
    if !pins.exist() {
        return Ok(records
            .iter()
            .map(|record| of_record(record, (None, None), [None, None]))
            .collect());
    }
    let pinned: Pinned = weir_datapath::list_pinned(&pins)?.into_iter().collect();
    let map = maps::endpoints(&pins)?;
    let routers = maps::routers(&pins)?;
    let mut entries = Vec::new();
    for record in &records {
        let at = |hook| programs::find(record.host_ifindex, hook, &pinned);
        let found = [Some(at(Hook::FromPod)?), Some(at(Hook::ToPod)?)];
        let routes = routers.contains(&record.host_ifindex);
        entries.push(of_record(record, (Some(in_map(record, &map)), Some(routes)), found));
    }
    let mut unrecorded: Vec<_> = map
        .iter()
        .filter(|(ip, entry)| !records.iter().any(|record| is_of(record, **ip, entry)))
        .collect();
    unrecorded.sort();
    for (ip, (ifindex, mac)) in unrecorded {
        let at = |hook| programs::find(*ifindex, hook, &pinned);
        entries.push(Entry {
            namespace: None,
            name: None,
            container_id: None,
            addresses: vec![*ip],
            interface: None,
            ifindex: *ifindex,
            mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
            mtu: None,
            map_entry: Some(MapEntry::Unrecorded),
            routes: Some(routers.contains(ifindex)),
            from_pod: Some(at(Hook::FromPod)?),
            to_pod: Some(at(Hook::ToPod)?),
        });
    }
    Ok(entries)
}

/// Whether an address with this entry of the map is the pod's: one of its own, or the link-local one that
/// follows from its MAC address.
fn is_of(record: &EndpointRecord, ip: IpAddr, (ifindex, mac): &(u32, [u8; 6])) -> bool {
    let is_link_local = ip == IpAddr::from(Mac(*mac).link_local());
    record.ips().any(|own| own == ip) || is_link_local && *ifindex == record.host_ifindex
}

fn of_record(
    record: &EndpointRecord,
    (map_entry, routes): (Option<MapEntry>, Option<bool>),
    [from_pod, to_pod]: [Option<Found>; 2],
) -> Entry {
    Entry {
        namespace: record.pod.namespace.clone(),
        name: record.pod.name.clone(),
        container_id: Some(record.attachment.container_id.clone()),
        addresses: record.ips().collect(),
        interface: Some(record.host_interface.clone()),
        ifindex: record.host_ifindex,
        mac: record.mac.clone(),
        mtu: Some(record.mtu),
        map_entry,
        routes,
        from_pod,
        to_pod,
    }
}

/// Compares the map with the record of a pod.
pub(crate) fn in_map(record: &EndpointRecord, map: &HashMap<IpAddr, (u32, [u8; 6])>) -> MapEntry {
    let mut result = MapEntry::Present;
    for ip in record.ips() {
        match map.get(&ip) {
            None => return MapEntry::Missing,
            Some((ifindex, _)) if *ifindex != record.host_ifindex => result = MapEntry::Elsewhere,
            Some(_) => {}
        }
    }
    result
}

impl std::fmt::Display for MapEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Elsewhere => "another interface",
            Self::Unrecorded => "without a record",
        })
    }
}

fn show(entries: &[Entry]) -> String {
    let head = [
        "POD",
        "CONTAINER",
        "ADDRESSES",
        "INTERFACE",
        "MTU",
        "MAP ENTRY",
        "ROUTES",
        "FROM_POD",
        "TO_POD",
    ];
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| UNKNOWN.to_owned());
    let rows = entries.iter().map(|entry| {
        let pod = entry.namespace.as_ref().zip(entry.name.as_ref());
        let addresses: Vec<_> = entry.addresses.iter().map(IpAddr::to_string).collect();
        let container = entry.container_id.as_ref().map(|id| id.chars().take(12).collect());
        let interface = entry.interface.clone().unwrap_or_else(|| format!("#{}", entry.ifindex));
        [
            or_unknown(pod.map(|(namespace, name)| format!("{namespace}/{name}"))),
            or_unknown(container),
            addresses.join(","),
            interface,
            or_unknown(entry.mtu.map(|mtu| mtu.to_string())),
            or_unknown(entry.map_entry.map(|found| found.to_string())),
            or_unknown(entry.routes.map(|routes| if routes { "yes" } else { "no" }.to_owned())),
            or_unknown(entry.from_pod.as_ref().map(Found::to_string)),
            or_unknown(entry.to_pod.as_ref().map(Found::to_string)),
        ]
    });
    table(&head, rows)
}
