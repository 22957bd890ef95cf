//! A node: a network namespace, a private mount namespace and a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

use super::dir::LabDir;
use super::namespaces::Namespaces;
use super::stack::Stack;

/// A machine of the lab. Clones are the same machine; it is freed with the last of them.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespaces: Namespaces,
    dir: LabDir,
}

impl Node {
    /// A node with only its loopback interface, which is up.
    ///
    /// # Errors
    /// Without root, or when the directory cannot be created.
    pub fn new() -> Result<Self> {
        let dir = LabDir::new()?;
        fs::create_dir(dir.path().join("netns")).context("create the directory for pods")?;
        let node = Self(Arc::new(Inner { namespaces: Namespaces::create()?, dir }));
        node.sh("ip link set lo up")?;
        Ok(node)
    }

    /// The node's own directory, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// Where the network namespaces of this node's pods are mounted.
    #[must_use]
    pub fn netns_dir(&self) -> PathBuf {
        self.dir().join("netns")
    }

    /// Gives the node an uplink with a default route, as a real machine has.
    ///
    /// # Errors
    /// When it has one already.
    pub fn add_uplink(&self, mtu: u32) -> Result<()> {
        self.sh(&format!("ip link add uplink mtu {mtu} type veth peer name wire mtu {mtu}"))?;
        for line in [
            "ip addr add 192.0.2.2/24 dev uplink",
            "ip link set uplink up",
            "ip link set wire up",
            "ip route add default via 192.0.2.1",
        ] {
            self.sh(line)?;
        }
        Ok(())
    }

    /// Creates `path` and mounts a BPF file system of this node there.
    ///
    /// # Errors
    /// When the path exists already.
    pub fn mount_bpffs(&self, path: &Path) -> Result<()> {
        fs::create_dir(path).with_context(|| format!("create {}", path.display()))?;
        self.run(|| {
            mount("bpf", path, "bpf", MountFlags::empty(), None)
                .with_context(|| format!("mount a BPF file system at {}", path.display()))
        })
    }

    /// Sets a sysctl of this node's network stack, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When it does not exist, or does not accept the value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.run(|| {
            let path = Path::new("/proc/sys").join(name);
            fs::write(&path, value).with_context(|| format!("write {}", path.display()))
        })
    }

    /// A sysctl of this node's network stack, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        self.run(|| {
            let path = Path::new("/proc/sys").join(name);
            let value =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            Ok(value.trim().to_owned())
        })
    }
}

impl Stack for Node {
    fn namespaces(&self) -> Result<&Namespaces> {
        Ok(&self.0.namespaces)
    }
}
