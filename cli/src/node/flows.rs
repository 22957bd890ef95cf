//! The flow tables, a flow with its two entries as one.

use std::collections::HashMap;
use std::net::IpAddr;

use weir_datapath::common::map::Map;
use weir_datapath::common::{Flow, FlowKey, V4, V6};
use weir_datapath::maps::{Family, Flows};
use weir_datapath::{Error, Pins};

use super::maps::{BackendId, ToIp};
use crate::protocol::Protocol;

/// A flow as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowOf {
    pub(crate) protocol: Protocol,
    pub(crate) client: (IpAddr, u16),
    /// Where it was sent: the Service's address, or a pod's.
    pub(crate) frontend: (IpAddr, u16),
    /// Where it goes.
    pub(crate) backend: (IpAddr, u16),
    /// The source port that the backend sees.
    pub(crate) client_port_seen: u16,
    pub(crate) backend_id: BackendId,
    /// The number of the Service's port; 0 for a flow between pods.
    pub(crate) service: u32,
    /// When a packet was last seen, in seconds of the kernel's clock; up to some seconds late.
    pub(crate) seen: u32,
    /// Those of [`Flow`], of both entries.
    pub(crate) flags: u32,
}

impl FlowOf {
    /// Whether it has a flag of [`Flow`].
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Every flow.
pub(crate) fn list(pins: &Pins) -> Result<Vec<FlowOf>, Error> {
    let mut flows = Vec::new();
    for map in [V4::FLOWS_TCP, V4::FLOWS_DGRAM] {
        of::<V4>(pins, map, &mut flows)?;
    }
    for map in [V6::FLOWS_TCP, V6::FLOWS_DGRAM] {
        of::<V6>(pins, map, &mut flows)?;
    }
    Ok(flows)
}

fn of<A: Family + ToIp>(pins: &Pins, map: Map, flows: &mut Vec<FlowOf>) -> Result<(), Error> {
    flows.extend(join(Flows::<A>::open(pins, map)?.entries()?));
    Ok(())
}

/// One flow of two entries. Either may be forgotten: the other says all that it said.
fn join<A: Family + ToIp>(entries: Vec<(FlowKey<A>, Flow<A>)>) -> impl Iterator<Item = FlowOf> {
    let mut by_forward: HashMap<FlowKey<A>, Flow<A>> = HashMap::with_capacity(entries.len() / 2);
    for (key, flow) in entries {
        let (key, flow) =
            if flow.is_reverse() { (flow.forward_key(&key), flow.twin(&key)) } else { (key, flow) };
        by_forward
            .entry(key)
            .and_modify(|known| {
                known.flags |= flow.flags;
                known.seen = known.seen.max(flow.seen);
            })
            .or_insert(flow);
    }
    by_forward.into_iter().map(|(key, flow)| FlowOf {
        protocol: Protocol(key.protocol),
        client: (key.source.ip(), key.source_port.get()),
        frontend: (key.destination.ip(), key.destination_port.get()),
        backend: (flow.address.ip(), flow.port.get()),
        client_port_seen: flow.client_port.get(),
        backend_id: (A::IS_V4, flow.backend),
        service: flow.service,
        seen: flow.seen,
        flags: flow.flags,
    })
}

#[cfg(test)]
mod tests {
    use weir_datapath::common::{Port, protocol};

    use super::*;

    #[test]
    fn the_two_entries_of_a_flow_are_one_flow_and_either_is_enough() {
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
            client_port: Port::new(61_000),
            backend: 7,
            service: 3,
            seen: 9,
            flags: Flow::<V4>::CLIENT_CLOSED,
            ..Flow::default()
        };
        let (reverse_key, twin) = (flow.reverse_key(&key), flow.twin(&key));
        let twin = Flow { flags: Flow::<V4>::BACKEND_CLOSED | Flow::<V4>::REVERSE, ..twin };
        let both: Vec<_> = join(vec![(key, flow), (reverse_key, twin)]).collect();
        assert_eq!(both.len(), 1);
        assert!(both[0].has(Flow::<V4>::CLIENT_CLOSED) && both[0].has(Flow::<V4>::BACKEND_CLOSED));
        assert_eq!(both[0].client, ([10, 244, 1, 2].into(), 40_000));
        assert_eq!(both[0].client_port_seen, 61_000);
        let one: Vec<_> = join(vec![(reverse_key, flow.twin(&key))]).collect();
        assert_eq!(one, join(vec![(key, flow)]).collect::<Vec<_>>());
    }
}
