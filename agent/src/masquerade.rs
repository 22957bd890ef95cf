//! The nftables table `inet weir`: SNAT for packets that leave the node, and the marks that control
//! it.
//!
//! - Traffic of a pod to a destination outside of the cluster gets the node's address.
//! - The eBPF data path can set bits of a packet's mark ([`Marks`]): masquerade, never masquerade,
//!   reject. The rules act on the bits and clear them before the packet leaves. Otherwise the
//!   tunnel's outer packet, which carries the same mark, would match again. Without the data path
//!   these rules do not exist, because every packet would have to pass them.
//! - The tunnel's outer packets bypass conntrack: an entry for each inner flow would have no use.
//!
//! The number of rules does not depend on the number of nodes or Services: addresses are in named
//! sets. Tables of other programs are never changed.
//!
//! [`ruleset()`] is pure. [`ensure`] compares the table in the kernel and replaces the whole table in
//! one transaction if anything differs. Established connections keep their translation.

mod address_set;
mod fingerprint;
mod outcome;
mod ruleset;
mod spec;

use self::{
    fingerprint::{Digest, Listing},
    ruleset::{TABLE, removal},
};
pub use self::{
    outcome::{Outcome, Reason},
    ruleset::ruleset,
    spec::{Marks, Masquerade, TunnelEnd},
};
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
    // How `nft` lists the rules depends on its version, so the expected listing is known only now.
    let written = observe().await?.ok_or(Error::Vanished)?;
    nft::apply(&written.seal(wanted)).await.map_err(Error::Write)?;
    Ok(Outcome::Written(reason))
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
