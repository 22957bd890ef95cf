//! A pod of a cluster: a sandbox that the plugin attached to the network.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::lab::cni::Cni;
use crate::lab::namespaces::Namespaces;
use crate::lab::pod::Pod;
use crate::lab::result::Added;
use crate::lab::stack::Stack;

/// A pod after ADD.
#[derive(Debug)]
pub struct AttachedPod {
    cni: Cni,
    sandbox: Pod,
    added: Added,
}

impl AttachedPod {
    pub(super) fn new(cni: Cni, sandbox: Pod, namespace: &str) -> Result<Self> {
        // The arguments by which a runtime names the pod of a sandbox.
        let name = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={}",
            sandbox.name()
        );
        let call = cni.call("ADD").pod(&sandbox).env("CNI_ARGS", name);
        let added = call.run().and_then(|reply| reply.added());
        let added = added.with_context(|| format!("ADD of {}", sandbox.name()))?;
        Ok(Self { cni, sandbox, added })
    }

    /// The result of ADD.
    #[must_use]
    pub fn added(&self) -> &Added {
        &self.added
    }

    /// Its sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &Pod {
        &self.sandbox
    }

    /// Its first address.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self) -> Result<IpAddr> {
        self.added.address()
    }

    /// All of its addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.added.ips.iter().map(|ip| ip.address.ip()).collect()
    }

    /// Calls DEL.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn detach(self) -> Result<()> {
        let Self { cni, sandbox, added: _ } = self;
        cni.del(&sandbox).with_context(|| format!("DEL of {}", sandbox.name()))
    }
}

impl Stack for AttachedPod {
    fn namespaces(&self) -> Result<&Namespaces> {
        self.sandbox.namespaces()
    }
}
