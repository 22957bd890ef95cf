//! The checks, each of which gives its findings.

pub(crate) mod circles;
pub(crate) mod crates;
pub(crate) mod layers;
pub(crate) mod purity;
