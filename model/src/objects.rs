//! A collection of objects by name that records what changed.
//!
//! A copy is a value of its own that shares its contents with the original. The source changes one
//! copy, and readers keep the others. A change costs the logarithm of the collection's size. A
//! reader that has seen an earlier revision asks for the names that have changed since. So one
//! EndpointSlice among ten thousand reaches the kernel without a look at the others.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::object_name::ObjectName;

/// Tombstones are kept until there are this many more of them than objects.
const MAX_EXTRA_TOMBSTONES: usize = 1024;

/// Objects of one kind, by name.
#[derive(Debug)]
pub struct Objects<T> {
    by_name: HashTrieMapSync<ObjectName, Entry<T>>,
    /// The name that changed with each version, for the newest version of each object.
    by_version: RedBlackTreeMapSync<u64, ObjectName>,
    version: u64,
    /// The version of the last compaction. Older revisions cannot be compared any more.
    compacted_at: u64,
    present: usize,
    /// Two collections can be compared by version only if one was copied from the other: then they
    /// share the epoch.
    epoch: Arc<Epoch>,
}

#[derive(Debug)]
struct Epoch;

#[derive(Debug)]
struct Entry<T> {
    version: u64,
    /// None for a tombstone: the object was removed.
    object: Option<Arc<T>>,
}

/// A point in the history of a collection, which a reader keeps to ask for later changes.
#[derive(Debug, Clone)]
pub struct Revision {
    version: u64,
    epoch: Arc<Epoch>,
}

impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self {
            by_name: self.by_name.clone(),
            by_version: self.by_version.clone(),
            version: self.version,
            compacted_at: self.compacted_at,
            present: self.present,
            epoch: Arc::clone(&self.epoch),
        }
    }
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            by_name: HashTrieMapSync::new_sync(),
            by_version: RedBlackTreeMapSync::new_sync(),
            version: 0,
            compacted_at: 0,
            present: 0,
            epoch: Arc::new(Epoch),
        }
    }
}

impl<T> Objects<T> {
    /// The object of this name.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<T>> {
        self.by_name.get(name)?.object.as_ref()
    }

    /// All objects, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<T>)> {
        self.by_name.iter().filter_map(|(name, entry)| Some((name, entry.object.as_ref()?)))
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.present
    }

    /// Whether the collection has no objects.
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// The current revision, for a later [`Objects::changed_since`].
    pub fn revision(&self) -> Revision {
        Revision { version: self.version, epoch: Arc::clone(&self.epoch) }
    }

    /// The names of the objects that were added, changed or removed since a revision. None if that
    /// is not known, because the revision is too old or belongs to another collection. Then
    /// anything may have changed.
    pub fn changed_since(&self, revision: &Revision) -> Option<impl Iterator<Item = &ObjectName>> {
        if !Arc::ptr_eq(&self.epoch, &revision.epoch) || revision.version < self.compacted_at {
            return None;
        }
        let newer = (Bound::Excluded(revision.version), Bound::Unbounded);
        Some(self.by_version.range(newer).map(|(_, name)| name))
    }

    /// Removes an object. Returns whether it existed.
    pub fn remove(&mut self, name: &ObjectName) -> bool {
        let existed = self.get(name).is_some();
        if existed {
            self.set(name.clone(), None);
            self.present -= 1;
            self.compact();
        }
        existed
    }

    fn set(&mut self, name: ObjectName, object: Option<Arc<T>>) {
        if let Some(old) = self.by_name.get(&name) {
            self.by_version.remove_mut(&old.version);
        }
        self.version += 1;
        self.by_version.insert_mut(self.version, name.clone());
        self.by_name.insert_mut(name, Entry { version: self.version, object });
    }

    /// Deletes the tombstones if there are too many.
    fn compact(&mut self) {
        let tombstones = self.by_name.size() - self.present;
        if tombstones <= self.present + MAX_EXTRA_TOMBSTONES {
            return;
        }
        let removed: Vec<(u64, ObjectName)> = self
            .by_name
            .iter()
            .filter(|(_, entry)| entry.object.is_none())
            .map(|(name, entry)| (entry.version, name.clone()))
            .collect();
        for (version, name) in removed {
            self.by_version.remove_mut(&version);
            self.by_name.remove_mut(&name);
        }
        self.compacted_at = self.version;
    }
}

impl<T: PartialEq> Objects<T> {
    /// Inserts or replaces an object. Returns whether that is a change: an equal object is not.
    pub fn insert(&mut self, name: ObjectName, object: Arc<T>) -> bool {
        let old = self.get(&name);
        if old.is_some_and(|old| Arc::ptr_eq(old, &object) || *old == object) {
            return false;
        }
        self.present += usize::from(old.is_none());
        self.set(name, Some(object));
        true
    }

