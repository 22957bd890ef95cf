//! An object of a file, and its state when the file changes.

use std::collections::{HashMap, HashSet};

use crate::kinds::{Object, ObjectKey};

/// The definition of an object in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: ObjectKey,
    /// The object without its invalid values; none if Weir ignores it.
    pub(crate) object: Option<Object>,
    /// The line that it begins on, from 1.
    pub(crate) line: u64,
    /// Whether it had invalid values.
    pub(crate) invalid: bool,
}

/// The entries of a file that changed from `old` to `newer`. Invalid entries keep the state that they
/// had, and so do those that may be among the unreadable parts of an incomplete file.
pub(super) fn updated(old: &[Entry], mut newer: Vec<Entry>, incomplete: bool) -> Vec<Entry> {
    if newer.iter().any(|entry| entry.invalid) {
        let valid: HashMap<&ObjectKey, &Entry> =
            old.iter().filter(|entry| !entry.invalid).map(|entry| (&entry.key, entry)).collect();
        for entry in newer.iter_mut().filter(|entry| entry.invalid) {
            if let Some(valid) = valid.get(&entry.key) {
                *entry = (*valid).clone();
            }
        }
    }
    if incomplete {
        let present: HashSet<ObjectKey> = newer.iter().map(|entry| entry.key.clone()).collect();
        newer.extend(old.iter().filter(|entry| !present.contains(&entry.key)).cloned());
    }
    newer
}
