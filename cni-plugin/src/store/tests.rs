//! The store on a real directory.

use std::collections::HashSet;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::range::{Range, RangeSet};

fn owner(id: &str) -> Attachment {
    Attachment { container_id: id.to_owned(), ifname: "eth0".to_owned() }
}

fn set(subnet: &str) -> RangeSet {
    let range = Range::new("range", subnet.parse().unwrap(), None, None, None).unwrap();
    RangeSet::new("set", vec![range]).unwrap()
}

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path(), "weir");
    (directory, store)
}

fn reserve(store: &Store, set: &RangeSet, id: &str) -> Option<IpAddr> {
    let locked = store.lock().unwrap();
    let last = locked.last_reserved(0);
    locked.reserve_first(&owner(id), 0, set.candidates(last)).unwrap().map(|(ip, _)| ip)
}

#[test]
fn a_reservation_is_a_file_in_the_format_of_host_local() {
    let (directory, store) = store();
    let ip = reserve(&store, &set("10.1.2.0/29"), "c1").unwrap();
    assert_eq!(ip.to_string(), "10.1.2.2");
    let network = directory.path().join("weir");
    assert_eq!(fs::read_to_string(network.join("10.1.2.2")).unwrap(), "c1\r\neth0");
    assert_eq!(fs::read_to_string(network.join("last_reserved_ip.0")).unwrap(), "10.1.2.2");
    assert!(!network.join(STAGING).exists());
}

#[test]
fn the_file_of_the_last_address_has_no_other_content() {
    let (directory, store) = store();
    let file = directory.path().join("weir/last_reserved_ip.0");
    for earlier in ["10.1.2.254", "a line that is longer than any address", "10.1.2.9", ""] {
        fs::create_dir_all(directory.path().join("weir")).unwrap();
        fs::write(&file, earlier).unwrap();
        let ip = reserve(&store, &set("10.1.2.0/28"), "c1").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), ip.to_string(), "after {earlier:?}");
    }
}

#[test]
fn all_addresses_of_an_attachment_are_released_and_no_others() {
    let (_directory, store) = store();
    let set = set("10.1.2.0/28");
    let (a, b) = (reserve(&store, &set, "a").unwrap(), reserve(&store, &set, "b").unwrap());
    let also_a = reserve(&store, &set, "a").unwrap();
    let mut released = store.lock().unwrap().release_all(&owner("a")).unwrap();
    released.sort();
    assert_eq!(released, [a, also_a]);
    let left = store.reservations().unwrap();
    assert_eq!(left.iter().map(|reservation| reservation.ip).collect::<Vec<_>>(), [b]);
}

#[test]
fn a_release_by_another_attachment_does_nothing() {
    let (_directory, store) = store();
    let ip = reserve(&store, &set("10.1.2.0/29"), "a").unwrap();
    assert!(!store.lock().unwrap().release(ip, &owner("b")).unwrap());
    assert!(store.is_owned_by(ip, &owner("a")));
}

#[test]
fn invalid_files_count_as_reserved_and_can_be_discarded() {
    let (directory, store) = store();
    let network = directory.path().join("weir");
    fs::create_dir_all(network.join("10.1.2.2")).unwrap();
    fs::write(network.join("10.1.2.3"), "").unwrap();
    fs::write(network.join("10.1.2.4"), b"\xff\xfe").unwrap();
    fs::write(network.join("last_reserved_ip.0"), b"\xff garbage").unwrap();
    assert_eq!(reserve(&store, &set("10.1.2.0/29"), "a").unwrap().to_string(), "10.1.2.5");
    let locked = store.lock().unwrap();
    for reservation in locked.reservations().unwrap() {
        if reservation.owner.is_none() {
            locked.discard(reservation.ip).unwrap();
        }
    }
    assert_eq!(locked.reservations().unwrap().len(), 1);
}

#[test]
fn the_file_of_a_killed_writer_is_overwritten_and_removed() {
    let (directory, store) = store();
    let staging = directory.path().join("weir").join(STAGING);
    fs::create_dir_all(staging.parent().unwrap()).unwrap();
    fs::write(&staging, "a much longer text than any reservation has, of a killed writer").unwrap();
    let ip = reserve(&store, &set("10.1.2.0/29"), "a").unwrap();
    assert!(store.is_owned_by(ip, &owner("a")));
    fs::write(&staging, "again").unwrap();
    store.lock().unwrap().release_all(&owner("a")).unwrap();
    assert!(!staging.exists());
}

#[test]
fn an_address_is_not_reused_before_all_others() {
    let (_directory, store) = store();
    let set = set("10.1.2.0/29");
    let first = reserve(&store, &set, "a").unwrap();
    store.lock().unwrap().release(first, &owner("a")).unwrap();
    let others: Vec<_> = (0..4).map(|i| reserve(&store, &set, &format!("b{i}")).unwrap()).collect();
    assert!(!others.contains(&first), "{others:?}");
    assert_eq!(reserve(&store, &set, "c"), Some(first));
    assert_eq!(reserve(&store, &set, "d"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_address_is_reserved_twice_and_the_next_free_one_is_reserved(
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..80),
    ) {
        let (_directory, store) = store();
        let set = set("10.1.2.0/28");
        let mut held: Vec<(String, IpAddr)> = Vec::new();
        let mut last = None;
        for (step, (release, pick)) in steps.into_iter().enumerate() {
            if release && !held.is_empty() {
                let (id, ip) = held.remove(pick.index(held.len()));
                prop_assert!(store.lock().unwrap().release(ip, &owner(&id)).unwrap());
                continue;
            }
            let id = format!("c{step}");
            let taken: HashSet<IpAddr> = held.iter().map(|(_, ip)| *ip).collect();
            match reserve(&store, &set, &id) {
                None => prop_assert_eq!(taken.len() as u128, set.size()),
                Some(ip) => {
                    prop_assert!(!taken.contains(&ip));
                    let circle = set.candidates(last).map(|(ip, _)| ip);
                    prop_assert_eq!(Some(ip), circle.into_iter().find(|ip| !taken.contains(ip)));
                    last = Some(ip);
                    held.push((id, ip));
                }
            }
        }
    }
}
