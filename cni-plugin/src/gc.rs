//! `GC`: removes everything that belongs to no valid attachment of the runtime.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use tracing::info;
use weir_netlink::{Netlink, link};
use weir_node::{Attachment, is_host_interface};

use crate::{
    Error,
    config::NetworkConfig,
    programs::EndpointMaps,
    record::{Claims, Records},
    store::Store,
};

/// No ADD takes this long. An older claim is that of an ADD that was killed.
const CLAIM_AGE: Duration = Duration::from_secs(600);

/// Removes the veths, addresses and records of this network whose attachment is no longer valid.
/// Those of other networks and of running `ADD`s stay: the runtime's list may be older than such an
/// `ADD`.
pub(crate) async fn gc(config: &NetworkConfig) -> Result<(), Error> {
    let valid = config.valid_attachments()?;
    let records = Records::new(&config.run_dir);
    let Claims { running, abandoned } = records.claims(CLAIM_AGE)?;
    let mut keep: HashSet<String> = valid.iter().map(Attachment::host_interface).collect();
    keep.extend(running);
    let collection = Collection {
        config,
        host: Netlink::open()?,
        records,
        store: Store::new(&config.ipam.data_dir, &config.name),
        keep,
    };

    let mut errors = Vec::new();
    for attachment in collection.stale()? {
        errors.extend(collection.remove(&attachment).await.err());
    }
    errors.extend(collection.discard_broken().err());
    errors.extend(collection.remove_orphans(&abandoned).await.err());
    // The links of all invalid attachments are deleted now.
    if let Some(mut maps) = EndpointMaps::find(&config.pin_dir) {
        errors.extend(maps.remove_stale(&collection.host).await.err());
    }
    Error::collect(errors)
}

struct Collection<'a> {
    config: &'a NetworkConfig,
    host: Netlink,
    records: Records,
    store: Store,
    /// The host interfaces of the attachments that stay.
    keep: HashSet<String>,
}

impl Collection<'_> {
    /// The invalid attachments of this network that have a record or an address.
    fn stale(&self) -> Result<BTreeSet<Attachment>, Error> {
        let records = self.records.list()?.into_iter();
        let of_network = records.filter(|record| record.network == self.config.name);
        let owners = self.store.reservations()?.into_iter().filter_map(|found| found.owner);
        let mut known: BTreeSet<Attachment> =
            of_network.map(|record| record.attachment).chain(owners).collect();
        known.retain(|attachment| !self.keep.contains(&attachment.host_interface()));
        Ok(known)
    }

    /// Locks the store only for the release: the kernel needs milliseconds to delete a link, and
    /// pods wait for addresses.
    async fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        link::delete(&self.host, &attachment.host_interface()).await?;
        if let Some(locked) = self.store.lock_existing()? {
            locked.release_all(attachment)?;
        }
        self.records.remove(attachment)?;
        info!(container = attachment.container_id, ifname = attachment.ifname, "collected");
        Ok(())
    }

    /// Releases addresses whose files name no owner.
    fn discard_broken(&self) -> Result<(), Error> {
        let Some(locked) = self.store.lock_existing()? else { return Ok(()) };
        let mut errors = Vec::from_iter(locked.unstage().err());
        for reservation in locked.reservations()? {
            if reservation.owner.is_none() {
                info!(ip = %reservation.ip, "discarded a reservation without an owner");
                errors.extend(locked.discard(reservation.ip).err());
            }
        }
        Error::collect(errors)
    }

    /// Removes ports of the bridge that have a name of Weir's and no record, and the claims of ADDs
    /// that were killed.
    async fn remove_orphans(&self, abandoned: &HashSet<String>) -> Result<(), Error> {
        let recorded: HashSet<String> =
            self.records.list()?.into_iter().map(|record| record.host_interface).collect();
        let is_known = |name: &String| self.keep.contains(name) || recorded.contains(name);
        for name in abandoned {
            self.records.remove_claim(name)?;
            // Otherwise the killed ADD was for an attachment that exists.
            if !is_known(name) {
                link::delete(&self.host, name).await?;
            }
        }
        let Some(bridge) = link::find(&self.host, &self.config.bridge).await? else {
            return Ok(());
        };
        for port in link::list_ports(&self.host, bridge.index).await? {
            if is_host_interface(&port.name) && !is_known(&port.name) {
                info!(port = port.name, "deleted a port that belongs to no container");
                link::delete(&self.host, &port.name).await?;
            }
        }
        Ok(())
    }
}
