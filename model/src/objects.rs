//! A collection of objects by name that knows what changed: cheap to copy, cheap to change.
//!
//! A copy is a value of its own and shares everything with its original. Of all copies the source
//! changes one, and the others are only read. A change costs the logarithm of the size, and a reader
//! that has seen an earlier copy is told the names that have changed since, not the whole. That is
//! how one EndpointSlice among ten thousand reaches the kernel without anybody looking at the others.

use std::collections::HashSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

/// The name of a namespaced object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name of an object in a namespace.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// So many names of objects that are gone are remembered, and as many as there are objects.
const GRAVES: usize = 1024;

/// Objects of one kind, by name.
#[derive(Debug)]
pub struct Objects<T> {
    by_name: HashTrieMapSync<ObjectName, Entry<T>>,
    /// The name that changed with each version that is still the newest of its object.
    by_version: RedBlackTreeMapSync<u64, ObjectName>,
    version: u64,
    /// Changes up to this version are forgotten.
    horizon: u64,
    present: usize,
    /// Versions of collections that were not copied from one another cannot be compared.
    lineage: Arc<Lineage>,
}

#[derive(Debug)]
struct Lineage;

#[derive(Debug)]
struct Entry<T> {
    version: u64,
    /// None if the object is gone.
    object: Option<Arc<T>>,
}

/// A state of a collection that a reader has seen.
#[derive(Debug, Clone)]
pub struct Mark {
    version: u64,
    lineage: Arc<Lineage>,
}

impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self {
            by_name: self.by_name.clone(),
            by_version: self.by_version.clone(),
            version: self.version,
            horizon: self.horizon,
            present: self.present,
            lineage: Arc::clone(&self.lineage),
        }
    }
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self {
            by_name: HashTrieMapSync::new_sync(),
            by_version: RedBlackTreeMapSync::new_sync(),
            version: 0,
            horizon: 0,
            present: 0,
            lineage: Arc::new(Lineage),
        }
    }
}

