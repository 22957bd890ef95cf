//! Reading and writing the data path's maps. Thin: what to do is decided elsewhere.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;
use weir_datapath::common::{V4, V6};
use weir_datapath::maps::{Backends, Family, Services, Slots, Table};
use weir_datapath::{Error, Pins};

use crate::datapath::OfIp;
use weir_services::allocator::Capacity;
use weir_services::diff::Op;
use weir_services::tables::{BackendId, Frontend, Range, Tables};
use weir_services::wire;

/// An operation that came to nothing.
#[derive(Debug, Error)]
pub enum Failure {
    /// The kernel refused it.
    #[error("{op}")]
    Refused {
        /// What was to be done.
        op: Op,
        /// Why it was not.
        source: Error,
    },
    /// It needs something that was refused.
    #[error("{0}: what it needs is not there")]
    Skipped(Op),
}

impl Failure {
    /// What was to be done.
    pub const fn op(&self) -> &Op {
        match self {
            Self::Refused { op, .. } | Self::Skipped(op) => op,
        }
    }
}

/// The maps that Services lie in.
pub struct Maps {
    v4: OfFamily<V4>,
    v6: OfFamily<V6>,
    slots: Slots,
}

struct OfFamily<A> {
    services: Services<A>,
    backends: Backends<A>,
}

impl Maps {
    /// Opens the maps where they are pinned.
    ///
    /// # Errors
    /// When they are not.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { v4: OfFamily::open(pins)?, v6: OfFamily::open(pins)?, slots: Slots::open(pins)? })
    }

    /// How much they can hold.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn capacity(&self) -> Result<Capacity, Error> {
        let Self { v4, v6, slots } = self;
        let frontends = v4.services.capacity()?.min(v6.services.capacity()?);
        let backends = v4.backends.capacity()?.min(v6.backends.capacity()?);
        Ok(Capacity {
            frontends: frontends as usize,
            backends: backends as usize,
            slots: slots.capacity(),
        })
    }

    /// What they hold. Some system calls for each entry: for a start, or a look now and then.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        self.v4.read(&self.slots, &mut tables)?;
        self.v6.read(&self.slots, &mut tables)?;
        Ok(tables)
    }

    /// Does these operations in their order, and tells which came to nothing. What needs one of
    /// those is not done either, so that no packet is led where nothing is; everything else is.
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut missing = Missing::default();
        let mut done = self.perform_run(ops);
        for (number, op) in ops.iter().enumerate() {
            if number < done {
                continue;
            }
            let failure = if missing.is_needed_by(op) {
                Failure::Skipped(op.clone())
            } else {
                match self.perform(op) {
                    Ok(()) => {
                        if missing.is_empty() {
                            let rest = ops.get(number + 1..).unwrap_or_default();
                            done = number + 1 + self.perform_run(rest);
                        }
                        continue;
                    }
                    Err(source) => Failure::Refused { op: op.clone(), source },
                }
            };
            missing.note(failure.op());
            failures.push(failure);
        }
        failures
    }

    /// Does the first operations, as long as they are of one kind and enough to be worth it, and
    /// tells how many: one of them may be refused, which is told when it is tried alone.
    fn perform_run(&mut self, ops: &[Op]) -> usize {
        match ops.first() {
            Some(Op::PutBackend(_, first)) if first.ip.is_ipv4() => self.v4.put_backends(ops),
            Some(Op::PutBackend(..)) => self.v6.put_backends(ops),
            Some(Op::PutFrontend(first, _)) if first.ip.is_ipv4() => self.v4.put_frontends(ops),
            Some(Op::PutFrontend(..)) => self.v6.put_frontends(ops),
            Some(Op::WriteSlots(..)) => write_slots(&mut self.slots, ops),
            _ => 0,
        }
    }

    fn perform(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::PutBackend(id, backend) => match backend.ip {
                IpAddr::V4(ip) => {
                    self.v4.backends.set(id, &wire::encode_backend(ip.into(), backend))
                }
                IpAddr::V6(ip) => {
                    self.v6.backends.set(id, &wire::encode_backend(ip.into(), backend))
                }
            },
            Op::WriteSlots(offset, ids) => self.slots.set(*offset, ids),
            Op::PutFrontend(key, value) => {
                let value = wire::encode_frontend_value(value);
                match key.ip {
                    IpAddr::V4(ip) => {
                        self.v4.services.set(&wire::encode_frontend_key(ip.into(), key), &value)
                    }
                    IpAddr::V6(ip) => {
                        self.v6.services.set(&wire::encode_frontend_key(ip.into(), key), &value)
                    }
                }
            }
            Op::DeleteFrontend(key) => match key.ip {
                IpAddr::V4(ip) => {
                    self.v4.services.remove(&wire::encode_frontend_key(ip.into(), key))
                }
                IpAddr::V6(ip) => {
                    self.v6.services.remove(&wire::encode_frontend_key(ip.into(), key))
                }
            }
            .map(drop),
            // An id is of one family, and both are told: it does not say which.
            Op::DeleteBackend(id) => {
                let (v4, v6) = (self.v4.backends.remove(id), self.v6.backends.remove(id));
                v4.and(v6).map(drop)
            }
        }
    }
}

