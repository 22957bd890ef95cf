//! The Services in Weir's maps.

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
        // The descriptor works in any namespace, but the path exists in the node's mount namespace
        // only.
        let table = node.run(|| Ok(Table::open(&Pins::new(node.pin_dir()), SERVICES_V4)?));
        table.map(Self).context("open the map of Services")
    }

    /// The map's entry for a Service's port.
    pub(crate) fn get(&self, service: &objects::Service) -> Result<Option<Service>> {
        let address = service.address.into();
        let key =
            ServiceKey::new(address, Port::new(objects::PORT), protocol::TCP, Scope::Internal);
        Ok(self.0.get(&key)?)
    }

    /// The number of Services in the map.
    pub(crate) fn count(&self) -> Result<usize> {
        let entries = self.0.entries()?;
        Ok(entries.iter().filter(|(key, _)| key.protocol == protocol::TCP).count())
    }
}

/// Waits until a node's map has `services` Services. Gives false when it has not within `timeout`,
/// or when the agent reports that they do not fit.
pub(crate) fn wait_for(node: &Member, services: u32, timeout: Duration) -> Result<bool> {
    let (frontends, wanted) = (Frontends::of(node)?, usize::try_from(services)?);
    let end = Instant::now() + timeout;
    while frontends.count()? < wanted {
        let unfit = node.get("/metrics")?.metric("weir_services_unfit");
        if unfit.is_some_and(|unfit| unfit > 0.0) || Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(true)
}
