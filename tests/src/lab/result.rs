//! The plugin's output: results and errors of the CNI specification.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

/// The result of ADD.
///
/// Unknown keys are errors, so that the plugin prints only what the specification defines.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Added {
    /// The version of the result's format.
    pub cni_version: String,
    /// Bridge, host side and container side.
    pub interfaces: Vec<Interface>,
    /// The pod's addresses.
    pub ips: Vec<Ip>,
    /// Its routes.
    #[serde(default)]
    pub routes: Vec<ResultRoute>,
    /// Its name servers, as configured.
    #[serde(default)]
    pub dns: Value,
    /// The document itself, to be passed as `prevResult`.
    #[serde(skip)]
    pub raw: Value,
}

/// An interface of a result.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its MTU, since version 1.1.0.
    pub mtu: Option<u32>,
    /// The path of the network namespace, for an interface inside of a container.
    pub sandbox: Option<String>,
}

/// An address of a result.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ip {
    /// `4` or `6`, before version 1.0.0.
    pub version: Option<String>,
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// The index of its interface in the list.
    pub interface: Option<usize>,
}

/// A route of a result.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResultRoute {
    /// The prefix.
    pub dst: IpNetwork,
    /// The next hop.
    pub gw: Option<IpAddr>,
    /// Largest packet, since 1.1.0.
    pub mtu: Option<u32>,
    /// Advertised segment size, since 1.1.0.
    pub advmss: Option<u32>,
    /// Priority, since 1.1.0.
    pub priority: Option<u32>,
    /// Routing table, since 1.1.0.
    pub table: Option<u32>,
    /// Scope, since 1.1.0.
    pub scope: Option<u32>,
}

impl Added {
    pub(super) fn parse(raw: Value) -> Result<Self> {
        let mut added = Self::deserialize(&raw)
            .with_context(|| format!("not a result of the specification: {raw}"))?;
        added.raw = raw;
        Ok(added)
    }

    /// The pod's first address.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self) -> Result<IpAddr> {
        Ok(self.ips.first().context("no address in the result")?.address.ip())
    }

    /// The pod's first IPv6 address.
    ///
    /// # Errors
    /// When it has none.
    pub fn ipv6(&self) -> Result<IpAddr> {
        let mut addresses = self.ips.iter().map(|ip| ip.address.ip());
        addresses.find(IpAddr::is_ipv6).context("no IPv6 address in the result")
    }

    /// The gateway of the first address.
    ///
    /// # Errors
    /// When it has none.
    pub fn gateway(&self) -> Result<IpAddr> {
        self.ips.first().and_then(|ip| ip.gateway).context("no gateway in the result")
    }

    /// The bridge.
    ///
    /// # Errors
    /// When the result does not name it.
    pub fn bridge(&self) -> Result<&Interface> {
        self.interfaces.first().context("no bridge in the result")
    }

    /// The host side of the pod's interface.
    ///
    /// # Errors
    /// When the result does not name it.
    pub fn host(&self) -> Result<&Interface> {
        self.interfaces.get(1).context("no host interface in the result")
    }

    /// The pod's own interface.
    ///
    /// # Errors
    /// When the result does not name it.
    pub fn container(&self) -> Result<&Interface> {
        self.interfaces.get(2).context("no container interface in the result")
    }
}

/// The error document of the CNI specification.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CniError {
    /// The version of the document's format.
    pub cni_version: String,
    /// The error code.
    pub code: u32,
    /// A short description.
    pub msg: String,
    /// Details, if there are any.
    #[serde(default)]
    pub details: String,
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cni_version: _, code, msg, details } = self;
        write!(f, "CNI error {code}: {msg}")?;
        if !details.is_empty() {
            write!(f, " ({details})")?;
        }
        Ok(())
    }
}

impl std::error::Error for CniError {}

/// Expects that the plugin failed with this error code, and returns the error.
///
/// # Errors
/// When it succeeded, failed with another code, or failed without an error document.
pub fn refused<T: fmt::Debug>(outcome: Result<T>, code: u32) -> Result<CniError> {
    match outcome {
        Ok(value) => bail!("expected error code {code}, got: {value:?}"),
        Err(error) => {
            let error = error.downcast::<CniError>()?;
            if error.code != code {
                bail!("expected error code {code}, got: {error}");
            }
            Ok(error)
        }
    }
}