    /// Replaces the whole contents. Objects that are equal to those before do not count as changed.
    pub fn replace(&mut self, objects: impl IntoIterator<Item = (ObjectName, Arc<T>)>) {
        let mut kept = HashSet::new();
        for (name, object) in objects {
            kept.insert(name.clone());
            self.insert(name, object);
        }
        if kept.len() < self.present {
            let names = self.iter().map(|(name, _)| name);
            let removed: Vec<ObjectName> =
                names.filter(|name| !kept.contains(*name)).cloned().collect();
            for name in removed {
                self.remove(&name);
            }
        }
    }
}

impl<T: PartialEq> PartialEq for Objects<T> {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.epoch, &other.epoch) && self.version == other.version {
            return true;
        }
        self.present == other.present
            && self.iter().all(|(name, object)| other.get(name).is_some_and(|its| its == object))
    }
}

impl<T: Eq> Eq for Objects<T> {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn name(number: u32) -> ObjectName {
        ObjectName::new("ns", format!("n{number}"))
    }

    fn changed(objects: &Objects<u32>, revision: &Revision) -> Option<BTreeSet<ObjectName>> {
        objects.changed_since(revision).map(|names| names.cloned().collect())
    }

    #[test]
    fn a_copy_keeps_its_contents_when_its_original_changes() {
        let mut objects = Objects::default();
        objects.insert(name(1), Arc::new(1));
        let copy = objects.clone();
        objects.insert(name(1), Arc::new(2));
        objects.insert(name(2), Arc::new(2));
        assert_eq!(copy.get(&name(1)).map(|object| **object), Some(1));
        assert_eq!((copy.len(), objects.len()), (1, 2));
        assert_ne!(copy, objects);
    }

    #[test]
    fn changed_since_returns_the_names_that_changed_and_no_others() {
        let mut objects = Objects::default();
        for number in 0..10 {
            objects.insert(name(number), Arc::new(0));
        }
        let revision = objects.revision();
        objects.insert(name(3), Arc::new(0));
        assert_eq!(
            changed(&objects, &revision),
            Some(BTreeSet::new()),
            "an equal object is not a change"
        );
        objects.insert(name(3), Arc::new(1));
        objects.remove(&name(4));
        objects.remove(&name(77));
        objects.insert(name(10), Arc::new(0));
        objects.insert(name(3), Arc::new(2));
        assert_eq!(changed(&objects, &revision), Some([name(3), name(4), name(10)].into()));
        assert_eq!(changed(&objects, &objects.revision()), Some(BTreeSet::new()));
    }

    #[test]
    fn replace_changes_only_the_objects_that_differ() {
        let mut objects = Objects::default();
        objects.replace((0..4).map(|number| (name(number), Arc::new(number))));
        let revision = objects.revision();
        objects.replace([1, 2, 5].map(|number| (name(number), Arc::new(number.max(2)))));
        assert_eq!(
            changed(&objects, &revision),
            Some([name(0), name(1), name(3), name(5)].into()),
            "1 has another value, 0 and 3 were removed, 5 is new"
        );
    }

    #[test]
    fn a_revision_of_another_collection_is_unknown() {
        let (first, second) = (Objects::<u32>::default(), Objects::<u32>::default());
        assert_eq!(changed(&first, &second.revision()), None);
        assert_eq!(first, second, "the contents are the same");
    }

    #[test]
    fn tombstones_are_compacted_and_older_revisions_are_then_unknown() {
        let mut objects = Objects::default();
        let revision = objects.revision();
        for number in 0..5000 {
            objects.insert(name(number), Arc::new(0));
            objects.remove(&name(number));
        }
        assert!(objects.by_name.size() <= MAX_EXTRA_TOMBSTONES + 1);
        assert_eq!(changed(&objects, &revision), None);
        assert!(objects.is_empty());
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_plain_map_and_reports_every_change(
            changes in proptest::collection::vec((0u32..20, 0u32..4), 0..200),
            seen_at in 0usize..200,
        ) {
            let (mut objects, mut plain) = (Objects::default(), BTreeMap::new());
            let mut seen = (objects.revision(), plain.clone());
            for (number, (key, value)) in changes.into_iter().enumerate() {
                if number == seen_at {
                    seen = (objects.revision(), plain.clone());
                }
                if value == 0 {
                    prop_assert_eq!(objects.remove(&name(key)), plain.remove(&name(key)).is_some());
                } else {
                    objects.insert(name(key), Arc::new(value));
                    plain.insert(name(key), value);
                }
            }
            let contents: BTreeMap<_, _> =
                objects.iter().map(|(key, value)| (key.clone(), **value)).collect();
            prop_assert_eq!(&contents, &plain);
            prop_assert_eq!(objects.len(), plain.len());
            let (revision, before) = seen;
            let reported = changed(&objects, &revision).unwrap();
            for key in before.keys().chain(plain.keys()) {
                prop_assert!(before.get(key) == plain.get(key) || reported.contains(key));
            }
        }
    }
}
