//! A cluster: nodes on an underlay, each with its own agent, which reads Kubernetes manifests.
//!
//! A cluster leaves the root namespace unchanged. The underlay is a namespace with a bridge for each
//! subnet and a router between them. Each node's `uplink` is a port of one of these bridges. The
//! agents are the real binary, started in their node's namespaces, with all directories below the
//! node's directory. They watch a directory of manifests, which a test edits ([`ManifestDir`]).
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
mod attached_pod;
mod builder;
mod entries;
mod health;
mod manifest;
mod manifest_dir;
mod member;
mod service;
mod settings;
mod underlay;
mod weir_command;

use std::net::IpAddr;

use anyhow::{Context, Result};

pub use agent::Agent;
pub use attached_pod::AttachedPod;
pub use builder::Builder;
pub use entries::{Entries, PeerRoute, tunnel_next_hop};
pub use health::HttpResponse;
pub use manifest::NodeManifest;
pub use manifest_dir::ManifestDir;
pub use member::Member;
pub use service::ServiceManifest;
pub use settings::{Families, Mode};
pub use underlay::Underlay;

use super::namespaces::Stack;
use super::node::Node;
use super::wait::until;

/// Nodes, the network between them, and the manifests that their agents read.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: agents end before their nodes, and these before the underlay.
    members: Vec<Member>,
    manifest_dirs: Vec<ManifestDir>,
    underlay: Underlay,
}

impl Cluster {
    /// Configures a cluster of `size` nodes.
    #[expect(clippy::new_ret_no_self, reason = "`Cluster::new(3).test(…)` reads as it is meant")]
    #[must_use]
    pub fn new(size: u8) -> Builder {
        Builder::new(size)
    }

    /// A node by its number, beginning with 1.
    ///
    /// # Errors
    /// When there is no node of that number.
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

    /// The directory of manifests that all nodes share, or that of node 1 if each has its own.
    ///
    /// # Errors
    /// When there is no node.
    pub fn manifests(&self) -> Result<&ManifestDir> {
        self.manifest_dirs.first().context("a cluster without nodes has no manifests")
    }

    /// The manifests that a node's agent reads.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn manifests_of(&self, member: &Member) -> Result<&ManifestDir> {
        let index =
            if self.manifest_dirs.len() == 1 { 0 } else { usize::from(member.number()) - 1 };
        self.manifest_dirs.get(index).with_context(|| format!("{} has no manifests", member.name()))
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

    /// A machine outside of the cluster, behind the underlay's router. It has no route to pods.
    ///
    /// # Errors
    /// When there is one already.
    pub fn outside(&self) -> Result<(Node, Vec<IpAddr>)> {
        self.underlay.outside()
    }

    /// Waits until every node has exactly the entries for all others that its mode requires, and
    /// its agent reports that it is ready.
    ///
    /// # Errors
    /// When the deadline passes; the error has the difference.
    pub fn wait_until_ready(&self) -> Result<()> {
        for member in &self.members {
            let others = self.members.iter().filter(|other| other.name() != member.name());
            member.wait_for_peers(others.map(Member::manifest))?;
            until(&format!("{} is ready", member.name()), || member.ready())?;
        }
        Ok(())
    }

    /// The logs of all agents, to find out why a test failed.
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
