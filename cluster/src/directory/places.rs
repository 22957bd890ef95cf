//! Where objects are named. Of several places of one name the first counts. Pure.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::hash::Hash;
use std::sync::Arc;

/// Where an object is. Places are in the order of the files' names, and in a file in its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file.
    pub(super) file: Arc<OsStr>,
    /// Which of the objects of its kind in the file it is.
    pub(super) number: usize,
    /// The line that it begins on.
    pub(super) line: u64,
}

/// The places of all objects of a kind, by name.
#[derive(Debug)]
pub(super) struct Places<N> {
    by_name: HashMap<N, Vec<Place>>,
    /// Those that are named more than once.
    repeated: BTreeSet<N>,
}

impl<N> Default for Places<N> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), repeated: BTreeSet::new() }
    }
}

impl<N: Clone + Ord + Hash> Places<N> {
    /// There is one more.
    pub(super) fn add(&mut self, name: &N, place: Place) {
        let Some(places) = self.by_name.get_mut(name) else {
            self.by_name.insert(name.clone(), vec![place]);
            return;
        };
        let index = places.partition_point(|other| *other < place);
        places.insert(index, place);
        self.repeated.insert(name.clone());
    }

    /// There is one less.
    pub(super) fn remove(&mut self, name: &N, place: &Place) {
        let Some(places) = self.by_name.get_mut(name) else { return };
        places.retain(|other| other != place);
        match places.len() {
            0 => drop(self.by_name.remove(name)),
            1 => drop(self.repeated.remove(name)),
            _ => {}
        }
    }

    /// The one that counts.
    pub(super) fn first(&self, name: &N) -> Option<&Place> {
        self.by_name.get(name)?.first()
    }

    /// Names that are at more than one place: the first, and each of the others.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (&N, &Place, &Place)> {
        self.repeated.iter().flat_map(|name| {
            let places = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
            let first = places.first();
            places.iter().skip(1).filter_map(move |other| Some((name, first?, other)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, number: usize) -> Place {
        Place { file: Arc::from(OsStr::new(file)), number, line: 1 }
    }

    #[test]
    fn the_first_place_counts_and_the_next_one_when_it_is_gone() {
        let mut places = Places::default();
        for place in [place("b", 0), place("c", 0), place("a", 7)] {
            places.add(&"x", place);
        }
        assert_eq!(places.first(&"x"), Some(&place("a", 7)));
        let others: Vec<_> = places.repeated().map(|(_, _, other)| other.clone()).collect();
        assert_eq!(others, [place("b", 0), place("c", 0)]);
        places.remove(&"x", &place("a", 7));
        assert_eq!(places.first(&"x"), Some(&place("b", 0)));
        places.remove(&"x", &place("c", 0));
        assert_eq!(places.repeated().count(), 0);
        places.remove(&"x", &place("b", 0));
        assert_eq!(places.first(&"x"), None);
    }
}
