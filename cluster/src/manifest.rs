//! Kubernetes objects as files: YAML with several documents, or JSON.
//!
//! Documents are independent of each other. A broken document is a [`Problem`] with its line, and the
//! others are used. Objects of kinds that Weir does not follow are ignored.

mod document;
mod entry;
mod reader;

use std::fmt;

use crate::kinds::{DecodedObject, Kind};
use crate::state_assembler::StateAssembler;
use reader::{ObjectError, Outcome};
use weir_model::Snapshot;

pub(crate) use entry::Entry;

/// The contents of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The objects, in the order of the file.
    pub(crate) entries: Vec<Entry>,
    /// The problems, in the order of the file.
    pub problems: Vec<Problem>,
    /// Whether a document or an item could not be read at all: it is unknown which objects it stands
    /// for.
    pub incomplete: bool,
}

/// A problem in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// Describes the problem, with the field.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl Manifest {
    /// Reads the contents of a file. This never fails as a whole: errors are in `problems`.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut manifest = Self::default();
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                for document in document::documents(text) {
                    for outcome in reader::read_document(&document) {
                        manifest.add(outcome);
                    }
                }
            }
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
                manifest.add(Outcome::Unreadable { line, error: ObjectError::NotText });
            }
        }
        manifest
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Read { line, object: DecodedObject { key, object, invalid, .. } } => {
                self.entries.push(Entry { key, object, line, invalid: !invalid.is_empty() });
                self.problems.extend(invalid.into_iter().map(|text| Problem { line, text }));
            }
            Outcome::Unreadable { line, error } => {
                self.incomplete = true;
                self.problems.push(Problem { line, text: error.to_string() });
            }
        }
    }

    /// The contents of a file that had the contents `self` and now has `newer`: objects that are broken
    /// in `newer` keep their state.
    pub(crate) fn updated_to(&self, newer: Self) -> Self {
        let Self { entries, problems, incomplete } = newer;
        Self { entries: entry::updated(&self.entries, entries, incomplete), problems, incomplete }
    }

    /// The snapshot of a cluster that has the objects of this file only. Of two definitions of an
    /// object the first is used.
    pub fn snapshot(&self) -> Snapshot {
        let mut assembler = StateAssembler::new(Kind::ALL.iter().copied());
        let objects = self.entries.iter().rev().map(|Entry { key, object, .. }| {
            let (key, object) = (key.clone(), object.clone());
            DecodedObject { key, uid: None, object, invalid: Vec::new() }
        });
        assembler.replace(&[], objects.collect());
        assembler.mark_all_synced();
        assembler.snapshot().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
