//! Reads and writes the data path's maps. All decisions are made in [`weir_services`].

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

/// An operation that failed or was skipped.
#[derive(Debug, Error)]
pub enum Failure {
    /// The kernel refused the operation.
    #[error("{op}")]
    Refused {
        /// The operation.
        op: Op,
        /// The error of the kernel.
        source: Error,
    },
    /// The operation depends on another operation that was refused.
    #[error("{0}: skipped, because it depends on an operation that failed")]
    Skipped(Op),
}

impl Failure {
    /// The operation.
    pub const fn op(&self) -> &Op {
        match self {
            Self::Refused { op, .. } | Self::Skipped(op) => op,
        }
    }
}

/// The maps of Services.
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
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// When they are not pinned there.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { v4: OfFamily::open(pins)?, v6: OfFamily::open(pins)?, slots: Slots::open(pins)? })
    }

    /// How many entries the maps can hold.
    ///
    /// # Errors
    /// When the kernel refuses.
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

    /// Reads the contents of the maps. This takes some system calls for each entry.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        self.v4.read(&self.slots, &mut tables)?;
        self.v6.read(&self.slots, &mut tables)?;
        Ok(tables)
    }

    /// Performs these operations in their order. Returns those that failed. An operation that
    /// depends on a failed one is skipped, so that no frontend leads to missing entries. All others
    /// are performed.
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
                            let remaining = ops.get(number + 1..).unwrap_or_default();
                            done = number + 1 + self.perform_run(remaining);
                        }
                        continue;
                    }
                    Err(source) => Failure::Refused { op: op.clone(), source },
                }
            };
            missing.record(failure.op());
            failures.push(failure);
        }
        failures
    }

    /// Performs the first operations by few system calls if they are of one kind and not too few.
    /// Returns how many were performed. After a refusal this is fewer, and the caller performs the
    /// next operation alone to get the error.
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
            // The id does not say in which family's map the backend is.
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

    /// Writes the backends of the first operations. Returns the number of operations.
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

    /// Writes the frontends of the first operations. Returns the number of operations.
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
            // Keys that this version does not know are left alone. No packet matches them.
            let Some(key) = wire::decode_frontend_key(&key) else { continue };
            let value = wire::decode_frontend_value(&value);
            let slots = read_slots(slots, value.range)?;
            tables.frontends.insert(key, Frontend { value, slots });
        }
        Ok(())
    }
}

/// Fewer operations than this are performed one by one, because the copies cost more than the
/// calls.
const MIN_BATCH: usize = 8;
/// The most entries in one call, so that other users of the maps do not wait long.
const MAX_BATCH: usize = 4096;

/// Writes the entries of the first operations. Returns the number of operations.
fn put_run<K, V>(
    ops: &[Op],
    of_op: impl FnMut(&Op) -> Option<(K, V)>,
    mut put: impl FnMut(&[K], &[V]) -> Result<(), (usize, Error)>,
) -> usize {
    let (keys, values): (Vec<K>, Vec<V>) = ops.iter().take(MAX_BATCH).map_while(of_op).unzip();
    if keys.len() < MIN_BATCH {
        return 0;
    }
    match put(&keys, &values) {
        Ok(()) => keys.len(),
        Err((done, _)) => done,
    }
}

/// Writes the slots of the first operations. Returns the number of operations.
fn write_slots(slots: &mut Slots, ops: &[Op]) -> usize {
    let (mut numbers, mut backends, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for op in ops {
        let Op::WriteSlots(offset, ids) = op else { break };
        numbers.extend((*offset..).take(ids.len()));
        backends.extend_from_slice(ids);
        ends.push(numbers.len());
        if numbers.len() >= MAX_BATCH {
            break;
        }
    }
    if numbers.len() < MIN_BATCH {
        return 0;
    }
    match slots.set_all(&numbers, &backends) {
        Ok(()) => ends.len(),
        Err((done, _)) => ends.partition_point(|end| *end <= done),
    }
}

/// The contents of the slots of a range. Empty if the range is outside of the map.
fn read_slots(slots: &Slots, range: Range) -> Result<Arc<[BackendId]>, Error> {
    if range.end() > slots.capacity() {
        return Ok(Arc::new([]));
    }
    (range.offset..range.end()).map(|slot| slots.get(slot)).collect()
}

/// Entries that could not be written.
#[derive(Debug, Default)]
struct Missing {
    backends: HashSet<BackendId>,
    /// The first slots of the ranges that were not written.
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

    fn record(&mut self, op: &Op) {
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
