//! Reading and writing the data path's maps. Thin: what to do is decided elsewhere.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;
use weir_datapath::common::{V4, V6};
use weir_datapath::maps::{Backends, Family, Services, Slots, Table};
use weir_datapath::{Error, Pins};

use super::diff::Op;
use super::ledger::Capacity;
use super::maps;
use super::tables::{BackendId, Frontend, Range, Tables};

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
    pub fn apply(&mut self, ops: Vec<Op>) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut missing = Missing::default();
        for op in ops {
            let failure = if missing.is_needed_by(&op) {
                Failure::Skipped(op)
            } else {
                match self.perform(&op) {
                    Ok(()) => continue,
                    Err(source) => Failure::Refused { op, source },
                }
            };
            missing.note(failure.op());
            failures.push(failure);
        }
        failures
    }

    fn perform(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::PutBackend(id, backend) => match backend.ip {
                IpAddr::V4(ip) => self.v4.backends.set(id, &maps::wire_backend(ip.into(), backend)),
                IpAddr::V6(ip) => self.v6.backends.set(id, &maps::wire_backend(ip.into(), backend)),
            },
            Op::WriteSlots(offset, ids) => self.slots.set(*offset, ids),
            Op::PutFrontend(key, value) => {
                let value = maps::service(value);
                match key.ip {
                    IpAddr::V4(ip) => {
                        self.v4.services.set(&maps::service_key(ip.into(), key), &value)
                    }
                    IpAddr::V6(ip) => {
                        self.v6.services.set(&maps::service_key(ip.into(), key), &value)
                    }
                }
            }
            Op::DeleteFrontend(key) => match key.ip {
                IpAddr::V4(ip) => self.v4.services.remove(&maps::service_key(ip.into(), key)),
                IpAddr::V6(ip) => self.v6.services.remove(&maps::service_key(ip.into(), key)),
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

    fn read(&self, slots: &Slots, tables: &mut Tables) -> Result<(), Error> {
        for (id, backend) in self.backends.entries()? {
            tables.backends.insert(id, maps::backend(&backend));
        }
        for (key, value) in self.services.entries()? {
            // A key that this version does not know harms nobody, and stays.
            let Some(key) = maps::frontend_key(&key) else { continue };
            let value = maps::frontend_value(&value);
            let slots = read_slots(slots, value.range)?;
            tables.frontends.insert(key, Frontend { value, slots });
        }
        Ok(())
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
