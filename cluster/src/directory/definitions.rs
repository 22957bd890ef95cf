//! Where objects are defined. Of several definitions of one object the first is in effect. Pure.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::hash::Hash;
use std::sync::Arc;

/// Where a definition is. Locations are in the order of the files' names, and in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    /// The file.
    pub(super) file: Arc<OsStr>,
    /// Which of the file's entries it is.
    pub(super) index: usize,
    /// The line that it begins on.
    pub(super) line: u64,
}

/// The locations of all definitions, by what is defined.
#[derive(Debug)]
pub(super) struct Definitions<K> {
    by_key: HashMap<K, Locations>,
    /// Keys that are defined more than once.
    repeated: BTreeSet<K>,
}

/// The locations of one key, in order. Nearly all keys have one location only.
#[derive(Debug)]
struct Locations {
    first: Location,
    others: Vec<Location>,
}

impl<K> Default for Definitions<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), repeated: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Definitions<K> {
    /// Adds a definition.
    pub(super) fn add(&mut self, key: &K, mut location: Location) {
        let Some(Locations { first, others }) = self.by_key.get_mut(key) else {
            self.by_key.insert(key.clone(), Locations { first: location, others: Vec::new() });
            return;
        };
        if location < *first {
            std::mem::swap(&mut location, first);
        }
        let index = others.partition_point(|other| *other < location);
        others.insert(index, location);
        self.repeated.insert(key.clone());
    }

    /// Removes a definition.
    pub(super) fn remove(&mut self, key: &K, location: &Location) {
        let Some(Locations { first, others }) = self.by_key.get_mut(key) else { return };
        if first != location {
            others.retain(|other| other != location);
        } else if others.is_empty() {
            self.by_key.remove(key);
            return;
        } else {
            *first = others.remove(0);
        }
        if others.is_empty() {
            self.repeated.remove(key);
        }
    }

    /// The definition that is in effect.
    pub(super) fn first(&self, key: &K) -> Option<&Location> {
        self.by_key.get(key).map(|locations| &locations.first)
    }

    /// All definitions of a key, in order.
    pub(super) fn all(&self, key: &K) -> impl Iterator<Item = &Location> {
        let locations = self.by_key.get(key).into_iter();
        locations.flat_map(|Locations { first, others }| [first].into_iter().chain(others))
    }

    /// The keys with more than one definition: the first, and each of the others.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (&K, &Location, &Location)> {
        self.repeated.iter().flat_map(|key| {
            let locations = self.by_key.get(key).into_iter();
            locations.flat_map(move |Locations { first, others }| {
                others.iter().map(move |other| (key, first, other))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(file: &str, index: usize) -> Location {
        Location { file: Arc::from(OsStr::new(file)), index, line: 1 }
    }

    #[test]
    fn the_first_definition_is_in_effect_and_the_next_one_when_it_is_gone() {
        let mut definitions = Definitions::default();
        for location in [location("b", 0), location("c", 0), location("a", 7)] {
            definitions.add(&"x", location);
        }
        assert_eq!(definitions.first(&"x"), Some(&location("a", 7)));
        let others: Vec<_> = definitions.repeated().map(|(_, _, other)| other.clone()).collect();
        assert_eq!(others, [location("b", 0), location("c", 0)]);
        assert_eq!(definitions.all(&"x").count(), 3);
        definitions.remove(&"x", &location("a", 7));
        assert_eq!(definitions.first(&"x"), Some(&location("b", 0)));
        definitions.remove(&"x", &location("c", 0));
        assert_eq!(definitions.repeated().count(), 0);
        definitions.remove(&"x", &location("b", 0));
        assert_eq!(definitions.first(&"x"), None);
    }
}
