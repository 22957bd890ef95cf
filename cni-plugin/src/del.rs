//! `DEL`: removes a container's interface and everything that belongs to it.
//!
//! A missing part is not an error. An error in one step does not prevent the next steps.

use std::{net::IpAddr, path::Path};

use tracing::{debug, info};
use weir_netlink::{Netlink, Netns, link, removal};
use weir_node::Attachment;

use crate::{
    Error,
    add::open_inside,
    config::NetworkConfig,
    programs::EndpointMaps,
    record::Records,
    store::{Reservation, Store},
};

/// Removes an attachment. `netns` is needed only for an interface that another plugin made.
pub(crate) async fn del(
    config: &NetworkConfig,
    attachment: &Attachment,
    netns: Option<&Path>,
) -> Result<(), Error> {
    let host = Netlink::open()?;
    let records = Records::new(&config.run_dir);
    let mut errors = Vec::new();

    let endpoint = endpoint(&host, config, &records, attachment).await.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let mut maps = endpoint.as_ref().and_then(|_| EndpointMaps::find(&config.pin_dir));
    // First, so that no entry is left for another pod whose interface gets the index.
    if let Some((port, _)) = endpoint
        && let Some(maps) = &mut maps
    {
        errors.extend(remove_router(&host, maps, attachment, port).await.err());
    }
    let had_veth = remove_interface(&host, config, attachment, netns).await;
    let had_veth = had_veth.unwrap_or_else(|error| {
        errors.push(error);
        false
    });
    if let Some((port, ips)) = endpoint
        && let Some(maps) = &mut maps
    {
        errors.extend(maps.remove(&ips, port).err());
    }
    // The interface is gone before its address can be assigned again. The record is removed last, so
    // that a DEL that was killed can be repeated.
    if errors.is_empty() {
        errors.extend(release(config, &records, attachment).err());
    }
    if errors.is_empty() {
        errors.extend(records.remove(attachment).err());
    }
    info!(container = attachment.container_id, ifname = attachment.ifname, had_veth, "deleted");
    Error::collect(errors)
}

/// Forgets that the attachment routes. By the time of a repeated `DEL`, the index may be that of another
/// interface, whose entry stays.
async fn remove_router(
    host: &Netlink,
    maps: &mut EndpointMaps,
    attachment: &Attachment,
    port: u32,
) -> Result<(), Error> {
    let found = link::find_by_index(host, port).await?;
    if found.is_some_and(|link| link.name != attachment.host_interface()) {
        return Ok(());
    }
    maps.remove_router(port)
}

/// What the eBPF maps may have of an attachment: the index of the host interface, and the addresses
/// of its record, or without a record its addresses in the store. `None` without a record and a link:
/// such entries lead to no interface, and the next owner of the addresses overwrites them.
async fn endpoint(
    host: &Netlink,
    config: &NetworkConfig,
    records: &Records,
    attachment: &Attachment,
) -> Result<Option<(u32, Vec<IpAddr>)>, Error> {
    if let Some(record) = records.find(attachment) {
        return Ok(Some((record.host_ifindex, record.ips().collect())));
    }
    let Some(port) = link::find(host, &attachment.host_interface()).await? else {
        return Ok(None);
    };
    let store = Store::new(&config.ipam.data_dir, &config.name);
    let owned = store.reservations()?.into_iter();
    let owned = owned.filter(|found| found.owner.as_ref() == Some(attachment));
    Ok(Some((port.index, owned.map(|found| found.ip).collect())))
}

/// Deletes the host interface, and with it its peer.
///
/// If it does not exist although the store has an address for the container, the plugin that the
/// node had before Weir has made the container's interface. Then that interface is deleted. An
/// interface without a reservation is left alone: an `ADD` that found it has failed.
async fn remove_interface(
    host: &Netlink,
    config: &NetworkConfig,
    attachment: &Attachment,
    netns: Option<&Path>,
) -> Result<bool, Error> {
    if delete(host, config, &attachment.host_interface()).await? {
        return Ok(true);
    }
    let store = Store::new(&config.ipam.data_dir, &config.name);
    let is_known = |found: &Reservation| found.owner.as_ref() == Some(attachment);
    if !store.reservations()?.iter().any(is_known) {
        return Ok(false);
    }
    let Some(netns) = netns.and_then(|path| Netns::open(path).ok()) else { return Ok(false) };
    match open_inside(&netns) {
        Ok(inside) => delete(&inside, config, &attachment.ifname).await,
        // The remains of a deleted namespace cannot be entered and contain nothing.
        Err(error) => {
            debug!(%error, details = error.details(), "the namespace of the container cannot be entered");
            Ok(false)
        }
    }
}

/// Deletes a link and returns when it is gone. `waitForRemoval` also waits until the kernel has freed
/// its memory, for containers whose init would not reap the waiting child.
async fn delete(netlink: &Netlink, config: &NetworkConfig, name: &str) -> Result<bool, Error> {
    let was_there = if config.wait_for_removal {
        link::delete(netlink, name).await?
    } else {
        removal::delete_unwaited(netlink, name).await?
    };
    Ok(was_there)
}

/// Releases the addresses of the attachment: those of its record, or without one those in the store.
fn release(
    config: &NetworkConfig,
    records: &Records,
    attachment: &Attachment,
) -> Result<(), Error> {
    let store = Store::new(&config.ipam.data_dir, &config.name);
    let Some(locked) = store.lock_existing()? else {
        return Ok(());
    };
    match records.find(attachment) {
        Some(record) => record.ips().try_for_each(|ip| locked.release(ip, attachment).map(|_| ())),
        None => locked.release_all(attachment).map(|_| ()),
    }
}
