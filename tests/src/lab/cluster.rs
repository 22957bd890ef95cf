//! A cluster: nodes on an underlay, each with an agent of its own, in a world of Kubernetes' Node
//! manifests.
//!
//! Nothing of it is in the root namespace. The underlay is a namespace with a bridge for each
//! subnet and a router between them; the nodes' `uplink` is a port of one of these bridges. The
//! agents are the real binary, started in their node's namespaces, with every directory below that
//! of the node. What they know of the cluster comes from a directory of manifests, which a test
//! edits while they watch ([`World`]).
//!
//! ```no_run
//! use weir_tests::lab::{Cluster, ping};
//!
//! # fn main() -> anyhow::Result<()> {
//! Cluster::new(2).test(|cluster| {
//!     let (a, b) = (cluster.node(1)?.pod("a")?, cluster.node(2)?.pod("b")?);
//!     ping(&a, b.address()?)
//! })
//! # }
//! ```

mod agent;
mod attached;
mod builder;
mod entries;
mod health;
mod manifest;
mod member;
mod operator;
mod service;
mod settings;
mod underlay;
mod world;

use std::net::IpAddr;

use anyhow::{Context, Result};

pub use agent::Agent;
pub use attached::Attached;
pub use builder::Builder;
pub use entries::{Entries, Way, tunnel_hop};
pub use health::Answer;
pub use manifest::NodeManifest;
pub use member::Member;
pub use service::ServiceManifest;
pub use settings::{Families, Mode};
pub use underlay::Underlay;
pub use world::World;

use super::namespaces::Stack;
use super::node::Node;
use super::wait::until;

/// Nodes, the network between them, and what they are told of each other.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: agents end before their nodes, and these before the underlay.
    members: Vec<Member>,
    worlds: Vec<World>,
    underlay: Underlay,
}

impl Cluster {
    /// A cluster of `size` nodes, which can be bent before it is made.
    #[expect(clippy::new_ret_no_self, reason = "`Cluster::new(3).test(…)` reads as it is meant")]
    #[must_use]
    pub fn new(size: u8) -> Builder {
        Builder::new(size)
    }

    /// A node by its number, beginning with 1.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn node(&self, number: u8) -> Result<&Member> {
        let found = self.members.iter().find(|member| member.number() == number);
        found.with_context(|| format!("there is no node {number}"))
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Member] {
        &self.members
    }

    /// The network between the nodes.
    #[must_use]
    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    /// The manifests, where the nodes share a directory; else those of node 1.
    ///
    /// # Errors
    /// When there is no node.
    pub fn world(&self) -> Result<&World> {
        self.worlds.first().context("a cluster without nodes has no world")
    }

    /// The manifests that a node's agent reads.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn world_of(&self, member: &Member) -> Result<&World> {
        let index = if self.worlds.len() == 1 { 0 } else { usize::from(member.number()) - 1 };
        self.worlds.get(index).with_context(|| format!("{} has no world", member.name()))
    }

    /// Changes the MTU of the underlay and of every uplink, as the owner of the network would.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.underlay.set_mtu(mtu)?;
        for member in &self.members {
            member.sh(&format!("ip link set uplink mtu {mtu}"))?;
        }
        Ok(())
    }

    /// Gives a node's uplink its addresses and default routes again, as the system's network
    /// configuration does when a link comes up: the kernel forgets some of them.
    ///
    /// # Errors
    /// When the link is down.
    pub fn configure_uplink(&self, member: &Member) -> Result<()> {
        self.underlay.configure(member.machine(), member.manifest().addresses())
    }

    /// A machine outside of the cluster, behind the underlay's router. It knows no way to pods.
    ///
    /// # Errors
    /// When there is one already.
    pub fn outside(&self) -> Result<(Node, Vec<IpAddr>)> {
        self.underlay.outside()
    }

    /// Waits until every node has exactly the entries for all others that the mode asks for, and
    /// its agent says that it is ready.
    ///
    /// # Errors
    /// When that does not come true; the error has the difference.
    pub fn settled(&self) -> Result<()> {
        for member in &self.members {
            let others = self.members.iter().filter(|other| other.name() != member.name());
            member.knows_exactly(others.map(Member::manifest))?;
            until(&format!("{} is ready", member.name()), || member.ready())?;
        }
        Ok(())
    }

    /// What the agents wrote, for whoever has to find out why a test failed.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        for member in &self.members {
            logs += &format!("---- agent of {} ----\n{}\n", member.name(), member.log());
        }
        logs
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
