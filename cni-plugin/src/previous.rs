//! `prevResult`: the part of the result of `ADD` that `CHECK` compares.

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;
use weir_netlink::MacAddr;

use crate::{Error, attributes::RouteAttributes, config::NetworkConfig};

/// The result of `ADD`, perhaps with interfaces that later plugins have added.
#[derive(Debug, Deserialize)]
pub(crate) struct Previous {
    #[serde(default)]
    pub(crate) interfaces: Vec<PreviousInterface>,
    #[serde(default)]
    ips: Vec<PreviousIp>,
    #[serde(default)]
    pub(crate) routes: Vec<RouteAttributes>,
}

/// An interface of the result.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PreviousInterface {
    pub(crate) name: String,
    mac: Option<String>,
    pub(crate) mtu: Option<u32>,
    sandbox: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct PreviousIp {
    address: IpNetwork,
    interface: Option<usize>,
}

impl Previous {
    /// Reads the result. An index of an interface that it does not have is an error: the address would be
    /// compared with nothing.
    pub(crate) fn of(config: &NetworkConfig) -> Result<Self, Error> {
        let value = config.previous.clone().filter(|value| *value != Value::Null);
        let value = value.ok_or_else(|| Error::config("prevResult", "it is missing"))?;
        let previous: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            Error::config(format!("prevResult.{}", error.path()), error.inner().to_string())
        })?;
        let count = previous.interfaces.len();
        for (index, ip) in previous.ips.iter().enumerate() {
            if let Some(interface) = ip.interface.filter(|interface| *interface >= count) {
                let problem = format!("{interface} is not the index of an interface");
                return Err(Error::config(format!("prevResult.ips[{index}].interface"), problem));
            }
        }
        Ok(previous)
    }

    /// The interface of the container, and its addresses. It is an error if it has none.
    pub(crate) fn of_container(
        &self,
        ifname: &str,
    ) -> Result<(&PreviousInterface, Vec<IpNetwork>), Error> {
        let is_it =
            |interface: &PreviousInterface| !interface.is_on_host() && interface.name == ifname;
        let found = self.interfaces.iter().enumerate().find(|(_, interface)| is_it(interface));
        let (index, interface) = found.ok_or_else(|| {
            Error::config("prevResult.interfaces", format!("it has no {ifname} in a sandbox"))
        })?;
        let is_of_it = |ip: &&PreviousIp| ip.interface.is_none_or(|other| other == index);
        let addresses: Vec<_> = self.ips.iter().filter(is_of_it).map(|ip| ip.address).collect();
        if addresses.is_empty() {
            return Err(Error::config("prevResult.ips", format!("it has no address of {ifname}")));
        }
        Ok((interface, addresses))
    }

    /// The interface of this name on the host.
    pub(crate) fn on_host(&self, name: &str) -> Option<&PreviousInterface> {
        self.interfaces.iter().find(|interface| interface.is_on_host() && interface.name == name)
    }
}

impl PreviousInterface {
    /// The MAC address; `None` if it is absent or empty. An interface of a later plugin may have one of
    /// another length, so this is not checked before it is needed.
    pub(crate) fn mac(&self) -> Result<Option<MacAddr>, Error> {
        let text = self.mac.as_deref().filter(|text| !text.is_empty());
        text.map(str::parse).transpose().map_err(|error| {
            let key = format!("prevResult.interfaces: mac of {}", self.name);
            Error::config(key, format!("{error}"))
        })
    }

    /// The same, for an interface whose MTU may change.
    pub(crate) fn without_mtu(&self) -> Self {
        Self { mtu: None, ..self.clone() }
    }

    fn is_on_host(&self) -> bool {
        self.sandbox.as_ref().is_none_or(|path| path.as_os_str().is_empty())
    }
}