impl<A: Family + Into<IpAddr>> OfFamily<A> {
    fn open(pins: &Pins) -> Result<Self, Error> {
        let services = Table::open(pins, A::SERVICES)?;
        Ok(Self { services, backends: Table::open(pins, A::BACKENDS)? })
    }

    /// Puts the backends that the first operations are about, and tells how many of these.
    fn put_backends(&mut self, ops: &[Op]) -> usize
    where
        A: OfIp,
    {
        let of_op = |op: &Op| match op {
            Op::PutBackend(id, to) => Some((*id, wire::encode_backend(A::of(to.ip)?, to))),
            _ => None,
        };
        put_run(ops, of_op, |keys, values| self.backends.set_all(keys, values))
    }

    /// The same for frontends.
    fn put_frontends(&mut self, ops: &[Op]) -> usize
    where
        A: OfIp,
    {
        let of_op = |op: &Op| match op {
            Op::PutFrontend(key, to) => Some((
                wire::encode_frontend_key(A::of(key.ip)?, key),
                wire::encode_frontend_value(to),
            )),
            _ => None,
        };
        put_run(ops, of_op, |keys, values| self.services.set_all(keys, values))
    }

    fn read(&self, slots: &Slots, tables: &mut Tables) -> Result<(), Error> {
        for (id, backend) in self.backends.entries()? {
            tables.backends.insert(id, wire::decode_backend(&backend));
        }
        for (key, value) in self.services.entries()? {
            // A key that this version does not know harms nobody, and stays.
            let Some(key) = wire::decode_frontend_key(&key) else { continue };
            let value = wire::decode_frontend_value(&value);
            let slots = read_slots(slots, value.range)?;
            tables.frontends.insert(key, Frontend { value, slots });
        }
        Ok(())
    }
}

/// Below this the calls that are saved are not worth the copies.
const RUN: usize = 8;
/// No more than this at once: others want to use the maps, too.
const BATCH: usize = 4096;

/// Puts what the first operations are about, and tells how many of these.
fn put_run<K, V>(
    ops: &[Op],
    of_op: impl FnMut(&Op) -> Option<(K, V)>,
    mut put: impl FnMut(&[K], &[V]) -> Result<(), (usize, Error)>,
) -> usize {
    let (keys, values): (Vec<K>, Vec<V>) = ops.iter().take(BATCH).map_while(of_op).unzip();
    if keys.len() < RUN {
        return 0;
    }
    match put(&keys, &values) {
        Ok(()) => keys.len(),
        Err((done, _)) => done,
    }
}

/// Writes the slots that the first operations are about, and tells how many of these.
fn write_slots(slots: &mut Slots, ops: &[Op]) -> usize {
    let (mut numbers, mut backends, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for op in ops {
        let Op::WriteSlots(offset, ids) = op else { break };
        numbers.extend((*offset..).take(ids.len()));
        backends.extend_from_slice(ids);
        ends.push(numbers.len());
        if numbers.len() >= BATCH {
            break;
        }
    }
    if numbers.len() < RUN {
        return 0;
    }
    match slots.set_all(&numbers, &backends) {
        Ok(()) => ends.len(),
        Err((done, _)) => ends.partition_point(|end| *end <= done),
    }
}

/// What the slots of a range hold; nothing if there is no such range.
fn read_slots(slots: &Slots, range: Range) -> Result<Arc<[BackendId]>, Error> {
    if range.end() > slots.capacity() {
        return Ok(Arc::new([]));
    }
    (range.offset..range.end()).map(|slot| slots.get(slot)).collect()
}

/// What should be there and is not.
#[derive(Debug, Default)]
struct Missing {
    backends: HashSet<BackendId>,
    /// First slots of ranges that were not written.
    ranges: HashSet<u32>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.backends.is_empty() && self.ranges.is_empty()
    }

    fn is_needed_by(&self, op: &Op) -> bool {
        match op {
            Op::WriteSlots(_, ids) => ids.iter().any(|id| self.backends.contains(id)),
            Op::PutFrontend(_, value) => {
                value.range.count > 0 && self.ranges.contains(&value.range.offset)
            }
            Op::PutBackend(..) | Op::DeleteFrontend(_) | Op::DeleteBackend(_) => false,
        }
    }

    fn note(&mut self, op: &Op) {
        match op {
            Op::PutBackend(id, _) => {
                self.backends.insert(*id);
            }
            Op::WriteSlots(offset, _) => {
                self.ranges.insert(*offset);
            }
            Op::PutFrontend(..) | Op::DeleteFrontend(_) | Op::DeleteBackend(_) => {}
        }
    }
}
