//! The network configuration, in the format of flannel's `net-conf.json`. The ConfigMap of a flannel
//! cluster works unchanged.

use std::{fs, io::ErrorKind, path::Path};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How pods of different nodes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Through a tunnel.
    Vxlan(Vxlan),
    /// By routes on the underlay, which must be one subnet.
    HostGateway,
}

/// The tunnel's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Whether peers in the same subnet are reached without the tunnel.
    pub direct_routing: bool,
}

/// The validated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConf {
    /// The cluster's IPv4 pod network; `None` means the union of the nodes' subnets.
    pub network: Option<IpNetwork>,
    /// The same for IPv6.
    pub ipv6_network: Option<IpNetwork>,
    /// Whether pods have IPv4 addresses, if their node's subnets allow it.
    pub enable_ipv4: bool,
    /// Whether pods have IPv6 addresses, if their node's subnets allow it.
    pub enable_ipv6: bool,
    /// How pods of different nodes reach each other.
    pub backend: Backend,
    /// MTU of the tunnel device in bytes; `None` means the uplink's MTU minus the encapsulation.
    pub mtu: Option<u32>,
}

impl Default for NetConf {
    fn default() -> Self {
        Self {
            network: None,
            ipv6_network: None,
            enable_ipv4: true,
            enable_ipv6: true,
            backend: Backend::Vxlan(Vxlan { vni: 1, port: 8472, direct_routing: false }),
            mtu: None,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetConfError {
    /// The file exists and cannot be read.
    #[error("cannot read the network configuration")]
    Read(#[source] std::io::Error),
    /// The file is not a JSON object.
    #[error("the network configuration is not a JSON object")]
    Decode(#[source] serde_json::Error),
    /// A key is not known.
    #[error("network configuration key {key} is not known; known are {known}")]
    UnknownKey {
        /// Its path.
        key: String,
        /// The known keys.
        known: String,
    },
    /// A value is invalid.
    #[error("network configuration key {key}: {problem}")]
    Value {
        /// Its path.
        key: &'static str,
        /// Why it is invalid.
        problem: String,
    },
}

const KEYS: &[&str] = &[
    "Network",
    "IPv6Network",
    "EnableIPv4",
    "EnableIPv6",
    "EnableNFTables",
    "Backend",
    "SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "IPv6SubnetLen",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
];
const BACKEND_KEYS: &[&str] = &["Type", "VNI", "Port", "DirectRouting", "MTU"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(rename = "Network")]
    network: Option<IpNetwork>,
    #[serde(rename = "IPv6Network")]
    ipv6_network: Option<IpNetwork>,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "Backend")]
    backend: RawBackend,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBackend {
    #[serde(rename = "Type")]
    r#type: Option<String>,
    #[serde(rename = "VNI")]
    vni: Option<u32>,
    #[serde(rename = "Port")]
    port: Option<u16>,
    #[serde(rename = "DirectRouting")]
    direct_routing: Option<bool>,
    #[serde(rename = "MTU")]
    mtu: Option<u32>,
}

impl NetConf {
    /// Reads the file. Without the file, every value has its default.
    pub fn read(path: &Path) -> Result<Self, NetConfError> {
        match fs::read(path) {
            Ok(bytes) => Self::parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(NetConfError::Read(error)),
        }
    }

    /// Parses and validates a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, NetConfError> {
        let object: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(NetConfError::Decode)?;
        check_keys("", &object, KEYS)?;
        if let Some(Value::Object(backend)) = object.get("Backend") {
            check_keys("Backend.", backend, BACKEND_KEYS)?;
        }
        let raw: Raw =
            serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
                let problem = format!("{}: {}", error.path(), error.inner());
                NetConfError::Value { key: "value", problem }
            })?;
        Self::validate(raw)
    }

