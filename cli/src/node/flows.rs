//! The flow tables, with the two entries of a flow as one.

use std::collections::HashMap;
use std::net::IpAddr;

use weir_datapath::common::map::Map;
use weir_datapath::common::{Flow, FlowKey, V4, V6};
use weir_datapath::maps::{Family, Flows};
use weir_datapath::{Error, Pins};

use super::maps::{BackendId, ToIp};
use crate::protocol::Protocol;

/// A flow, from the point of view of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowRecord {
    pub(crate) protocol: Protocol,
    pub(crate) client: (IpAddr, u16),
    /// Its original destination: the address of a Service or a pod.
    pub(crate) frontend: (IpAddr, u16),
    /// Its backend.
    pub(crate) backend: (IpAddr, u16),
    /// The source port that the backend sees.
    pub(crate) client_port_seen: u16,
    pub(crate) backend_id: BackendId,
    /// The ID of the Service's port; 0 for a flow between pods.
    pub(crate) service: u32,
    /// When a packet was last seen, in seconds of the kernel's clock; up to some seconds late.
    pub(crate) seen: u32,
    /// The flags of [`Flow`] of both entries.
    pub(crate) flags: u16,
}

impl FlowRecord {
    /// Whether it has a flag of [`Flow`].
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// Every flow.
pub(crate) fn list(pins: &Pins) -> Result<Vec<FlowRecord>, Error> {
    let mut flows = Vec::new();
    for map in [V4::FLOWS_TCP, V4::FLOWS_DGRAM] {
        of::<V4>(pins, map, &mut flows)?;
    }
    for map in [V6::FLOWS_TCP, V6::FLOWS_DGRAM] {
        of::<V6>(pins, map, &mut flows)?;
    }
    Ok(flows)
}

fn of<A: Family + ToIp>(pins: &Pins, map: Map, flows: &mut Vec<FlowRecord>) -> Result<(), Error> {
    flows.extend(join(Flows::<A>::open(pins, map)?.entries()?));
    Ok(())
}

/// Joins the two entries of each flow. One of them may have been evicted: the other has the same
/// information.
fn join<A: Family + ToIp>(entries: Vec<(FlowKey<A>, Flow<A>)>) -> impl Iterator<Item = FlowRecord> {
    let mut by_forward: HashMap<FlowKey<A>, Flow<A>> = HashMap::with_capacity(entries.len() / 2);
    for (key, flow) in entries {
        let (key, flow) = if flow.is_reverse() {
            (flow.forward_key(&key), flow.peer_entry(&key))
        } else {
            (key, flow)
        };
        by_forward
            .entry(key)
            .and_modify(|known| {
                known.flags |= flow.flags;
                known.last_seen = known.last_seen.max(flow.last_seen);
            })
            .or_insert(flow);
    }
    by_forward.into_iter().map(|(key, flow)| FlowRecord {
        protocol: Protocol(key.protocol),
        client: (key.source.ip(), key.source_port.get()),
        frontend: (key.destination.ip(), key.destination_port.get()),
        backend: (flow.address.ip(), flow.port.get()),
        client_port_seen: flow.nat_port.get(),
        backend_id: (A::IS_V4, flow.backend),
        service: flow.service,
        seen: flow.last_seen,
        flags: flow.flags,
    })
}

#[cfg(test)]
mod tests {
    use weir_datapath::common::{Port, protocol};

    use super::*;

    #[test]
    fn one_or_two_entries_are_one_flow() {
        let key = FlowKey {
            source: V4::new([10, 244, 1, 2]),
            destination: V4::new([10, 96, 0, 10]),
            source_port: Port::new(40_000),
            destination_port: Port::new(80),
            protocol: protocol::TCP,
            reserved: [0; 3],
        };
        let flow = Flow {
            address: V4::new([10, 244, 2, 7]),
            port: Port::new(8080),
            nat_port: Port::new(61_000),
            backend: 7,
            service: 3,
            last_seen: 9,
            flags: Flow::<V4>::CLIENT_CLOSED,
            ..Flow::default()
        };
        let (reverse_key, peer) = (flow.reverse_key(&key), flow.peer_entry(&key));
        let peer = Flow { flags: Flow::<V4>::BACKEND_CLOSED | Flow::<V4>::REVERSE, ..peer };
        let both: Vec<_> = join(vec![(key, flow), (reverse_key, peer)]).collect();
        assert_eq!(both.len(), 1);
        assert!(both[0].has(Flow::<V4>::CLIENT_CLOSED) && both[0].has(Flow::<V4>::BACKEND_CLOSED));
        assert_eq!(both[0].client, ([10, 244, 1, 2].into(), 40_000));
        assert_eq!(both[0].client_port_seen, 61_000);
        let one: Vec<_> = join(vec![(reverse_key, flow.peer_entry(&key))]).collect();
        assert_eq!(one, join(vec![(key, flow)]).collect::<Vec<_>>());
    }
}
