//! An object of a file, and what becomes of it when the file changes.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// An object, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<N, T> {
    /// What the object is called.
    pub name: N,
    /// The object, without the values that are wrong.
    pub object: T,
    /// The line that it starts on, from 1.
    pub line: u64,
    /// Whether some value had to be left out.
    pub doubtful: bool,
}

/// The entries that hold after a file changed from `old` to `newer`: those that are doubtful keep
/// the state that they had, and so do those that may be among what could not be read at all.
pub(super) fn succeed<N: Clone + Eq + Hash, T: Clone>(
    old: &[Entry<N, T>],
    mut newer: Vec<Entry<N, T>>,
    incomplete: bool,
) -> Vec<Entry<N, T>> {
    if newer.iter().any(|entry| entry.doubtful) {
        let good: HashMap<&N, &Entry<N, T>> =
            old.iter().filter(|entry| !entry.doubtful).map(|entry| (&entry.name, entry)).collect();
        for entry in newer.iter_mut().filter(|entry| entry.doubtful) {
            if let Some(good) = good.get(&entry.name) {
                *entry = (*good).clone();
            }
        }
    }
    if incomplete {
        let there: HashSet<N> = newer.iter().map(|entry| entry.name.clone()).collect();
        newer.extend(old.iter().filter(|entry| !there.contains(&entry.name)).cloned());
    }
    newer
}
