//! The FDB entries of the pods' bridge. The kernel and the plugin make them; what another program has
//! changed is repaired.
//!
//! An entry of a port for the bridge's own MAC address cuts all pods off the node, and the kernel does not
//! bring the bridge's entry back when the port is gone.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use tracing::debug;
use weir_netlink::{LinkKind, MacAddr, Netlink, fdb, link};
use weir_node::{
    EndpointRecord, endpoint,
    forwarding::{Bridge, Entry, Fault, Port, faults},
    is_host_interface,
};

use super::{
    error::{Error, chain},
    trigger::Trigger,
};
use crate::{
    events::Concern,
    health::{Condition, Health},
    options::Options,
};

/// The entries of the bridge, as of the last check.
#[derive(Debug, Default)]
pub(super) struct BridgeEntries {
    checked: bool,
    own: Option<(u32, MacAddr)>,
    concerns: BTreeSet<Concern>,
    /// Ports for pods that had no record at the last resync.
    unrecorded: BTreeSet<u32>,
}

impl BridgeEntries {
    /// The bridge's index and MAC address, if the bridge exists.
    pub(super) const fn own(&self) -> Option<(u32, MacAddr)> {
        self.own
    }

    /// What the last check has found.
    pub(super) fn concerns(&self) -> impl Iterator<Item = Concern> + '_ {
        self.concerns.iter().cloned()
    }

    /// Checks the entries and sets those that are wrong. Returns how many it has set. That it has set some
    /// remains a concern until a resync finds all of them right. A new snapshot does not concern the
    /// entries.
    pub(super) async fn ensure(
        &mut self,
        netlink: &Netlink,
        options: &Options,
        trigger: &Trigger,
        health: &Health,
    ) -> Result<u64, Error> {
        if self.checked && *trigger == Trigger::Source {
            return Ok(0);
        }
        let Options { bridge, run_dir, .. } = options;
        let outcome = self.check(netlink, bridge, run_dir, trigger.is_resync()).await;
        let condition = outcome.as_ref().map(|_| ()).map_err(chain);
        health.set(Condition::BridgeEntriesSet, condition);
        outcome
    }

    async fn check(
        &mut self,
        netlink: &Netlink,
        name: &str,
        run_dir: &Path,
        is_resync: bool,
    ) -> Result<u64, Error> {
        let is_kept = |concern: &Concern| {
            let is_of_resyncs = matches!(
                concern,
                Concern::BridgeEntriesChanged { .. } | Concern::EndpointRecordsLost { .. }
            );
            is_of_resyncs && !is_resync
        };
        self.concerns.retain(is_kept);
        self.own = None;
        let mut records = endpoint::list(run_dir)?.records;
        records.retain(|record| record.mac.parse::<MacAddr>().is_ok());
        let bridge = link::find(netlink, name).await?;
        // The plugin creates the bridge with the first pod.
        let bridge = bridge.filter(|link| link.kind == Some(LinkKind::Bridge));
        let Some((bridge, own_mac)) = bridge.and_then(|link| Some((link.index, link.mac?))) else {
            self.checked = true;
            return Ok(0);
        };
        self.own = Some((bridge, own_mac));
        let entries = fdb::list_fixed(netlink, bridge).await?;
        let ports: Vec<Port> = link::list_ports(netlink, bridge)
            .await?
            .into_iter()
            .map(|port| Port { name: port.name, index: port.index })
            .collect();
        if is_resync {
            let lost = self.lost_records(run_dir, &ports, &records);
            self.concerns.extend(lost);
        }
        let found = {
            let mac = own_mac.to_string();
            let entries: Vec<Entry> = entries.iter().map(entry).collect();
            faults(
                &Bridge { name: name.to_owned(), index: bridge, mac },
                &ports,
                &records,
                &entries,
            )
        };

        let places = Places { bridge: name, ports: &ports, entries: &entries };
        let mut wrong = Vec::new();
        for fault in found {
            match fault {
                Fault::Own => {
                    wrong.push(places.describe(&format!("bridge {name}"), own_mac, bridge));
                    fdb::ensure_own(netlink, bridge, own_mac).await?;
                }
                Fault::Pod { record } => {
                    let Ok(mac) = record.mac.parse() else { continue };
                    match fdb::ensure_static(netlink, record.host_ifindex, mac).await {
                        Err(error) if error.is_not_found() => {
                            debug!(port = record.host_interface, "the pod was deleted meanwhile");
                            continue;
                        }
                        outcome => outcome?,
                    }
                    let owner = format!("pod {}", record.pod_name());
                    wrong.push(places.describe(&owner, mac, record.host_ifindex));
                }
                Fault::Shared { mac, kept, record } => {
                    let cut_off = record.pod_name();
                    self.concerns.insert(Concern::MacAddressShared { mac, kept, cut_off });
                }
            }
        }
        if let Some(example) = wrong.first().cloned() {
            let (bridge, count) = (name.to_owned(), wrong.len());
            self.concerns.retain(|old| !matches!(old, Concern::BridgeEntriesChanged { .. }));
            self.concerns.insert(Concern::BridgeEntriesChanged { bridge, count, example });
        }
        self.checked = true;
        Ok(wrong.len() as u64)
    }
}

impl BridgeEntries {
    /// The concern about ports for pods that have no record. One that is being added or deleted has none
    /// for a moment, so it has to lack it in two resyncs.
    fn lost_records(
        &mut self,
        run_dir: &Path,
        ports: &[Port],
        records: &[EndpointRecord],
    ) -> Option<Concern> {
        let recorded: HashSet<u32> = records.iter().map(|record| record.host_ifindex).collect();
        let is_lost =
            |port: &&Port| is_host_interface(&port.name) && !recorded.contains(&port.index);
        let without: Vec<&Port> = ports.iter().filter(is_lost).collect();
        let before = std::mem::replace(
            &mut self.unrecorded,
            without.iter().map(|port| port.index).collect(),
        );
        let mut lost = without.iter().filter(|port| before.contains(&port.index));
        let example = lost.next()?.name.clone();
        let directory = endpoint::directory(run_dir);
        Some(Concern::EndpointRecordsLost { directory, count: 1 + lost.count(), example })
    }
}

fn entry(found: &fdb::BridgeEntry) -> Entry {
    let fdb::BridgeEntry { mac, link, is_local, is_sticky } = *found;
    Entry { mac: mac.to_string(), link, is_local, is_sticky }
}

/// Where frames went before the repair.
struct Places<'a> {
    bridge: &'a str,
    ports: &'a [Port],
    entries: &'a [fdb::BridgeEntry],
}

impl Places<'_> {
    /// What was wrong with the entry, which should have led to `right`.
    fn describe(&self, owner: &str, mac: MacAddr, right: u32) -> String {
        let by_index: HashMap<u32, &str> =
            self.ports.iter().map(|port| (port.index, port.name.as_str())).collect();
        match self.entries.iter().find(|entry| entry.mac == mac) {
            None => format!("there was none for {mac} of {owner}"),
            Some(entry) if entry.is_local => format!("that for {mac} of {owner} led to the node"),
            Some(entry) if entry.link == right => {
                format!("that for {mac} of {owner} could move to another port")
            }
            Some(entry) => {
                let place = by_index.get(&entry.link).copied().unwrap_or(self.bridge);
                format!("that for {mac} of {owner} led to {place}")
            }
        }
    }
}
