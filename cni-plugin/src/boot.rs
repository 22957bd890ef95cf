//! Reservations of an earlier boot. After a reboot no container is left, but the store still has their
//! addresses.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::info;

use crate::{
    Error,
    store::{LockedStore, Reservation, Store},
};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The ID of this boot. `None` if the file cannot be read; then no reservation is released.
pub(crate) fn current_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

/// Releases the addresses of containers of an earlier boot.
///
/// A store without a boot ID only gets one: host-local may have filled it in this boot.
/// `host_interfaces` are the names of the existing links. A reservation stays if its pod's veth
/// exists, or if it was written since the boot.
pub(crate) fn release_invalid(
    store: &LockedStore<'_>,
    boot_id: &str,
    host_interfaces: &HashSet<String>,
) -> Result<(), Error> {
    if store.boot_id().is_some() {
        for reservation in invalid_reservations(store.reservations()?, host_interfaces) {
            info!(ip = %reservation.ip, "released the address of a container of an earlier boot");
            store.discard(reservation.ip)?;
        }
    }
    store.set_boot_id(boot_id)
}

/// Whether the store was last used in another boot, so that [`release_invalid`] is due.
pub(crate) fn is_from_earlier_boot(store: &Store) -> bool {
    match (store.boot_id(), current_id()) {
        (Some(known), Some(current)) => known != current,
        _ => false,
    }
}

/// The reservations that a reboot invalidated.
pub(crate) fn invalid_reservations(
    reservations: Vec<Reservation>,
    host_interfaces: &HashSet<String>,
) -> impl Iterator<Item = Reservation> + '_ {
    let booted = boot_time();
    let is_invalid = move |found: &Reservation| is_of_earlier_boot(found, booted, host_interfaces);
    reservations.into_iter().filter(is_invalid)
}

fn is_of_earlier_boot(
    reservation: &Reservation,
    booted: Option<SystemTime>,
    host_interfaces: &HashSet<String>,
) -> bool {
    let has_interface = reservation
        .owner
        .as_ref()
        .is_some_and(|owner| host_interfaces.contains(&owner.host_interface()));
    let is_older = match (reservation.since, booted) {
        (Some(since), Some(booted)) => since < booted,
        _ => false,
    };
    is_older && !has_interface
}

/// When the kernel started, by the current wall clock (`btime` of `/proc/stat`).
fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use weir_node::Attachment;

    use super::*;

    fn reservation(age: i64) -> Reservation {
        let booted = boot_time().unwrap();
        let offset = Duration::from_secs(age.unsigned_abs());
        let since = if age < 0 { booted - offset } else { booted + offset };
        let owner = Attachment { container_id: "c1".into(), ifname: "eth0".into() };
        Reservation { ip: "10.1.2.3".parse().unwrap(), owner: Some(owner), since: Some(since) }
    }

    #[test]
    fn a_reservation_older_than_the_boot_without_an_interface_is_released() {
        let booted = boot_time();
        let none = HashSet::new();
        let alive = HashSet::from([reservation(0).owner.unwrap().host_interface()]);
        assert!(is_of_earlier_boot(&reservation(-60), booted, &none));
        assert!(!is_of_earlier_boot(&reservation(-60), booted, &alive));
        assert!(!is_of_earlier_boot(&reservation(60), booted, &none));
        assert!(!is_of_earlier_boot(&reservation(-60), None, &none));
    }
}
