//! What is known of the objects of one kind.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::kinds::{DecodedObject, Object};
use weir_model::{ObjectName, Snapshot};

/// The objects of one kind, and a list of them that is not complete yet. The valid objects are in
/// the snapshot that the methods are given.
#[derive(Debug, Default)]
pub(crate) struct ResourceState {
    known: HashMap<ObjectName, Known>,
    /// A new list. It replaces the known objects when it is complete.
    incoming: Option<HashMap<ObjectName, DecodedObject>>,
    /// Descriptions of invalid values, by object.
    invalid: BTreeMap<ObjectName, Vec<String>>,
    complete: bool,
    error: Option<SourceError>,
    last_synced: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    uid: Option<Box<str>>,
    /// None if Weir ignores it.
    object: Option<Object>,
}

/// What keeps a source from following a kind, described for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceError {
    pub(crate) text: String,
    /// Whether the error affects all kinds: it is then reported once.
    pub(crate) affects_all: bool,
}

impl ResourceState {
    /// Begins a new list. The known objects stay until it is complete.
    pub(crate) fn begin_list(&mut self) {
        self.incoming = Some(HashMap::new());
    }

    /// Adds an object to the new list.
    pub(crate) fn add_to_list(&mut self, decoded: DecodedObject) {
        self.incoming.get_or_insert_default().insert(decoded.key.name.clone(), decoded);
    }

    /// Makes the objects of the new list the known ones. Objects that are the same as before do not
    /// change.
    pub(crate) fn finish_list(&mut self, snapshot: &mut Snapshot) {
        let listed = self.incoming.take().unwrap_or_default();
        let is_gone = |name: &&ObjectName| !listed.contains_key(*name);
        let gone: Vec<ObjectName> = self.known.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.remove(&name, snapshot);
        }
        self.upsert_all(listed.into_values().collect(), snapshot);
        self.complete = true;
    }

    /// Puts in objects that are new or changed.
    pub(crate) fn upsert_all(&mut self, objects: Vec<DecodedObject>, snapshot: &mut Snapshot) {
        // An identity may pass from one object to another, so objects that lose theirs are removed first.
        for decoded in &objects {
            let known = self.known.get(&decoded.key.name).and_then(|known| known.object.as_ref());
            let old = known.and_then(Object::identity);
            if old.is_some() && old != decoded.object.as_ref().and_then(Object::identity) {
                self.remove(&decoded.key.name, snapshot);
            }
        }
        for decoded in objects {
            self.upsert(decoded, snapshot);
        }
    }

    /// Puts in an object that is new or changed.
    pub(crate) fn upsert(&mut self, decoded: DecodedObject, snapshot: &mut Snapshot) {
        let DecodedObject { key, uid, object, invalid } = decoded;
        let name = key.name;
        if invalid.is_empty() {
            self.invalid.remove(&name);
        } else {
            self.invalid.insert(name.clone(), invalid);
        }
        let old = self.known.get(&name);
        if old.is_some_and(|old| old.uid == uid && old.object == object) {
            // A node's heartbeat, for example, changes nothing that Weir reads.
            return;
        }
        let old = old.and_then(|old| old.object.as_ref());
        match (&object, old) {
            (Some(new), old) => new.clone().upsert(snapshot, &name, old),
            (None, Some(old)) => old.remove(snapshot, &name),
            (None, None) => {}
        }
        self.known.insert(name, Known { uid, object });
    }

    /// Removes a deleted object. An object of the same name that was created later stays.
    pub(crate) fn delete(&mut self, deleted: &DecodedObject, snapshot: &mut Snapshot) {
        let name = &deleted.key.name;
        if self.known.get(name).is_some_and(|known| known.uid == deleted.uid) {
            self.remove(name, snapshot);
        }
    }

    /// Removes the object of this name.
    pub(crate) fn remove(&mut self, name: &ObjectName, snapshot: &mut Snapshot) {
        if let Some(old) = self.known.remove(name).and_then(|known| known.object) {
            old.remove(snapshot, name);
        }
        self.invalid.remove(name);
    }

    /// Records that the known objects are all there are.
    pub(crate) fn mark_complete(&mut self) {
        self.complete = true;
    }

    /// Whether all objects have been listed once.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Records that the state was the source's at this time.
    pub(crate) fn mark_synced(&mut self, now: Instant) {
        self.error = None;
        if self.complete {
            self.last_synced = Some(now);
        }
    }

    /// When the state was last the source's.
    pub(crate) const fn last_synced(&self) -> Option<Instant> {
        self.last_synced
    }

    /// Records what keeps the source from following the kind. The known objects stay.
    pub(crate) fn record_error(&mut self, error: SourceError) {
        self.error = Some(error);
    }

    /// What keeps the source from following the kind.
    pub(crate) const fn error(&self) -> Option<&SourceError> {
        self.error.as_ref()
    }

    /// Descriptions of the invalid values, by object.
    pub(crate) fn invalid(&self) -> impl Iterator<Item = &String> {
        self.invalid.values().flatten()
    }
}

#[cfg(test)]
mod tests;
