//! A pod of a cluster: a sandbox with the network that the plugin gave it.

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::lab::cni::Cni;
use crate::lab::namespaces::{Namespaces, Stack};
use crate::lab::pod::Pod;
use crate::lab::result::Added;

/// A pod that was added.
#[derive(Debug)]
pub struct Attached {
    cni: Cni,
    sandbox: Pod,
    added: Added,
}

impl Attached {
    pub(super) fn new(cni: Cni, sandbox: Pod) -> Result<Self> {
        // As a runtime names the pod that a sandbox is for.
        let name =
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={}", sandbox.name());
        let call = cni.call("ADD").pod(&sandbox).env("CNI_ARGS", name);
        let added = call.run().and_then(|reply| reply.added());
        let added = added.with_context(|| format!("ADD of {}", sandbox.name()))?;
        Ok(Self { cni, sandbox, added })
    }

    /// What ADD answered.
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

    /// Takes its network away again.
    ///
    /// # Errors
    /// When the plugin refuses.
    pub fn detach(self) -> Result<()> {
        let Self { cni, sandbox, added: _ } = self;
        cni.del(&sandbox).with_context(|| format!("DEL of {}", sandbox.name()))
    }
}

impl Stack for Attached {
    fn namespaces(&self) -> Result<&Namespaces> {
        self.sandbox.namespaces()
    }
}
