//! The addresses of a pod: those that are requested, else the next free IP addresses and the MAC address
//! that follows from them.

use std::{collections::HashSet, net::IpAddr};

use tracing::info;
use weir_netlink::{Link, MacAddr, Netlink, link};
use weir_node::Attachment;

use crate::{
    Error, boot,
    config::NetworkConfig,
    forwarding,
    mac::{ChosenMac, Origin, deciding_set, derive, mac_for},
    pod::Assignment,
    range::RangeSet,
    store::Store,
};

/// What is requested for a pod.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) mac: Option<ChosenMac>,
}

/// The choice of a pod's addresses.
#[derive(Debug)]
pub(crate) struct AddressChoice<'a> {
    config: &'a NetworkConfig,
    attachment: &'a Attachment,
    sets: &'a [RangeSet],
    /// The requested address of each set.
    requested: Vec<Option<IpAddr>>,
    /// The MAC address, if the requests decide it.
    mac: Option<ChosenMac>,
}

impl<'a> AddressChoice<'a> {
    /// The choice with these requests. Each requested IP address must be in a range set, and no two in the
    /// same.
    pub(crate) fn new(
        config: &'a NetworkConfig,
        attachment: &'a Attachment,
        sets: &'a [RangeSet],
        requests: &Requests,
    ) -> Result<Self, Error> {
        let requested = by_set(sets, &requests.ips)?;
        let decisive = requested.get(deciding_set(sets)).copied().flatten();
        let mac = requests.mac.or(decisive.map(|ip| derive(Some(ip))));
        Ok(Self { config, attachment, sets, requested, mac })
    }

    /// Checks before anything is changed that nothing else has the MAC address, if it is requested, or the
    /// IP address that it follows from.
    pub(crate) async fn check(&self, host: &Netlink) -> Result<(), Error> {
        let Self { config, attachment, sets, .. } = self;
        let Some(mac) = &self.mac else { return Ok(()) };
        let store = Store::new(&config.ipam.data_dir, &config.name);
        // For a reserved IP address, the reservation is the better error, and may be of an earlier boot.
        if matches!(mac.origin, Origin::Derived(ip) if store.is_reserved(ip)) {
            return Ok(());
        }
        forwarding::check(host, &config.bridge, sets, mac, &attachment.host_interface()).await
    }

    /// Takes an IP address from each set, and chooses the MAC address. If another interface has the MAC
    /// address that follows from an IP address, for example because it was requested for it, the next IP
    /// address is taken. `reserved` gets the addresses that are reserved, also on an error.
    pub(crate) async fn assign(
        &self,
        host: &Netlink,
        bridge: &Link,
        reserved: &mut Vec<IpAddr>,
    ) -> Result<(Vec<Assignment>, ChosenMac), Error> {
        let mut taken = HashSet::new();
        loop {
            let assigned = self.reserve(host, &taken, reserved).await?;
            if let Some(mac) = self.mac {
                return Ok((assigned, mac));
            }
            let decisive = assigned.get(deciding_set(self.sets));
            let mac = derive(decisive.map(|assignment| assignment.network.ip()));
            if forwarding::is_free(host, bridge, mac.address).await? {
                return Ok((assigned, mac));
            }
            info!(mac = %mac.address, origin = %mac.origin, "skipped an IP address: its MAC address is taken");
            taken.insert(mac.address);
            taken.extend(forwarding::taken_macs(host, bridge).await?);
            self.release(reserved)?;
        }
    }

    /// Takes an IP address from each set, and none from which a taken MAC address follows.
    async fn reserve(
        &self,
        host: &Netlink,
        taken: &HashSet<MacAddr>,
        reserved: &mut Vec<IpAddr>,
    ) -> Result<Vec<Assignment>, Error> {
        let Self { config, attachment, .. } = self;
        let store = Store::new(&config.ipam.data_dir, &config.name);
        let boot_id = boot::current_id();
        let locked = store.lock()?;
        if let Some(boot_id) = boot_id
            && locked.boot_id().as_deref() != Some(boot_id.as_str())
        {
            let links = link::list(host).await?;
            let names: HashSet<String> = links.into_iter().map(|link| link.name).collect();
            boot::release_invalid(&locked, &boot_id, &names)?;
        }
        let mut assigned = Vec::new();
        for (index, (set, requested)) in self.sets.iter().zip(&self.requested).enumerate() {
            let found = if let Some(ip) = *requested {
                let only = set.range_of(ip).map(|range| (ip, range));
                locked.reserve_first(attachment, index, only.into_iter())?
            } else {
                let last = locked.last_reserved(index);
                let decides = index == deciding_set(self.sets);
                let is_usable = |ip| !decides || !taken.contains(&mac_for(ip));
                let candidates = set.candidates(last).filter(|(ip, _)| is_usable(*ip));
                locked.reserve_first(attachment, index, candidates)?
            };
            let Some((ip, range)) = found else {
                let (ranges, size) = (set.to_string(), set.size());
                return Err(match *requested {
                    Some(ip) => Error::Requested { ip, problem: "is already reserved" },
                    None if taken.is_empty() => {
                        Error::Exhausted { ranges, size, problem: "are reserved" }
                    }
                    None => {
                        let problem = "are reserved, or their MAC addresses are those of other \
                                       interfaces";
                        Error::Exhausted { ranges, size, problem }
                    }
                });
            };
            reserved.push(ip);
            assigned.push(Assignment { network: range.network_of(ip), gateway: range.gateway() });
        }
        Ok(assigned)
    }

    fn release(&self, reserved: &mut Vec<IpAddr>) -> Result<(), Error> {
        let store = Store::new(&self.config.ipam.data_dir, &self.config.name);
        let locked = store.lock()?;
        while let Some(ip) = reserved.last() {
            locked.release(*ip, self.attachment)?;
            reserved.pop();
        }
        Ok(())
    }
}

/// The requested addresses by range set. Each must be in a range set, and no two in the same.
fn by_set(sets: &[RangeSet], ips: &[IpAddr]) -> Result<Vec<Option<IpAddr>>, Error> {
    let mut requested = vec![None; sets.len()];
    for ip in ips.iter().copied() {
        let set = sets.iter().position(|set| set.range_of(ip).is_some());
        let slot = set.and_then(|index| requested.get_mut(index));
        let slot =
            slot.ok_or(Error::Requested { ip, problem: "is a gateway or outside all ranges" })?;
        if slot.is_some_and(|other| other != ip) {
            let problem = "is the second of one range set, and a pod gets one address from each";
            return Err(Error::Requested { ip, problem });
        }
        *slot = Some(ip);
    }
    Ok(requested)
}
