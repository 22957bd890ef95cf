//! Runs the program on a packet, and removes what it has written to the maps.

use std::collections::HashSet;

use anyhow::{Context, Result};
use weir_datapath::common::{
    Address, Affinity, AffinityKey, Flow, FlowKey, Port, Reason, Scope, Service, ServiceKey,
};
use weir_datapath::maps::{Family, Flows, Services, Table};
use weir_datapath::{Action, Hook, Pins, Program};

use super::packet::{self, Tuple};
use super::request::{Destination, Sender};
use crate::node::maps::{ToIp, counters};
use crate::protocol::Protocol;

/// Source ports that neither the kernel nor the programs assign.
const PORTS: std::ops::Range<u16> = 20_000..32_768;

/// The outcome of the program.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) action: Action,
    pub(super) mark: u32,
    pub(super) sent: Tuple,
    /// The packet afterwards.
    pub(super) left: Option<Tuple>,
    /// The increase of each counter meanwhile.
    pub(super) counted: Vec<(Reason, u64)>,
    /// The Service of its destination.
    pub(super) service: Option<Service>,
    /// The backend of its flow.
    pub(super) backend: Option<u32>,
    /// Number of entries that the program made, which are removed again.
    pub(super) removed: u32,
}

/// Number of attempts if the Service changes meanwhile.
const TRIES: u32 = 5;

/// Runs the program on one packet of the pod.
pub(super) fn run<A: Family + ToIp>(
    pins: &Pins,
    sender: &Sender,
    addresses: (A, A),
    destination: &Destination,
) -> Result<Attempt> {
    for _ in 1..TRIES {
        if let Some(attempt) = run_once(pins, sender, addresses, destination)? {
            return Ok(attempt);
        }
    }
    let last = run_once(pins, sender, addresses, destination)?;
    last.context("the Service changes too often; try again")
}

/// One attempt; `None` if the Service changed meanwhile: then it is unknown which state the program
/// used.
fn run_once<A: Family + ToIp>(
    pins: &Pins,
    sender: &Sender,
    (from, to): (A, A),
    destination: &Destination,
) -> Result<Option<Attempt>> {
    let Destination { port, protocol, .. } = *destination;
    let program = Program::open(pins, Hook::FromPod)?;
    let map = if protocol == Protocol::TCP { A::FLOWS_TCP } else { A::FLOWS_DGRAM };
    let mut flows = Flows::<A>::open(pins, map)?;
    let random = now_nanos();
    let source_port = free_port(&flows, from, random)?;
    let key = FlowKey {
        source: from,
        destination: to,
        source_port: Port::new(source_port),
        destination_port: Port::new(port),
        protocol: protocol.0,
        ..FlowKey::default()
    };
    let frontend = ServiceKey::new(to, Port::new(port), protocol.0, Scope::Internal);
    let services = Services::<A>::open(pins, A::SERVICES)?;
    let service = services.get(&frontend)?;
    let mut affinity = Remembered::before(pins, from, service.as_ref())?;
    let frame = packet::craft(
        sender.mac,
        (sender.address, destination.address),
        (source_port, port),
        protocol,
        random,
    )?;
    let before = counters(pins)?;
    let tried = program.try_packet(&frame, sender.ifindex);
    let after = counters(pins)?;
    // The entries are removed after an error too.
    let (backend, entries) = remove(&mut flows, &key)?;
    let met = services.get(&frontend)?;
    if met != service {
        affinity.forget(met.as_ref())?;
        return Ok(None);
    }
    let removed = entries + affinity.restore()?;
    let trial = tried?;
    Ok(Some(Attempt {
        action: trial.action,
        mark: trial.mark,
        sent: packet::read(&frame).context("cannot parse the crafted packet")?,
        left: packet::read(&trial.packet),
        counted: growth(&before, &after),
        service,
        backend,
        removed,
    }))
}

/// A source port that no flow of the pod uses.
fn free_port<A: Family>(flows: &Flows<A>, client: A, random: u32) -> Result<u16> {
    let mut used = HashSet::new();
    for (key, flow) in flows.entries()? {
        for (address, port) in
            [(key.source, key.source_port), (key.destination, key.destination_port)]
        {
            if address == client {
                used.extend([port.get(), flow.nat_port.get(), flow.port.get()]);
            }
        }
    }
    let skipped = (random % u32::from(PORTS.end - PORTS.start)) as usize;
    let ports = PORTS.cycle().skip(skipped).take(PORTS.len());
    let mut free = ports.filter(|port| !used.contains(port));
    free.next().context("all source ports are in use by flows")
}

/// Removes a flow's entries. Returns its backend and the number of entries.
fn remove<A: Family>(flows: &mut Flows<A>, key: &FlowKey<A>) -> Result<(Option<u32>, u32)> {
    let Some(flow) = flows.get(key)? else { return Ok((None, 0)) };
    let reverse = flow.reverse_key(key);
    // The forward entry last: a program that finds only one entry creates the other again.
    let mut removed = 0;
    if flows.get(&reverse)?.is_some_and(|found| is_peer_entry(&found, &flow, key)) {
        removed += u32::from(flows.remove(&reverse)?);
    }
    removed += u32::from(flows.remove(key)?);
    Ok((Some(flow.backend), removed))
}

/// Whether an entry is the peer entry of the flow at `key`, and not of another flow.
fn is_peer_entry<A: Address>(found: &Flow<A>, flow: &Flow<A>, key: &FlowKey<A>) -> bool {
    let peer = flow.peer_entry(key);
    (found.address, found.port, found.nat_port) == (peer.address, peer.port, peer.nat_port)
}

/// The session affinity of the pod before the attempt.
struct Remembered<A> {
    table: Table<AffinityKey<A>, Affinity>,
    key: AffinityKey<A>,
    before: Option<Affinity>,
    matters: bool,
}

impl<A: Family> Remembered<A> {
    fn before(pins: &Pins, client: A, service: Option<&Service>) -> Result<Self> {
        let table = Table::open(pins, A::AFFINITY)?;
        let key = AffinityKey { client, service: service.map_or(0, |service| service.id) };
        let before = table.get(&key)?;
        let matters = service.is_some_and(|service| service.affinity != 0);
        Ok(Self { table, key, before, matters })
    }

    /// Restores the affinity of the earlier state of the Service if it differs from `met`, the current
    /// state: the program may have used either.
    fn forget(&mut self, met: Option<&Service>) -> Result<()> {
        self.matters = true;
        self.restore()?;
        if let Some(met) = met.filter(|met| met.id != self.key.service) {
            self.table.remove(&AffinityKey { service: met.id, ..self.key })?;
        }
        Ok(())
    }

    /// Restores the affinity. Returns the number of entries that the program made.
    fn restore(&mut self) -> Result<u32> {
        if !self.matters {
            return Ok(0);
        }
        match self.before {
            Some(before) => {
                self.table.set(&self.key, &before)?;
                Ok(0)
            }
            None => Ok(u32::from(self.table.remove(&self.key)?)),
        }
    }
}

fn growth(before: &[(Reason, u64)], after: &[(Reason, u64)]) -> Vec<(Reason, u64)> {
    let grown = before.iter().zip(after).map(|((reason, old), (_, new))| (*reason, new - old));
    grown.filter(|(_, by)| *by > 0).collect()
}

/// A value that differs each time, for sequence numbers.
fn now_nanos() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = time.tv_sec.wrapping_mul(1_000_000_007).wrapping_add(time.tv_nsec);
    u32::try_from(nanos & 0xffff_ffff).unwrap_or_default()
}
