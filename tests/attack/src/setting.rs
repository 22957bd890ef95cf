//! The settings of a cluster that is attacked.

use std::fmt;

use weir_tests::lab::{Families, Mode};

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) mode: Mode,
    /// The family of pods and nodes.
    pub(crate) ipv4: bool,
    pub(crate) fast_path: bool,
}

impl Setting {
    /// All settings.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for mode in [Mode::Vxlan, Mode::HostGw] {
            for ipv4 in [true, false] {
                for fast_path in [true, false] {
                    all.push(Self { mode, ipv4, fast_path });
                }
            }
        }
        all
    }

    pub(crate) fn families(self) -> Families {
        if self.ipv4 { Families::V4 } else { Families::V6 }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == Mode::Vxlan { "vxlan" } else { "host-gw" };
        let family = if self.ipv4 { "IPv4" } else { "IPv6" };
        let path = if self.fast_path { "fast path" } else { "stack" };
        write!(f, "{mode}, {family}, {path}")
    }
}
