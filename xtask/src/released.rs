//! The released programs.

/// Their names; each is a package of the same name.
pub const PROGRAMS: &[&str] = &["weir", "weir-agent", "weir-cni"];

/// What they are built for: static, so they run on any distribution.
pub const TARGET: &str = "x86_64-unknown-linux-musl";
