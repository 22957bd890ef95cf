//! How many entries the maps can hold, and how many are in use.

/// How many entries the maps can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends of each family.
    pub frontends: usize,
    /// Backends of each family.
    pub backends: usize,
    /// Slots, of both families together.
    pub slots: u32,
}

/// How many entries of one family's maps are in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Frontends.
    pub frontends: usize,
    /// Backends.
    pub backends: usize,
}
