//! After a reboot no container is left, but the store still holds its address.

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

/// The id of this boot; a container runtime's file system may lack it, then nothing is cleared.
pub(crate) fn current_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

/// Releases what containers of an earlier boot held.
///
/// A store that has never seen a boot id is only marked: host-local may have filled it in this
/// boot. `host_interfaces` are the names of the links that exist: a reservation stays if its pod's
/// veth lives, or if it was written since the boot.
pub(crate) fn release_of_earlier_boot(
    store: &LockedStore<'_>,
    boot_id: &str,
    host_interfaces: &HashSet<String>,
) -> Result<(), Error> {
    if store.boot_id().is_some() {
        for reservation in of_earlier_boot(store.reservations()?, host_interfaces) {
            info!(ip = %reservation.ip, "released the address of a container of an earlier boot");
            store.discard(reservation.ip)?;
        }
    }
    store.set_boot_id(boot_id)
}

/// Whether the store was last used in another boot, so that [`release_of_earlier_boot`] is due.
pub(crate) fn is_from_earlier_boot(store: &Store) -> bool {
    match (store.boot_id(), current_id()) {
        (Some(known), Some(current)) => known != current,
        _ => false,
    }
}

/// Those reservations that a reboot made void.
pub(crate) fn of_earlier_boot(
    reservations: Vec<Reservation>,
    host_interfaces: &HashSet<String>,
) -> impl Iterator<Item = Reservation> + '_ {
    let booted = boot_time();
    let is_void = move |found: &Reservation| is_of_earlier_boot(found, booted, host_interfaces);
    reservations.into_iter().filter(is_void)
}

fn is_of_earlier_boot(
    reservation: &Reservation,
    booted: Option<SystemTime>,
    host_interfaces: &HashSet<String>,
) -> bool {
    let lives = reservation
        .owner
        .as_ref()
        .is_some_and(|owner| host_interfaces.contains(&owner.host_interface()));
    let is_older = match (reservation.since, booted) {
        (Some(since), Some(booted)) => since < booted,
        _ => false,
    };
    is_older && !lives
}

/// When the kernel started, by the wall clock of now (`btime` of `/proc/stat`).
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
    fn only_what_is_older_than_the_boot_and_has_no_interface_is_released() {
        let booted = boot_time();
        let none = HashSet::new();
        let alive = HashSet::from([reservation(0).owner.unwrap().host_interface()]);
        assert!(is_of_earlier_boot(&reservation(-60), booted, &none));
        assert!(!is_of_earlier_boot(&reservation(-60), booted, &alive));
        assert!(!is_of_earlier_boot(&reservation(60), booted, &none));
        assert!(!is_of_earlier_boot(&reservation(-60), None, &none));
    }
}
