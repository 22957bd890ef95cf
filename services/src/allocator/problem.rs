//! Why a Service is not fully in the maps.

use thiserror::Error;

use crate::tables::FrontendKey;
use weir_model::ObjectName;

/// Why a Service is not fully in the maps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// There is no room for a set of backends.
    #[error(
        "no room for {wanted} slots: {free} of {capacity} are free{}",
        if *.quarantined > 0 { ", more will be free soon" } else { "" }
    )]
    Slots {
        /// How many slots the set needs.
        wanted: u32,
        /// How many slots are free.
        free: u32,
        /// How many slots will be free after the grace period.
        quarantined: u32,
        /// How many slots there are.
        capacity: u32,
    },
    /// There is no room for the Service's backends.
    #[error("no room for {wanted} backends: {used} of {capacity} are in use")]
    Backends {
        /// How many more backends the Service needs.
        wanted: usize,
        /// How many backends are in use.
        used: usize,
        /// How many backends the map can hold.
        capacity: usize,
    },
    /// There is no room for the Service's frontends.
    #[error("no room for {wanted} frontends: {used} of {capacity} are in use")]
    Frontends {
        /// How many more frontends the Service needs.
        wanted: usize,
        /// How many frontends are in use.
        used: usize,
        /// How many frontends the map can hold.
        capacity: usize,
    },
    /// An older Service has the same address and port.
    #[error("{key} belongs to the older service {owner}")]
    Taken {
        /// The frontend.
        key: FrontendKey,
        /// The other Service.
        owner: ObjectName,
    },
}

impl Problem {
    /// Every value of [`Problem::kind`].
    pub const KINDS: [&str; 4] = ["slots", "backends", "frontends", "address"];

    /// The resource that is missing, as a label for metrics.
    pub const fn kind(&self) -> &'static str {
        let [slots, backends, frontends, address] = Self::KINDS;
        match self {
            Self::Slots { .. } => slots,
            Self::Backends { .. } => backends,
            Self::Frontends { .. } => frontends,
            Self::Taken { .. } => address,
        }
    }
}
