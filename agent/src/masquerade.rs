//! The nftables table `inet weir`: SNAT for packets that leave the node, the marks that control it, and
//! who may send to the tunnel.
//!
//! - Traffic of a pod to a destination outside of the cluster gets the node's address.
//! - The eBPF data path can set bits of a packet's mark ([`Marks`]): masquerade, never masquerade,
//!   reject. The rules act on the bits and clear them before the packet leaves. Otherwise the
//!   tunnel's outer packet, which carries the same mark, would match again. Without the data path
//!   these rules do not exist, because every packet would have to pass them.
//! - The tunnel's outer packets bypass conntrack: an entry for each inner flow would have no use.
//! - Only peers reach the tunnel's port. Whoever else did could send any packet to any pod.
//!
//! The number of rules does not depend on the number of nodes or Services: addresses are in named
//! sets. Tables of other programs are never changed.
//!
//! [`ruleset()`] is pure. [`ensure`] compares the table in the kernel and replaces the whole table in
//! one transaction if anything differs. If only the peers differ, a transaction adds and removes the
//! elements of their set that differ, and [`follow_peers`] does that without reading the table. So a
//! packet sees the peers before a change or after it, at every moment. Established connections keep
//! their translation.

mod address_set;
mod fingerprint;
mod outcome;
mod peer_set;
mod refused;
mod ruleset;
mod spec;
mod table;

use self::{
    fingerprint::{Digest, Listing},
    ruleset::removal,
    table::TABLE,
};
pub use self::{
    outcome::{Outcome, Reason},
    refused::Refused,
    ruleset::ruleset,
    spec::{Marks, Masquerade, TunnelEnd},
};
use std::sync::Arc;

use weir_netlink::notify::{Entry, SetElement};

use crate::nft;

/// The table's family (`NFPROTO_INET`) and name in the kernel's notifications.
pub(crate) const TABLE_ID: (u8, &str) = (1, TABLE);

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table could not be read.
    #[error("read the nftables table inet {TABLE}")]
    Read(#[source] nft::Error),
    /// The transaction failed, and the table is unchanged.
    #[error("replace the nftables table inet {TABLE}")]
    Write(#[source] nft::Error),
    /// The transaction succeeded, but the table does not exist: another program deletes it.
    #[error("another program deleted the nftables table inet {TABLE} right after it was written")]
    Vanished,
    /// The table could not be deleted.
    #[error("delete the nftables table inet {TABLE}")]
    Remove(#[source] nft::Error),
}

/// Writes the table of the calling thread's network namespace as `wanted`. Writes nothing if the
/// table is already so.
pub async fn ensure(wanted: &Masquerade) -> Result<Outcome, Error> {
    let digest = Digest::of(&ruleset(&wanted.with_peers(Arc::default())));
    let reason = match observe().await? {
        None => Reason::Absent,
        Some(listing) => match listing.reason_to_write(digest) {
            Some(reason) => reason,
            None => {
                let peers = wanted.peers().cloned().unwrap_or_default();
                let Some(change) = peer_set::change(listing.peers(), &peers) else {
                    return Ok(Outcome::Kept);
                };
                nft::apply(&change).await.map_err(Error::Write)?;
                return Ok(Outcome::Written(Reason::Peers));
            }
        },
    };
    nft::apply(&ruleset(wanted)).await.map_err(Error::Write)?;
    // How `nft` lists the rules depends on its version, so the expected listing is known only now.
    let written = observe().await?.ok_or(Error::Vanished)?;
    nft::apply(&written.seal(digest)).await.map_err(Error::Write)?;
    Ok(Outcome::Written(reason))
}

/// As [`ensure`], for a table that is as `written` unless another program has changed it. If only the
/// peers differ, the table is not read.
pub async fn follow_peers(written: &Masquerade, wanted: &Masquerade) -> Result<Outcome, Error> {
    if let (Some(present), Some(peers)) = (written.peers(), wanted.peers())
        && written.with_peers(Arc::clone(peers)) == *wanted
    {
        let Some(change) = peer_set::change(present, peers) else { return Ok(Outcome::Kept) };
        match nft::apply(&change).await {
            Ok(()) => return Ok(Outcome::Written(Reason::Peers)),
            // Another program has changed the table.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(Error::Write(error)),
        }
    }
    ensure(wanted).await
}

/// Whether changes to elements of the table's sets have left the peers' set as in `written`.
pub(crate) fn are_as_written(changes: &[SetElement], written: Option<&Masquerade>) -> bool {
    let Some(peers) = written.and_then(Masquerade::peers) else { return false };
    changes.iter().all(|change| {
        peer_set::is_name(&change.set)
            && match &change.entry {
                Entry::Is(ip) => peers.contains(ip),
                Entry::Gone(ip) => !peers.contains(ip),
                Entry::Other => false,
            }
    })
}

/// How many packets to the tunnel's port were dropped since the table was written.
pub async fn refused() -> Result<Refused, Error> {
    let listing = nft::list_with_counts(&["counters", "table", "inet", TABLE]).await;
    listing.map(|listing| Refused::read(&listing)).map_err(Error::Read)
}

/// Deletes the table. Returns whether it existed.
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
