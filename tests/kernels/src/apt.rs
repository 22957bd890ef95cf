//! A separate apt, with other sources and a folder of its own. The machine's sources, lists and
//! packages are not read and not changed, and root is not needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use xtask::command;

use crate::series::Series;

/// The package whose newest version of a series depends on the kernel's package.
const NEWEST: &str = "linux-image-cloud-amd64";

pub(crate) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// In an empty folder, with the sources that are given as lines of a `sources.list`.
    pub(crate) fn new(folder: &Path, sources: &str) -> Result<Self> {
        for below in ["lists/partial", "archives/partial"] {
            let below = folder.join(below);
            fs::create_dir_all(&below).with_context(|| format!("create {}", below.display()))?;
        }
        for (name, content) in
            [("sources.list", sources), ("apt.conf", &configuration(&folder.display().to_string()))]
        {
            let file = folder.join(name);
            fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The kernel's package and version, as apt-get takes them.
    pub(crate) fn newest(&self, series: Series) -> Result<String> {
        // An archive may lack a suite that another one has, so a failure alone decides nothing.
        let updated = command::run(self.command("apt-get").args(["update", "--quiet=2"]));
        let listing = command::output(self.command("apt-cache").args(["show", NEWEST]));
        listing.ok().and_then(|listing| newest(&listing, series)).ok_or_else(|| {
            let suites: Vec<_> = series.suites().iter().map(|(_, suite)| *suite).collect();
            let error = anyhow!(
                "no kernel {} in Debian's {}; does the mirror have these suites? --mirror names \
                 another",
                series.name(),
                suites.join(" or "),
            );
            match updated {
                Ok(()) => error,
                Err(cause) => cause.context(error),
            }
        })
    }

    /// Downloads the package, and gives the file.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let mut apt_get = self.command("apt-get");
        command::run(apt_get.args(["download", "--quiet=2", package]).current_dir(&self.folder))?;
        let files = fs::read_dir(&self.folder)
            .with_context(|| format!("list {}", self.folder.display()))?;
        let mut files = files.flatten().map(|entry| entry.path());
        files
            .find(|file| file.extension().is_some_and(|ending| ending == "deb"))
            .with_context(|| format!("apt-get downloaded no {package}"))
    }

    fn command(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.env("APT_CONFIG", self.folder.join("apt.conf"));
        apt
    }
}

/// The machine's own configuration, of proxies for example, stays in force.
fn configuration(folder: &str) -> String {
    let settings = [
        ("Dir::Etc::SourceList", &*format!("{folder}/sources.list")),
        ("Dir::Etc::SourceParts", "-"),
        ("Dir::State", folder),
        ("Dir::State::Lists", &*format!("{folder}/lists")),
        ("Dir::State::Status", "/dev/null"),
        ("Dir::Cache", folder),
        ("APT::Architecture", "amd64"),
        ("APT::Architectures", "amd64"),
        ("Acquire::Languages", "none"),
        // The other user that root's apt downloads as may not write here.
        ("APT::Sandbox::User", "root"),
    ];
    settings.iter().map(|(name, value)| format!("{name} \"{value}\";\n")).collect()
}

/// The kernel of the series in what `apt-cache show` writes, which has the newest version first.
fn newest(listing: &str, series: Series) -> Option<String> {
    listing.split("\n\n").find_map(|record| {
        let field = |name: &str| {
            let mut lines = record.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (package, version) = field("Depends")?.split_once(" (= ")?;
        let version = version.split_once(')')?.0;
        series.has(field("Version")?).then(|| format!("{package}={version}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
Package: linux-image-cloud-amd64
Version: 6.12.95-1~bpo12+1
Depends: linux-image-6.12.95+deb12-cloud-amd64 (= 6.12.95-1~bpo12+1)

Package: linux-image-cloud-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)

Package: linux-image-cloud-amd64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)
";

    #[test]
    fn the_newest_kernel_of_a_series_is_taken() {
        let newest = |series| newest(LISTING, series);
        assert_eq!(
            newest(Series::V6_1).as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64=6.1.192-2")
        );
        assert_eq!(
            newest(Series::V6_12).as_deref(),
            Some("linux-image-6.12.95+deb12-cloud-amd64=6.12.95-1~bpo12+1")
        );
        assert_eq!(newest(Series::V5_10), None);
    }
}
