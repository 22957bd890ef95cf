//! The data path in a pass: when it is compared, and what follows if it cannot be there.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;
use weir_netlink::{Netlink, link};

use super::{causes, error::Error};
use crate::{
    datapath::{Datapath, Operations, plan::Surroundings},
    events::Concern,
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
}

/// What came of it: the operations, or what is in the way.
pub(super) type Outcome = Result<Operations, String>;

impl Programs {
    pub(super) fn new(options: &Options) -> Self {
        Self { datapath: Datapath::new(options), compared: false, obstacle: None }
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

    /// Attaches what is missing at these links alone.
    pub(super) async fn restore(
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

    /// Makes it what it should be; `None` if this pass need not look. Everything is compared with a
    /// resync, and the first time as soon as there is a network; what did not work then is tried
    /// again with a resync only.
    pub(super) async fn ensure(
        &mut self,
        netlink: &Netlink,
        surroundings: &Surroundings<'_>,
        is_resync: bool,
    ) -> Result<Option<Outcome>, weir_netlink::Error> {
        let is_first = !self.compared && self.obstacle.is_none();
        let links = if is_resync || is_first { Some(link::list(netlink).await?) } else { None };
        if links.is_none() && !self.datapath.is_on() {
            return Ok(None);
        }
        let outcome = match &links {
            _ if self.datapath.is_wanted() => self.datapath.ensure(surroundings, links.as_deref()),
            Some(links) => self.datapath.withdraw(links),
            None => Ok(Operations::new()),
        };
        let outcome = outcome.map_err(|error| causes(&error));
        let concern =
            |obstacle: &String| Concern::ServicesUnavailable { obstacle: obstacle.clone() };
        self.obstacle = outcome.as_ref().err().map(concern);
        self.compared |= outcome.is_ok();
        Ok(Some(outcome))
    }
}
