//! The nftables table `inet weir`: whose source address is replaced on the way out of the node, and
//! the marks that steer it.
//!
//! - A pod that talks to something outside of the cluster appears with its node's address.
//! - A datapath can set bits of a packet's mark ([`Marks`]): masquerade this one, never masquerade
//!   that one, reject that one. The rules do what the bits say and clear them before the packet
//!   leaves, or the tunnel's outer packet, which carries the same mark, would match again. Where
//!   nobody sets them there are no such rules: every packet would have to pass them.
//! - Packets of the tunnel itself are not tracked: an entry for each inner flow's outer packets is
//!   work for nothing.
//!
//! The number of rules does not depend on nodes or Services: addresses are in named sets. Tables of
//! others are never touched.
//!
//! [`ruleset()`] is pure. [`ensure`] compares with the kernel and replaces the whole table in one
//! transaction if anything differs; connections that are already translated stay so.

mod address_set;
mod fingerprint;
mod ruleset;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

pub use self::ruleset::ruleset;
use self::{
    fingerprint::{Digest, Listing},
    ruleset::{TABLE, removal},
};
use crate::nft;

/// The table's family (`NFPROTO_INET`) and name, as the kernel's notifications have them.
pub(crate) const TABLE_ID: (u8, &str) = (1, TABLE);

/// What the table is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// The node's own pod subnets: only what comes from there is masqueraded here, so that the node
    /// that a packet started from decides.
    pub local_pod_cidrs: Vec<IpNetwork>,
    /// The pod networks of the whole cluster: between these a pod keeps its address. The local
    /// ones need not be among them.
    pub pod_networks: Vec<IpNetwork>,
    /// Nodes that are reached with the pod's own address. Only right where the underlay routes pod
    /// subnets (host-gw): through a tunnel such a packet would leave the uplink with a pod's
    /// source, and the other node's reverse path filter or the cloud's source check drops it.
    pub direct_nodes: Vec<IpAddr>,
    /// Other destinations that are reached with the pod's own address.
    pub no_masquerade_cidrs: Vec<IpNetwork>,
    /// Whether pods' traffic out of the cluster is masqueraded at all. What the marks say is done
    /// either way.
    pub ip_masq: bool,
    /// This node's end of the tunnel, if there is one.
    pub tunnel: Option<TunnelEnd>,
    /// The bridge that pods are ports of. What leaves through it goes to a local pod, also when
    /// `bridge-nf-call-iptables` shows bridged frames to these rules.
    pub bridge: String,
    /// The bits that the datapath sets, if there is one that does.
    pub marks: Option<Marks>,
}

/// Where the tunnel's packets arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelEnd {
    /// The UDP port, the same on every node.
    pub port: u16,
    /// The address that other nodes send them to.
    pub local: IpAddr,
}

/// Bits of a packet's mark, each a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Masquerade this packet's flow.
    pub masquerade: u32,
    /// A reply of a known flow: never masquerade it.
    pub reply: u32,
    /// Reject this packet as if nobody listened.
    pub reject: u32,
}

impl Marks {
    /// All of them.
    pub const fn all(self) -> u32 {
        self.masquerade | self.reply | self.reject
    }
}

/// What [`ensure`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The table was as it should be; nothing was written.
    Kept,
    /// The table was written.
    Written(Reason),
}

/// Why the table was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There was none: the first pass on this node, or somebody flushed the rule set.
    Absent,
    /// It was made from other input.
    Outdated,
    /// Somebody changed it, or it was left unfinished.
    Edited,
}

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is there now could not be read.
    #[error("read the nftables table inet {TABLE}")]
    Read(#[source] nft::Error),
    /// The transaction failed; the table is what it was.
    #[error("replace the nftables table inet {TABLE}")]
    Write(#[source] nft::Error),
    /// The transaction succeeded and the table is not there: somebody deletes it.
    #[error("the nftables table inet {TABLE} vanished as soon as it was written")]
    Vanished,
    /// It could not be deleted.
    #[error("delete the nftables table inet {TABLE}")]
    Remove(#[source] nft::Error),
}

/// Makes the table of the calling thread's network namespace be what `wanted` says, and writes
/// nothing if it is.
pub async fn ensure(wanted: &Masquerade) -> Result<Outcome, Error> {
    let batch = ruleset(wanted);
    let wanted = Digest::of(&batch);
    let reason = match observe().await? {
        None => Reason::Absent,
        Some(listing) => match listing.reason_to_write(wanted) {
            None => return Ok(Outcome::Kept),
            Some(reason) => reason,
        },
    };
    nft::apply(&batch).await.map_err(Error::Write)?;
    // How `nft` shows the rules depends on its version, so what they should look like is known only
    // now.
    let written = observe().await?.ok_or(Error::Vanished)?;
    nft::apply(&written.seal(wanted)).await.map_err(Error::Write)?;
    Ok(Outcome::Written(reason))
}

/// Deletes the table; whether there was one.
pub async fn remove() -> Result<bool, Error> {
    if observe().await?.is_none() {
        return Ok(false);
    }
    nft::apply(&removal()).await.map_err(Error::Remove)?;
    Ok(true)
}

async fn observe() -> Result<Option<Listing>, Error> {
    match nft::list(&["table", "inet", TABLE]).await {
        Ok(listing) => Ok(Some(Listing::new(&listing))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(Error::Read(error)),
    }
}
