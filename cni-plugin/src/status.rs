//! `STATUS`: whether an `ADD` would succeed now.

use std::{collections::HashSet, net::IpAddr};

use weir_netlink::{Link, LinkKind, Netlink, link};

use crate::{
    Error, boot,
    config::NetworkConfig,
    mtu,
    node::{gateways, missing_gateways},
    programs::Programs,
    range::RangeSet,
    store::Store,
};

/// Succeeds if an `ADD` can be served; the error says why not.
pub(crate) async fn status(config: &NetworkConfig) -> Result<(), Error> {
    let sets = config.ipam.range_sets()?;
    ready(config, &sets).await.map_err(|error| {
        let reason = match error.details() {
            details if details.is_empty() => error.to_string(),
            details => format!("{error}: {details}"),
        };
        Error::NotReady { reason }
    })
}

async fn ready(config: &NetworkConfig, sets: &[RangeSet]) -> Result<(), Error> {
    Programs::open(&config.pin_dir)?;
    let host = Netlink::open()?;
    mtu::resolve(&host, config, sets).await?;
    // The first ADD creates a missing bridge.
    if let Some(bridge) = link::find(&host, &config.bridge).await? {
        check_bridge(&host, &bridge, sets).await?;
    }
    let taken = taken(&host, &Store::new(&config.ipam.data_dir, &config.name)).await?;
    check_free(&taken, sets)
}

/// The addresses that are not free for an `ADD`.
async fn taken(host: &Netlink, store: &Store) -> Result<HashSet<IpAddr>, Error> {
    let reservations = store.reservations()?;
    let mut taken: HashSet<IpAddr> = reservations.iter().map(|found| found.ip).collect();
    if boot::is_from_earlier_boot(store) {
        let names = link::list(host).await?.into_iter().map(|link| link.name).collect();
        for invalid in boot::invalid_reservations(reservations, &names) {
            taken.remove(&invalid.ip);
        }
    }
    Ok(taken)
}

async fn check_bridge(host: &Netlink, bridge: &Link, sets: &[RangeSet]) -> Result<(), Error> {
    if bridge.kind != Some(LinkKind::Bridge) {
        let difference = "it is not a bridge".to_owned();
        return Err(Error::Difference { subject: format!("link {}", bridge.name), difference });
    }
    missing_gateways(host, bridge, &gateways(sets)).await.map(|_| ())
}

fn check_free(taken: &HashSet<IpAddr>, sets: &[RangeSet]) -> Result<(), Error> {
    for set in sets {
        let in_use = taken.iter().filter(|ip| set.range_of(**ip).is_some()).count() as u128;
        if in_use >= set.size() {
            let (ranges, size) = (set.to_string(), set.size());
            return Err(Error::Exhausted { ranges, size, problem: "are reserved" });
        }
    }
    Ok(())
}