impl<T> Objects<T> {
    /// The object of this name.
    pub fn get(&self, name: &ObjectName) -> Option<&Arc<T>> {
        self.by_name.get(name)?.object.as_ref()
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<T>)> {
        self.by_name.iter().filter_map(|(name, entry)| Some((name, entry.object.as_ref()?)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.present
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// What a reader keeps, to ask later what has changed since.
    pub fn mark(&self) -> Mark {
        Mark { version: self.version, lineage: Arc::clone(&self.lineage) }
    }

    /// The names of the objects that came, changed or went since. None if that is not known, because
    /// it is too long ago or the mark is of another collection: then anything may have changed.
    pub fn changed_since(&self, mark: &Mark) -> Option<impl Iterator<Item = &ObjectName>> {
        if !Arc::ptr_eq(&self.lineage, &mark.lineage) || mark.version < self.horizon {
            return None;
        }
        let newer = (Bound::Excluded(mark.version), Bound::Unbounded);
        Some(self.by_version.range(newer).map(|(_, name)| name))
    }

    /// Removes an object. Returns whether it was there.
    pub fn remove(&mut self, name: &ObjectName) -> bool {
        let there = self.get(name).is_some();
        if there {
            self.set(name.clone(), None);
            self.present -= 1;
            self.clear_graves();
        }
        there
    }

    fn set(&mut self, name: ObjectName, object: Option<Arc<T>>) {
        if let Some(old) = self.by_name.get(&name) {
            self.by_version.remove_mut(&old.version);
        }
        self.version += 1;
        self.by_version.insert_mut(self.version, name.clone());
        self.by_name.insert_mut(name, Entry { version: self.version, object });
    }

    /// Forgets the objects that are gone when they are as many as those that are there.
    fn clear_graves(&mut self) {
        let graves = self.by_name.size() - self.present;
        if graves <= self.present + GRAVES {
            return;
        }
        let gone: Vec<(u64, ObjectName)> = self
            .by_name
            .iter()
            .filter(|(_, entry)| entry.object.is_none())
            .map(|(name, entry)| (entry.version, name.clone()))
            .collect();
        for (version, name) in gone {
            self.by_version.remove_mut(&version);
            self.by_name.remove_mut(&name);
        }
        self.horizon = self.version;
    }
}

impl<T: PartialEq> Objects<T> {
    /// Puts an object in. One that is the same as before is no change. Returns whether it is one.
    pub fn insert(&mut self, name: ObjectName, object: Arc<T>) -> bool {
        let old = self.get(&name);
        if old.is_some_and(|old| Arc::ptr_eq(old, &object) || *old == object) {
            return false;
        }
        self.present += usize::from(old.is_none());
        self.set(name, Some(object));
        true
    }

    /// Makes these the objects that there are; what is the same as before has not changed.
    pub fn replace(&mut self, objects: impl IntoIterator<Item = (ObjectName, Arc<T>)>) {
        let mut kept = HashSet::new();
        for (name, object) in objects {
            kept.insert(name.clone());
            self.insert(name, object);
        }
        if kept.len() < self.present {
            let names = self.iter().map(|(name, _)| name);
            let gone: Vec<ObjectName> =
                names.filter(|name| !kept.contains(*name)).cloned().collect();
            for name in gone {
                self.remove(&name);
            }
        }
    }
}

impl<T: PartialEq> PartialEq for Objects<T> {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.lineage, &other.lineage) && self.version == other.version {
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

    fn changed(objects: &Objects<u32>, mark: &Mark) -> Option<BTreeSet<ObjectName>> {
        objects.changed_since(mark).map(|names| names.cloned().collect())
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
    fn a_reader_is_told_the_names_that_changed_and_no_others() {
        let mut objects = Objects::default();
        for number in 0..10 {
            objects.insert(name(number), Arc::new(0));
        }
        let mark = objects.mark();
        objects.insert(name(3), Arc::new(0));
        assert_eq!(changed(&objects, &mark), Some(BTreeSet::new()), "the same is no change");
        objects.insert(name(3), Arc::new(1));
        objects.remove(&name(4));
        objects.remove(&name(77));
        objects.insert(name(10), Arc::new(0));
        objects.insert(name(3), Arc::new(2));
        assert_eq!(changed(&objects, &mark), Some([name(3), name(4), name(10)].into()));
        assert_eq!(changed(&objects, &objects.mark()), Some(BTreeSet::new()));
    }

    #[test]
    fn a_new_list_changes_only_what_differs() {
        let mut objects = Objects::default();
        objects.replace((0..4).map(|number| (name(number), Arc::new(number))));
        let mark = objects.mark();
        objects.replace([1, 2, 5].map(|number| (name(number), Arc::new(number.max(2)))));
        assert_eq!(
            changed(&objects, &mark),
            Some([name(0), name(1), name(3), name(5)].into()),
            "1 has another value, 0 and 3 are gone, 5 is new"
        );
    }

    #[test]
    fn a_mark_of_another_collection_tells_nothing() {
        let (one, other) = (Objects::<u32>::default(), Objects::<u32>::default());
        assert_eq!(changed(&one, &other.mark()), None);
        assert_eq!(one, other, "though they hold the same");
    }

    #[test]
    fn what_is_gone_is_forgotten_some_time_and_then_a_reader_is_told_so() {
        let mut objects = Objects::default();
        let mark = objects.mark();
        for number in 0..5000 {
            objects.insert(name(number), Arc::new(0));
            objects.remove(&name(number));
        }
        assert!(objects.by_name.size() <= GRAVES + 1);
        assert_eq!(changed(&objects, &mark), None);
        assert!(objects.is_empty());
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_tells_all_that_changed(
            changes in proptest::collection::vec((0u32..20, 0u32..4), 0..200),
            marked in 0usize..200,
        ) {
            let (mut objects, mut plain) = (Objects::default(), BTreeMap::new());
            let mut seen = (objects.mark(), plain.clone());
            for (number, (key, value)) in changes.into_iter().enumerate() {
                if number == marked {
                    seen = (objects.mark(), plain.clone());
                }
                if value == 0 {
                    prop_assert_eq!(objects.remove(&name(key)), plain.remove(&name(key)).is_some());
                } else {
                    objects.insert(name(key), Arc::new(value));
                    plain.insert(name(key), value);
                }
            }
            let held: BTreeMap<_, _> = objects.iter().map(|(key, value)| (key.clone(), **value)).collect();
            prop_assert_eq!(&held, &plain);
            prop_assert_eq!(objects.len(), plain.len());
            let (mark, before) = seen;
            let told = changed(&objects, &mark).unwrap();
            for key in before.keys().chain(plain.keys()) {
                prop_assert!(before.get(key) == plain.get(key) || told.contains(key));
            }
        }
    }
}
