//! The eBPF data path in a pass: when it is compared, and what happens if it cannot be loaded.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use tracing::{error, info};
use weir_netlink::{Netlink, link};

use super::error::Error;
use crate::{
    causes::causes,
    datapath::{Datapath, Operations, plan::Inputs},
    events::Concern,
    health::{Condition, Health},
    options::Options,
};

/// The data path and its state. If it cannot be loaded, the overlay works without it.
#[derive(Debug)]
pub(super) struct Programs {
    datapath: Datapath,
    bridge: String,
    /// Whether one pass has compared and repaired everything without an error.
    compared: bool,
    /// Why the data path cannot be loaded or updated.
    obstacle: Option<Concern>,
    health: Arc<Health>,
}

impl Programs {
    pub(super) fn new(options: &Options, health: Arc<Health>) -> Self {
        let (datapath, bridge) = (Datapath::new(options), options.bridge.clone());
        Self { datapath, bridge, compared: false, obstacle: None, health }
    }

    /// Becomes true when the maps exist, for the other writers of the maps.
    pub(super) fn loaded(&self) -> watch::Receiver<bool> {
        self.datapath.loaded()
    }

    /// Whether programs set marks.
    pub(super) fn set_marks(&self) -> bool {
        self.datapath.is_on()
    }

    /// Whether programs will set marks after this pass, if nothing new fails.
    pub(super) fn will_set_marks(&self) -> bool {
        self.datapath.is_wanted() && (self.datapath.is_on() || self.obstacle.is_none())
    }

    /// The kernel's ids of the programs; empty while they are not loaded.
    pub(super) fn program_ids(&self) -> Arc<BTreeSet<u32>> {
        self.datapath.program_ids()
    }

    /// Checks and repairs only the filters of these links, which another program may have changed.
    /// Returns whether that succeeded.
    pub(super) async fn restore(&mut self, netlink: &Netlink, links: &BTreeSet<u32>) -> bool {
        if links.is_empty() {
            return true;
        }
        match self.try_restore(netlink, links).await {
            Ok(operations) if operations.is_empty() => true,
            Ok(operations) => {
                info!(?links, ?operations, "repaired filters that another program has changed");
                self.health.record_repair("filter");
                self.health.record_operations(operations);
                true
            }
            Err(error) => {
                let text = causes(&error);
                error!(?links, "{text}");
                self.health.set(Condition::ProgramsAttached, Err(text));
                false
            }
        }
    }

    async fn try_restore(
        &mut self,
        netlink: &Netlink,
        links: &BTreeSet<u32>,
    ) -> Result<Operations, Error> {
        let mut found = Vec::new();
        for link in links {
            found.extend(link::find_by_index(netlink, *link).await?);
        }
        Ok(self.datapath.restore(&found)?)
    }

    /// What the operator has to know.
    pub(super) fn concerns(&self) -> impl Iterator<Item = Concern> {
        let strict = self.datapath.strict_check().map(|error| Concern::SourceCheckStrict {
            bridge: self.bridge.clone(),
            obstacle: causes(error),
        });
        self.obstacle.clone().into_iter().chain(strict)
    }

    /// Updates the data path and returns what was done. A resync compares everything, and so does the
    /// first pass with a pod network. After an error, only a resync tries again.
    pub(super) async fn ensure(
        &mut self,
        netlink: &Netlink,
        inputs: &Inputs<'_>,
        is_resync: bool,
    ) -> Result<Operations, weir_netlink::Error> {
        let is_first = !self.compared && self.obstacle.is_none();
        let links = if is_resync || is_first { Some(link::list(netlink).await?) } else { None };
        if links.is_none() && !self.datapath.is_on() {
            return Ok(Operations::new());
        }
        let was_on = self.datapath.is_on();
        let outcome = match &links {
            _ if self.datapath.is_wanted() => self.datapath.ensure(inputs, links.as_deref()),
            Some(links) => self.datapath.withdraw(links),
            None => Ok(Operations::new()),
        };
        if !was_on {
            self.health.record_map_capacities(self.datapath.rooms());
        }
        let (operations, condition) = match outcome {
            Ok(operations) => (operations, Ok(())),
            Err(error) => (Operations::new(), Err(causes(&error))),
        };
        let concern =
            |obstacle: &String| Concern::ServicesUnavailable { obstacle: obstacle.clone() };
        self.obstacle = condition.as_ref().err().map(concern);
        self.compared |= condition.is_ok();
        self.health.set(Condition::ProgramsAttached, condition);
        Ok(operations)
    }
}
