//! The kernels: series that Debian builds for clouds, and the kernel of this machine.

use clap::ValueEnum;

/// A kernel that Weir is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// The kernel of this machine, without an emulator.
    Host,
    /// The oldest that Weir supports.
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
}

/// The archive that has a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Main,
    Security,
}

impl Series {
    pub(crate) const ALL: [Self; 4] = [Self::Host, Self::V5_10, Self::V6_1, Self::V6_12];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// Where the newest kernel of the series may be. A release that is no longer supported keeps
    /// its last kernels in the security archive.
    pub(crate) fn suites(self) -> &'static [(Archive, &'static str)] {
        match self {
            Self::Host => &[],
            Self::V5_10 => &[(Archive::Security, "bullseye-security"), (Archive::Main, "bullseye")],
            Self::V6_1 => &[(Archive::Security, "bookworm-security"), (Archive::Main, "bookworm")],
            Self::V6_12 => &[(Archive::Main, "bookworm-backports")],
        }
    }

    /// Whether a package of this version has a kernel of the series.
    pub(crate) fn has(self, version: &str) -> bool {
        version.strip_prefix(self.name()).is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_belongs_to_one_series() {
        for (version, series) in [
            ("5.10.262-1", Series::V5_10),
            ("6.1.192-2", Series::V6_1),
            ("6.12.95-1~bpo12+1", Series::V6_12),
        ] {
            let having: Vec<_> = Series::ALL.into_iter().filter(|one| one.has(version)).collect();
            assert_eq!(having, [series]);
        }
    }

    #[test]
    fn the_command_line_and_the_table_use_the_same_names() {
        for series in Series::ALL {
            assert_eq!(series.to_possible_value().unwrap().get_name(), series.name());
        }
    }
}
