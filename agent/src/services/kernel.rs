//! The maps of the data path that hold Services: reading them whole, and carrying out operations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::warn;
use weir_datapath::common::{ServiceKey, V4, V6};
use weir_datapath::maps::{Backends, Family, Services, Slots};
use weir_datapath::{Error, Pins};

use super::diff::Op;
use super::ledger::Capacity;
use super::maps;
use super::tables::{Backend, BackendId, Frontend, FrontendKey, FrontendValue, Tables};

/// The maps, open.
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
    /// Opens what is pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { v4: OfFamily::open(pins)?, v6: OfFamily::open(pins)?, slots: Slots::open(pins)? })
    }

    /// How much they can hold.
    pub fn capacity(&self) -> Result<Capacity, Error> {
        let least = |a: u32, b: u32| a.min(b) as usize;
        Ok(Capacity {
            frontends: least(self.v4.services.capacity()?, self.v6.services.capacity()?),
            backends: least(self.v4.backends.capacity()?, self.v6.backends.capacity()?),
            slots: self.slots.capacity(),
        })
    }

    /// What they hold. Entries that no version of Weir that this one knows of has made are removed:
    /// nobody would ever do it otherwise.
    pub fn read(&mut self) -> Result<Tables, Error> {
        let mut tables = Tables::default();
        self.v4.read(&self.slots, &mut tables)?;
        self.v6.read(&self.slots, &mut tables)?;
        Ok(tables)
    }

    /// Carries out an operation.
    pub fn apply(&mut self, op: &Op) -> Result<(), Error> {
        match op {
            Op::PutBackend(id, backend) => match backend.ip {
                IpAddr::V4(ip) => self.v4.put_backend(*id, ip.into(), backend),
                IpAddr::V6(ip) => self.v6.put_backend(*id, ip.into(), backend),
            },
            Op::WriteSlots(offset, ids) => self.slots.set(*offset, ids),
            Op::PutFrontend(key, value) => match key.ip {
                IpAddr::V4(ip) => self.v4.put_frontend(ip.into(), key, value),
                IpAddr::V6(ip) => self.v6.put_frontend(ip.into(), key, value),
            },
            Op::DeleteFrontend(key) => match key.ip {
                IpAddr::V4(ip) => self.v4.delete_frontend(ip.into(), key),
                IpAddr::V6(ip) => self.v6.delete_frontend(ip.into(), key),
            },
            // Ids of the families are never the same.
            Op::DeleteBackend(id) => {
                self.v4.backends.remove(id)?;
                self.v6.backends.remove(id).map(drop)
            }
        }
    }
}

impl<A: Family + Into<IpAddr>> OfFamily<A> {
    fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            services: Services::open(pins, A::SERVICES)?,
            backends: Backends::open(pins, A::BACKENDS)?,
        })
    }

    fn read(&mut self, slots: &Slots, tables: &mut Tables) -> Result<(), Error> {
        for (id, found) in self.backends.entries()? {
            tables.backends.insert(id, maps::backend(&found));
        }
        let mut unknown = Vec::new();
        // Many frontends share a range.
        let mut read = BTreeMap::new();
        for (wire, found) in self.services.entries()? {
            let Some(key) = maps::frontend_key(&wire) else {
                unknown.push(wire);
                continue;
            };
            let value = maps::frontend_value(&found);
            let range = (value.range.offset, value.range.count);
            let ids = match read.get(&range) {
                Some(ids) => Arc::clone(ids),
                None => {
                    let ids: Arc<[BackendId]> = slots_of(slots, range)?.into();
                    read.insert(range, Arc::clone(&ids));
                    ids
                }
            };
            tables.frontends.insert(key, Frontend { value, slots: ids });
        }
        self.forget(&unknown)
    }

    fn forget(&mut self, unknown: &[ServiceKey<A>]) -> Result<(), Error> {
        for key in unknown {
            warn!(?key, "removed a frontend that this version does not understand");
            self.services.remove(key)?;
        }
        Ok(())
    }

    fn put_backend(&mut self, id: BackendId, address: A, backend: &Backend) -> Result<(), Error> {
        self.backends.set(&id, &maps::wire_backend(address, backend))
    }

    fn put_frontend(
        &mut self,
        address: A,
        key: &FrontendKey,
        value: &FrontendValue,
    ) -> Result<(), Error> {
        self.services.set(&maps::service_key(address, key), &maps::service(value))
    }

    fn delete_frontend(&mut self, address: A, key: &FrontendKey) -> Result<(), Error> {
        self.services.remove(&maps::service_key(address, key)).map(drop)
    }
}

/// The slots of a range, as far as it lies in the map.
fn slots_of(slots: &Slots, (offset, count): (u32, u32)) -> Result<Vec<BackendId>, Error> {
    let end = offset.saturating_add(count).min(slots.capacity());
    (offset..end).map(|index| slots.get(index)).collect()
}
