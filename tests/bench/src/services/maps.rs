//! What is in Weir's maps of Services.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_datapath::Pins;
use weir_datapath::maps::Table;
use weir_ebpf_common::map::SERVICES_V4;
use weir_ebpf_common::{Port, Scope, Service, ServiceKey, V4, protocol};
use weir_tests::lab::{Member, Stack};

use super::objects;

/// The frontends of a node's IPv4 Services.
pub(crate) struct Frontends(Table<ServiceKey<V4>, Service>);

impl Frontends {
    pub(crate) fn of(node: &Member) -> Result<Self> {
        // A descriptor is good everywhere, but the path is only in the node's file systems.
        let table = node.run(|| Ok(Table::open(&Pins::new(node.pin_dir()), SERVICES_V4)?));
        table.map(Self).context("open the map of Services")
    }

    /// What packets to a Service's port are told.
    pub(crate) fn get(&self, service: &objects::Service) -> Result<Option<Service>> {
        let address = service.address.into();
        let key =
            ServiceKey::new(address, Port::new(objects::PORT), protocol::TCP, Scope::Internal);
        Ok(self.0.get(&key)?)
    }

    /// How many Services have a port there.
    pub(crate) fn count(&self) -> Result<usize> {
        let entries = self.0.entries()?;
        Ok(entries.iter().filter(|(key, _)| key.protocol == protocol::TCP).count())
    }
}

/// Waits until a node's map has so many Services; tells whether it has in time. There may be no room.
pub(crate) fn wait_for(node: &Member, services: u32, patience: Duration) -> Result<bool> {
    let (frontends, wanted) = (Frontends::of(node)?, usize::try_from(services)?);
    let end = Instant::now() + patience;
    while frontends.count()? < wanted {
        let unfit = node.get("/metrics")?.metric("weir_services_unfit");
        if unfit.is_some_and(|unfit| unfit > 0.0) || Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(true)
}
