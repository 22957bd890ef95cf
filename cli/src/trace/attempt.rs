//! Running the program on a packet, and taking out what it has written.

use std::collections::HashSet;

use anyhow::{Context, Result};
use weir_datapath::common::{
    Address, Affinity, AffinityKey, Flow, FlowKey, Port, Reason, Scope, Service, ServiceKey,
};
use weir_datapath::maps::{Family, Flows, Services, Table};
use weir_datapath::{Action, Hook, Pins, Program};

use super::packet::{self, Tuple};
use super::{Destination, Sender};
use crate::node::maps::{ToIp, counters};
use crate::protocol::Protocol;

/// Source ports that sockets get neither by themselves nor from the programs.
const PORTS: std::ops::Range<u16> = 20_000..32_768;

/// What the program did.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) action: Action,
    pub(super) mark: u32,
    pub(super) sent: Tuple,
    /// What it looks like afterwards.
    pub(super) left: Option<Tuple>,
    /// By how much each counter has grown meanwhile.
    pub(super) counted: Vec<(Reason, u64)>,
    /// The Service that it was sent to.
    pub(super) service: Option<Service>,
    /// The backend that its flow was given.
    pub(super) backend: Option<u32>,
    /// Entries that the program has made, and that are gone again.
    pub(super) removed: u32,
}

/// How often a packet is tried whose Service changes just then.
const TRIES: u32 = 5;

/// Tries one packet of the pod.
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
    last.context("the Service changes again and again: try once more")
}

/// The same once; nothing if the Service changed meanwhile, so that it is not known which one the packet
/// met.
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
    // Whatever happened, nothing stays.
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
        sent: packet::read(&frame).context("the packet that was made is none")?,
        left: packet::read(&trial.packet),
        counted: growth(&before, &after),
        service,
        backend,
        removed,
    }))
}

/// A source port of the pod that no flow has, from wherever it leads.
fn free_port<A: Family>(flows: &Flows<A>, client: A, random: u32) -> Result<u16> {
    let mut used = HashSet::new();
    for (key, flow) in flows.entries()? {
        for (address, port) in
            [(key.source, key.source_port), (key.destination, key.destination_port)]
        {
            if address == client {
                used.extend([port.get(), flow.client_port.get(), flow.port.get()]);
            }
        }
    }
    let skipped = (random % u32::from(PORTS.end - PORTS.start)) as usize;
    let ports = PORTS.cycle().skip(skipped).take(PORTS.len());
    let mut free = ports.filter(|port| !used.contains(port));
    free.next().context("every source port that could be tried is that of a flow")
}

/// Takes a flow's entries out; tells which backend it had, and how many entries there were.
fn remove<A: Family>(flows: &mut Flows<A>, key: &FlowKey<A>) -> Result<(Option<u32>, u32)> {
    let Some(flow) = flows.get(key)? else { return Ok((None, 0)) };
    let reverse = flow.reverse_key(key);
    // The forward entry last: a program that finds one alone makes the other again.
    let mut removed = 0;
    if flows.get(&reverse)?.is_some_and(|found| is_twin(&found, &flow, key)) {
        removed += u32::from(flows.remove(&reverse)?);
    }
    removed += u32::from(flows.remove(key)?);
    Ok((Some(flow.backend), removed))
}

/// Whether an entry is the other one of the flow at `key`, and not that of some other flow.
fn is_twin<A: Address>(found: &Flow<A>, flow: &Flow<A>, key: &FlowKey<A>) -> bool {
    let twin = flow.twin(key);
    (found.address, found.port, found.client_port) == (twin.address, twin.port, twin.client_port)
}

/// What session affinity knew of the pod.
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

    /// Makes it what it was where the Service, which is `met` now, was another before: whether the
    /// packet met the one or the other.
    fn forget(&mut self, met: Option<&Service>) -> Result<()> {
        self.matters = true;
        self.restore()?;
        if let Some(met) = met.filter(|met| met.id != self.key.service) {
            self.table.remove(&AffinityKey { service: met.id, ..self.key })?;
        }
        Ok(())
    }

    /// Makes it what it was; tells how many entries had been made.
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

/// Different each time, which is all that is asked of a sequence number.
fn now_nanos() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = time.tv_sec.wrapping_mul(1_000_000_007).wrapping_add(time.tv_nsec);
    u32::try_from(nanos & 0xffff_ffff).unwrap_or_default()
}
