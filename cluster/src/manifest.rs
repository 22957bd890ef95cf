//! Kubernetes objects as people write them down: YAML of several documents, or JSON.
//!
//! Documents are independent. One that is broken is a [`Problem`] with its line, and the others
//! count. Objects of kinds that nothing here uses are accepted as they are.

mod document;
mod entry;
mod item;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use weir_model::{EndpointSlice, Node, ObjectName, Service};

pub use document::documents;
pub use entry::Entry;

/// A node, by its name.
pub type NodeEntry = Entry<String, Arc<Node>>;
/// A Service, or none if its object is not for us.
pub type ServiceEntry = Entry<ObjectName, Option<Arc<Service>>>;
/// A slice of endpoints, or none if its object is not for us.
pub type SliceEntry = Entry<ObjectName, Option<Arc<EndpointSlice>>>;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodeEntry>,
    /// The Services.
    pub services: Vec<ServiceEntry>,
    /// The slices of their endpoints.
    pub slices: Vec<SliceEntry>,
    /// What is wrong in the file, in its order.
    pub problems: Vec<Problem>,
    /// Whether a document or an item could not be read at all: which objects it stands for is then
    /// unknown.
    pub incomplete: bool,
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
pub(crate) enum ObjectError {
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
        let Self { nodes, services, slices, problems, incomplete } = newer;
        Self {
            nodes: entry::succeed(&self.nodes, nodes, incomplete),
            services: entry::succeed(&self.services, services, incomplete),
            slices: entry::succeed(&self.slices, slices, incomplete),
            problems,
            incomplete,
        }
    }
}

#[cfg(test)]
mod tests;
