//! Kubernetes objects as people write them down: YAML of several documents, or JSON.
//!
//! Documents are independent. One that is broken is a [`Problem`] with its line, and the others
//! count. Objects of kinds that nothing here uses are accepted as they are.

mod document;
mod item;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::model::Node;

pub use document::documents;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeEntry>,
    /// What is wrong in the file, in its order.
    pub problems: Vec<Problem>,
    /// Whether a document or an item could not be read at all: which objects it stands for is then
    /// unknown.
    pub incomplete: bool,
}

/// A node, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// The node, without the values that are wrong.
    pub node: Arc<Node>,
    /// The line that its object starts on, from 1.
    pub line: u64,
    /// Whether some value had to be left out.
    pub doubtful: bool,
}

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there, with the field.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Why an object could not be read.
#[derive(Debug, Error)]
pub(in crate::source) enum ObjectError {
    #[error("{0}")]
    Syntax(String),
    #[error("{field}: {fault}")]
    Field { field: String, fault: String },
    #[error("the object has no `{0}`")]
    Missing(&'static str),
    #[error("the file is not UTF-8 text")]
    NotText,
}

impl Manifest {
    /// Reads the contents of a file. Never fails as a whole: what is wrong is in `problems`.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut manifest = Self::default();
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                for document in documents(text) {
                    item::read_document(&document, &mut manifest);
                }
            }
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
                manifest.refuse(line, &ObjectError::NotText);
            }
        }
        manifest
    }

    fn refuse(&mut self, line: u64, error: &ObjectError) {
        self.incomplete = true;
        self.problems.push(Problem { line, what: error.to_string() });
    }

    /// What holds after the file changed from `self`, which held so far, to `newer`: objects that
    /// are broken in `newer` keep the state that they had.
    pub fn succeeded_by(&self, newer: Self) -> Self {
        let Self { nodes, problems, incomplete } = newer;
        let known =
            |name: &str| self.nodes.iter().find(|entry| entry.node.name == name && !entry.doubtful);
        let mut kept: Vec<NodeEntry> = nodes
            .into_iter()
            .map(|entry| match known(&entry.node.name) {
                Some(good) if entry.doubtful => good.clone(),
                _ => entry,
            })
            .collect();
        if incomplete {
            for old in &self.nodes {
                if kept.iter().all(|entry| entry.node.name != old.node.name) {
                    kept.push(old.clone());
                }
            }
        }
        Self { nodes: kept, problems, incomplete }
    }
}

#[cfg(test)]
mod tests;
