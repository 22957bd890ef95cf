//! Where Debian's packages come from: the mirror of this machine's own packages, or a given one.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use xtask::command;

use crate::series::{Archive, Series};

/// What verifies the archives' signatures, also on machines that are not Debian's.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The archives' addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    main: String,
    security: String,
}

impl Mirror {
    /// The given one, else that of this machine's own packages.
    pub(crate) fn find(given: Option<&str>) -> Result<Self> {
        if let Some(main) = given {
            return Ok(Self::at(main));
        }
        let listing = command::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(LABEL) $(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
        ]))?;
        Self::listed(&listing).context(
            "this machine's apt knows no archive of Debian's, where the kernels come from: \
             run apt-get update if it should, else name a mirror with --mirror",
        )
    }

    fn at(main: &str) -> Self {
        let main = main.trim_end_matches('/');
        Self { main: main.to_owned(), security: format!("{main}-security") }
    }

    /// Reads lines of `label address`.
    fn listed(listing: &str) -> Option<Self> {
        let of = |wanted: &str| {
            let mut lines = listing.lines().filter_map(|line| line.split_once(' '));
            let (_, address) = lines.find(|(label, _)| *label == wanted)?;
            Some(address.trim().trim_end_matches('/').to_owned())
        };
        let known = Self::at(&of("Debian")?);
        Some(Self { security: of("Debian-Security").unwrap_or(known.security), main: known.main })
    }

    /// What apt reads to know the kernels of all these series.
    pub(crate) fn sources(&self, series: &[Series]) -> String {
        let suites = series.iter().flat_map(|series| series.suites());
        let line = |(archive, suite): &(Archive, &str)| {
            let address = match archive {
                Archive::Main => &self.main,
                Archive::Security => &self.security,
            };
            format!("deb [arch=amd64 target=Packages signed-by={KEYRING}] {address} {suite} main\n")
        };
        suites.map(line).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_archives_are_used() {
        let listing = "Debian http://mirror.example/debian/\n\
                       Debian-Security http://security.example/debian-security/\n";
        let mirror = Mirror::listed(listing).unwrap();
        assert_eq!(mirror.main, "http://mirror.example/debian");
        assert_eq!(mirror.security, "http://security.example/debian-security");
        assert_eq!(Mirror::listed(""), None);
    }

    #[test]
    fn a_mirror_has_the_security_archive_beside_the_other() {
        let mirror = Mirror::listed("Debian http://mirror.example/debian/\n").unwrap();
        assert_eq!(mirror, Mirror::at("http://mirror.example/debian"));
        assert_eq!(mirror.security, "http://mirror.example/debian-security");
    }

    #[test]
    fn each_suite_is_asked_for_once_in_its_archive() {
        let sources = Mirror::at("file:/m").sources(&[Series::V6_1, Series::V6_12, Series::V6_1]);
        let suites: Vec<_> = sources
            .lines()
            .filter_map(|line| line.split_once("] "))
            .map(|(_, rest)| rest)
            .collect();
        assert_eq!(
            suites,
            [
                "file:/m bookworm main",
                "file:/m bookworm-backports main",
                "file:/m-security bookworm-security main"
            ]
        );
    }
}
