//! A running cluster.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::manifest_dir::ManifestDir;
use super::member::Member;
use super::underlay::Underlay;
use crate::lab::node::Node;
use crate::lab::stack::Stack;
use crate::lab::wait::until;

/// Nodes, the network between them, and the manifests that their agents read.
#[derive(Debug)]
pub struct Cluster {
    // The order matters: agents end before their nodes, and these before the underlay.
    pub(super) members: Vec<Member>,
    pub(super) manifest_dirs: Vec<ManifestDir>,
    pub(super) underlay: Underlay,
}

impl Cluster {
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

    /// A machine on the nodes' first subnet that is not a node. `host` is the last part of its
    /// addresses.
    ///
    /// # Errors
    /// When a machine has these addresses already.
    pub fn neighbour(&self, host: u8) -> Result<(Node, Vec<IpAddr>)> {
        self.underlay.neighbour(host)
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
