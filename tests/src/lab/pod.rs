//! A pod's sandbox as a container runtime creates it: a network namespace at a path.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::namespaces::Namespaces;
use super::node::Node;
use super::stack::Stack;

/// A network namespace, mounted at [`Pod::netns`] inside of its node's mount namespace only.
#[derive(Debug)]
pub struct Pod {
    node: Node,
    name: String,
    path: PathBuf,
    namespaces: Option<Namespaces>,
}

impl Node {
    /// A new pod: a network namespace with only loopback, mounted in this node.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        Pod::new(self, name)
    }
}

impl Pod {
    fn new(node: &Node, name: &str) -> Result<Self> {
        let path = node.netns_dir().join(name);
        File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        let namespaces = node.namespaces()?.sibling(|own| {
            mount_bind(own, &path).with_context(|| format!("mount {}", path.display()))
        })?;
        let pod =
            Self { node: node.clone(), name: name.to_owned(), path, namespaces: Some(namespaces) };
        pod.sh("ip link set lo up")?;
        Ok(pod)
    }

    /// The name given to [`Node::pod`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The value of `CNI_CONTAINERID`.
    #[must_use]
    pub fn container_id(&self) -> String {
        format!("{}-container", self.name)
    }

    /// The value of `CNI_NETNS`.
    #[must_use]
    pub fn netns(&self) -> &Path {
        &self.path
    }

    /// Removes the namespace and its path, as after a crash of the runtime.
    ///
    /// # Errors
    /// When it has been removed already.
    pub fn remove_netns(&mut self) -> Result<()> {
        self.unmount()?;
        fs::remove_file(&self.path).with_context(|| format!("remove {}", self.path.display()))
    }

    /// Removes the namespace, but leaves the empty file that it was mounted on.
    ///
    /// # Errors
    /// When it has been removed already.
    pub fn unmount(&mut self) -> Result<()> {
        self.node.run(|| {
            unmount(&self.path, UnmountFlags::DETACH)
                .with_context(|| format!("unmount {}", self.path.display()))
        })?;
        self.namespaces = None;
        Ok(())
    }
}

impl Stack for Pod {
    fn namespaces(&self) -> Result<&Namespaces> {
        self.namespaces
            .as_ref()
            .with_context(|| format!("the network namespace of pod {} was removed", self.name))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // The mount would keep the network namespace until the node is dropped. A test with hundreds
        // of pods frees each of them here. A failure cannot be reported.
        if self.namespaces.is_some() {
            let _ = self.remove_netns();
        }
    }
}