    fn validate(raw: Raw) -> Result<Self, NetConfError> {
        let Raw { network, ipv6_network, enable_ipv4, enable_ipv6, backend } = raw;
        let invalid = |key, problem: String| NetConfError::Value { key, problem };
        if let Some(network) = network.filter(|network| !network.is_ipv4()) {
            return Err(invalid("Network", format!("{network} is not an IPv4 network")));
        }
        if let Some(network) = ipv6_network.filter(|network| !network.is_ipv6()) {
            return Err(invalid("IPv6Network", format!("{network} is not an IPv6 network")));
        }
        let default = Self::default();
        let enable_ipv4 = enable_ipv4.unwrap_or(default.enable_ipv4);
        let enable_ipv6 = enable_ipv6.unwrap_or(default.enable_ipv6);
        if !enable_ipv4 && !enable_ipv6 {
            return Err(invalid("EnableIPv6", "IPv4 and IPv6 are both turned off".to_owned()));
        }
        if let Some(mtu) = backend.mtu.filter(|mtu| *mtu != 0 && !(576..=65_535).contains(mtu)) {
            return Err(invalid("Backend.MTU", format!("{mtu} is not between 576 and 65535")));
        }
        let mtu = backend.mtu.filter(|mtu| *mtu != 0);
        let backend = Self::validate_backend(&backend)?;
        Ok(Self { network, ipv6_network, enable_ipv4, enable_ipv6, backend, mtu })
    }

    fn validate_backend(raw: &RawBackend) -> Result<Backend, NetConfError> {
        let invalid = |key, problem: String| Err(NetConfError::Value { key, problem });
        match raw.r#type.as_deref().unwrap_or("vxlan") {
            "vxlan" => {
                let vni = raw.vni.unwrap_or(1);
                if !(1..1 << 24).contains(&vni) {
                    return invalid("Backend.VNI", format!("{vni} is not between 1 and 16777215"));
                }
                let port = raw.port.filter(|port| *port != 0).unwrap_or(8472);
                let direct_routing = raw.direct_routing.unwrap_or(false);
                Ok(Backend::Vxlan(Vxlan { vni, port, direct_routing }))
            }
            "host-gw" => Ok(Backend::HostGateway),
            other => {
                invalid("Backend.Type", format!("{other:?} is not known; use vxlan or host-gw"))
            }
        }
    }
}

fn check_keys(
    prefix: &str,
    object: &Map<String, Value>,
    known: &[&str],
) -> Result<(), NetConfError> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let key = format!("{prefix}{key}");
            Err(NetConfError::UnknownKey { key, known: known.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_config_map_of_flannels_manifest_works_unchanged() {
        let text = r#"{"Network": "10.244.0.0/16", "EnableNFTables": false,
                       "Backend": {"Type": "vxlan"}}"#;
        let conf = NetConf::parse(text.as_bytes()).unwrap();
        assert_eq!(conf.network, Some("10.244.0.0/16".parse().unwrap()));
        assert_eq!(conf.backend, NetConf::default().backend);
    }

    #[test]
    fn every_backend_setting_is_taken() {
        let text = r#"{"IPv6Network": "fd00::/48", "EnableIPv4": false,
            "Backend": {"Type": "vxlan", "VNI": 7, "Port": 4789, "DirectRouting": true, "MTU": 1400}}"#;
        let conf = NetConf::parse(text.as_bytes()).unwrap();
        let vxlan = Vxlan { vni: 7, port: 4789, direct_routing: true };
        assert_eq!((conf.backend, conf.mtu), (Backend::Vxlan(vxlan), Some(1400)));
        assert!(!conf.enable_ipv4 && conf.enable_ipv6);
    }

    #[test]
    fn the_error_about_an_unknown_key_or_value_lists_the_known_ones() {
        for (text, key, known) in [
            (r#"{"Netwerk": "10.0.0.0/8"}"#, "Netwerk", "Network"),
            (r#"{"Backend": {"Vni": 1}}"#, "Backend.Vni", "VNI"),
            (r#"{"Backend": {"Type": "wireguard"}}"#, "Backend.Type", "host-gw"),
            (r#"{"Backend": {"VNI": 16777216}}"#, "Backend.VNI", "16777215"),
            (r#"{"Backend": {"MTU": 9}}"#, "Backend.MTU", "576"),
            (r#"{"Network": "fd00::/48"}"#, "Network", "IPv4"),
            (r#"{"Network": 5}"#, "Network", "invalid type"),
            (r#"{"EnableIPv4": false, "EnableIPv6": false}"#, "EnableIPv6", "both"),
        ] {
            let error = NetConf::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(known), "{text}: {error}");
        }
    }

    #[test]
    fn without_the_file_every_value_has_its_default() {
        assert_eq!(NetConf::read(Path::new("/nonexistent")).unwrap(), NetConf::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = NetConf::parse(&bytes);
        }
    }
}
