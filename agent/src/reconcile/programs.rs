//! The data path in a pass: when it is compared, and what follows if it cannot be there.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use tracing::{error, info};
use weir_netlink::{Netlink, link};

use super::error::Error;
use crate::causes::causes;
use crate::{
    datapath::{Datapath, Operations, plan::Surroundings},
    events::Concern,
    health::{Condition, Health},
    options::Options,
};

/// The data path with what is known of it. Where it cannot be, the overlay goes on without it.
#[derive(Debug)]
pub(super) struct Programs {
    datapath: Datapath,
    /// It has once been found or made as it should be.
    compared: bool,
    /// What keeps it from being there.
    obstacle: Option<Concern>,
    health: Arc<Health>,
}

impl Programs {
    pub(super) fn new(options: &Options, health: Arc<Health>) -> Self {
        Self { datapath: Datapath::new(options), compared: false, obstacle: None, health }
    }

    /// Becomes true when the maps are there, for those who write them too.
    pub(super) fn loaded(&self) -> watch::Receiver<bool> {
        self.datapath.loaded()
    }

    /// Whether programs set marks.
    pub(super) fn set_marks(&self) -> bool {
        self.datapath.is_on()
    }

    /// The kernel's numbers of the programs; none while they are not loaded.
    pub(super) fn numbers(&self) -> Arc<BTreeSet<u32>> {
        self.datapath.numbers()
    }

    /// Looks at the filters of these links alone, which somebody may have removed. Returns whether
    /// all is as it should be.
    pub(super) async fn restore(&mut self, netlink: &Netlink, links: &BTreeSet<u32>) -> bool {
        if links.is_empty() {
            return true;
        }
        match self.try_restore(netlink, links).await {
            Ok(operations) if operations.is_empty() => true,
            Ok(operations) => {
                info!(?links, ?operations, "put filters right that somebody has changed");
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
        let mut there = Vec::new();
        for link in links {
            there.extend(link::find_by_index(netlink, *link).await?);
        }
        Ok(self.datapath.restore(&there)?)
    }

    pub(super) fn obstacle(&self) -> Option<Concern> {
        self.obstacle.clone()
    }

    /// Makes it what it should be, and tells what was done. Everything is compared with a resync, and
    /// the first time as soon as there is a network; what did not work then is tried again with a
    /// resync only.
    pub(super) async fn ensure(
        &mut self,
        netlink: &Netlink,
        surroundings: &Surroundings<'_>,
        is_resync: bool,
    ) -> Result<Operations, weir_netlink::Error> {
        let is_first = !self.compared && self.obstacle.is_none();
        let links = if is_resync || is_first { Some(link::list(netlink).await?) } else { None };
        if links.is_none() && !self.datapath.is_on() {
            return Ok(Operations::new());
        }
        let was_on = self.datapath.is_on();
        let outcome = match &links {
            _ if self.datapath.is_wanted() => self.datapath.ensure(surroundings, links.as_deref()),
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
