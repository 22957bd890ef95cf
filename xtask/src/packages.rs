//! Programs that come from the distribution's packages (Debian and its descendants).

use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use xtask::command;

use crate::{elf, root};

/// A package, and what proves that its programs are installed from elsewhere: another containerd is
/// as good, and Debian's package would replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    name: &'static str,
    proof: Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Program(&'static str),
    StaticProgram(&'static str),
    File(&'static str),
}

impl Package {
    const fn of(name: &'static str, proof: Proof) -> Self {
        Self { name, proof }
    }

    pub(crate) const BUILDAH: Self = Self::of("buildah", Proof::Program("buildah"));
    pub(crate) const BUSYBOX: Self = Self::of("busybox-static", Proof::StaticProgram("busybox"));
    pub(crate) const CONNTRACK: Self = Self::of("conntrack", Proof::Program("conntrack"));
    pub(crate) const CONTAINERD: Self = Self::of("containerd", Proof::Program("containerd"));
    pub(crate) const ETHTOOL: Self = Self::of("ethtool", Proof::Program("ethtool"));
    pub(crate) const CURL: Self = Self::of("curl", Proof::Program("curl"));
    /// The keys of Debian's archives, which other distributions have as a package too.
    pub(crate) const DEBIAN_KEYRING: Self = Self::of(
        "debian-archive-keyring",
        Proof::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
    );
    pub(crate) const DNSUTILS: Self = Self::of("bind9-dnsutils", Proof::Program("dig"));
    pub(crate) const IPERF: Self = Self::of("iperf", Proof::Program("iperf"));
    pub(crate) const IPROUTE: Self = Self::of("iproute2", Proof::Program("ip"));
    pub(crate) const IPTABLES: Self = Self::of("iptables", Proof::Program("iptables-legacy"));
    pub(crate) const KMOD: Self = Self::of("kmod", Proof::Program("kmod"));
    /// `musl-gcc`, for the C parts of the agent's TLS.
    pub(crate) const MUSL: Self = Self::of("musl-tools", Proof::Program("musl-gcc"));
    pub(crate) const NETCAT: Self = Self::of("netcat-openbsd", Proof::Program("nc.openbsd"));
    pub(crate) const NFTABLES: Self = Self::of("nftables", Proof::Program("nft"));
    pub(crate) const OPENSSL: Self = Self::of("openssl", Proof::Program("openssl"));
    pub(crate) const PING: Self = Self::of("iputils-ping", Proof::Program("ping"));
    pub(crate) const QEMU: Self = Self::of("qemu-system-x86", Proof::Program("qemu-system-x86_64"));
    pub(crate) const REFERENCE_PLUGINS: Self =
        Self::of("containernetworking-plugins", Proof::File("/usr/lib/cni/bridge"));
    pub(crate) const RUNC: Self = Self::of("runc", Proof::Program("runc"));
    pub(crate) const WGET: Self = Self::of("wget", Proof::Program("wget"));

    pub(crate) fn name(self) -> &'static str {
        self.name
    }
}

impl Proof {
    fn holds(self) -> bool {
        match self {
            Self::Program(name) => command::find(name).is_some(),
            Self::StaticProgram(name) => command::find(name)
                .and_then(|file| std::fs::read(file).ok())
                .is_some_and(|file| elf::is_static(&file).unwrap_or(false)),
            Self::File(path) => Path::new(path).exists(),
        }
    }
}

/// Those of `wanted` that are not there.
pub(crate) fn missing(wanted: &[Package]) -> Vec<Package> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Package}\\n"]);
    query.args(wanted.iter().map(|package| package.name));
    // It fails as soon as it does not know one of them, and still lists the others. Without dpkg
    // nothing is listed, and the proofs decide.
    let listing = query.output().map(|output| output.stdout).unwrap_or_default();
    let listing = String::from_utf8_lossy(&listing);
    let installed = installed(&listing);
    let there = |package: &Package| installed.contains(&package.name) || package.proof.holds();
    wanted.iter().copied().filter(|package| !there(package)).collect()
}

/// The names in a listing of `status name` lines whose status is `installed`: a package that was
/// removed but left its configuration behind is listed too.
fn installed(listing: &str) -> Vec<&str> {
    listing.lines().filter_map(|line| line.strip_prefix("installed ")).collect()
}

/// Installs them with apt.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    let list = names.join(" ");
    if command::find("apt-get").is_none() {
        bail!(
            "{list}: missing, and this system has no apt-get; \
             install the packages that it has in their place"
        );
    }
    if !root::is_root() {
        bail!("{list}: missing, and only root can install packages: sudo apt-get install {list}");
    }
    // An index that cannot be refreshed may still know the package.
    let refreshed = command::run(&mut apt_get("update"));
    let installed =
        command::run(apt_get("install").args(["--yes", "--no-install-recommends"]).args(&names));
    let absent: Vec<_> = missing(packages).iter().map(|package| package.name).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let list = absent.join(" ");
    let unknown: Vec<_> = absent.into_iter().filter(|name| !is_known(name)).collect();
    let advice = if unknown.is_empty() {
        format!("try by hand: apt-get install {list}")
    } else {
        format!("apt does not know {}; do its sources name Debian's main?", unknown.join(" "))
    };
    let error = anyhow!("{list}: could not be installed; {advice}");
    match installed.and(refreshed) {
        Ok(()) => Err(error),
        Err(cause) => Err(cause.context(error)),
    }
}

fn apt_get(verb: &str) -> Command {
    let mut apt_get = Command::new("apt-get");
    // Another installation may be under way: wait for it instead of failing.
    apt_get.args([verb, "--quiet=2", "--option", "DPkg::Lock::Timeout=300"]);
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

fn is_known(name: &str) -> bool {
    command::output(Command::new("apt-cache").args(["show", "--quiet=2", name])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_package_with_configuration_left_is_not_installed() {
        let listing = "installed runc\nconfig-files containerd\nnot-installed busybox-static\n";
        assert_eq!(installed(listing), ["runc"]);
        assert!(installed("").is_empty());
    }

    #[test]
    fn a_program_from_elsewhere_replaces_its_package() {
        let shell = Package::of("no-package-has-this-name", Proof::Program("sh"));
        let nothing = Package::of("no-package-has-this-name", Proof::File("/no/such/file"));
        assert_eq!(missing(&[shell, nothing]), [nothing]);
    }

    #[test]
    fn a_program_that_needs_a_loader_is_not_a_static_one() {
        assert!(!Proof::StaticProgram("no-program-has-this-name").holds());
        assert!(Proof::Program("ls").holds());
        assert!(!Proof::StaticProgram("ls").holds());
    }
}
