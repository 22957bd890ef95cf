//! `runtimeConfig`: what the runtime passes for the capabilities of the configuration.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use weir_node::endpoint::{PortMapping, Protocol};

use super::{address_management::RawRange, null::null_is_default};
use crate::Error;

/// The unchecked `runtimeConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRuntime {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) ips: Vec<String>,
    pub(super) mac: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) ip_ranges: Vec<Vec<RawRange>>,
    #[serde(default, deserialize_with = "null_is_default")]
    port_mappings: Vec<RawPortMapping>,
}

impl RawRuntime {
    /// The requested addresses. A prefix length is allowed and ignored.
    pub(super) fn requested_ips(&self, key: &str) -> Result<Vec<IpAddr>, Error> {
        let parse = |(index, text): (usize, &String)| {
            text.parse::<IpNetwork>().map(|network| network.ip()).map_err(|_| {
                Error::config(format!("{key}[{index}]"), format!("{text:?} is not an IP address"))
            })
        };
        self.ips.iter().enumerate().map(parse).collect()
    }

    pub(super) fn port_mappings(&self) -> Result<Vec<PortMapping>, Error> {
        let check = |(index, raw): (usize, &RawPortMapping)| {
            raw.check(&format!("runtimeConfig.portMappings[{index}]"))
        };
        // Runtimes also pass container ports without a host port, which request nothing.
        let is_request = |mapping: &PortMapping| mapping.host_port != 0;
        let all: Result<Vec<_>, _> = self.port_mappings.iter().enumerate().map(check).collect();
        all.map(|mappings| mappings.into_iter().filter(is_request).collect())
    }
}

/// An unchecked port mapping. The conventions of CNI have the first spelling of each key; containerd
/// writes the second.
#[derive(Debug, Clone, Deserialize)]
struct RawPortMapping {
    #[serde(rename = "hostPort", alias = "HostPort", default)]
    host_port: u16,
    #[serde(rename = "containerPort", alias = "ContainerPort")]
    container_port: u16,
    #[serde(alias = "Protocol")]
    protocol: Option<String>,
    #[serde(rename = "hostIP", alias = "HostIP")]
    host_ip: Option<String>,
}

impl RawPortMapping {
    fn check(&self, key: &str) -> Result<PortMapping, Error> {
        let protocol = match self.protocol.as_deref().unwrap_or("tcp") {
            text if text.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
            text if text.eq_ignore_ascii_case("udp") => Protocol::Udp,
            text if text.eq_ignore_ascii_case("sctp") => Protocol::Sctp,
            text => {
                let problem = format!("{text:?} must be tcp, udp or sctp");
                return Err(Error::config(format!("{key}.protocol"), problem));
            }
        };
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                Error::config(format!("{key}.hostIP"), format!("{text:?} is not an IP address"))
            })
        };
        let host_ip =
            self.host_ip.as_ref().filter(|text| !text.is_empty()).map(parse).transpose()?;
        if self.container_port == 0 {
            return Err(Error::config(format!("{key}.containerPort"), "0 is not a port"));
        }
        Ok(PortMapping {
            host_port: self.host_port,
            container_port: self.container_port,
            protocol,
            host_ip,
        })
    }
}
