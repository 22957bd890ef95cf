//! Trees of files from programs of this machine, which images and the file systems of emulated
//! machines are made of.

pub mod tree;
