//! The changes that make a map as desired. Pure.

use std::collections::BTreeMap;

/// A change of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<K, V> {
    /// Adds or replaces an entry.
    Set(K, V),
    /// Removes an entry.
    Remove(K),
}

/// The changes that lead from the observed to the desired entries. Of the other entries, those that are
/// stale (`is_stale`) are removed.
pub fn diff<K: Ord + Copy, V: PartialEq + Copy>(
    desired: &BTreeMap<K, V>,
    observed: &BTreeMap<K, V>,
    is_stale: impl Fn(&K, &V) -> bool,
) -> Vec<Change<K, V>> {
    let different = desired.iter().filter(|(key, value)| observed.get(key) != Some(value));
    let stale =
        observed.iter().filter(|(key, value)| !desired.contains_key(key) && is_stale(key, value));
    different
        .map(|(key, value)| Change::Set(*key, *value))
        .chain(stale.map(|(key, _)| Change::Remove(*key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn apply(map: &mut BTreeMap<u8, u8>, changes: Vec<Change<u8, u8>>) {
        for change in changes {
            match change {
                Change::Set(key, value) => drop(map.insert(key, value)),
                Change::Remove(key) => drop(map.remove(&key)),
            }
        }
    }

    proptest! {
        #[test]
        fn the_changes_lead_to_the_desired_entries(
            desired in btree_map(0_u8..9, 0_u8..3, 0..6),
            mut observed in btree_map(0_u8..9, 0_u8..3, 0..6),
        ) {
            let changes = diff(&desired, &observed, |_, _| true);
            apply(&mut observed, changes);
            prop_assert_eq!(&observed, &desired);
            prop_assert!(diff(&desired, &observed, |_, _| true).is_empty());
        }

        #[test]
        fn an_entry_that_is_not_stale_stays(
            desired in btree_map(0_u8..9, 0_u8..3, 0..6),
            mut observed in btree_map(0_u8..9, 0_u8..3, 0..6),
        ) {
            let young: Vec<u8> =
                observed.iter().filter(|(_, value)| **value == 1).map(|(key, _)| *key).collect();
            let changes = diff(&desired, &observed, |_, value| *value != 1);
            apply(&mut observed, changes);
            prop_assert!(young.iter().all(|key| observed.contains_key(key)));
        }
    }
}
