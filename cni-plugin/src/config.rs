//! The network configuration on standard input.
//!
//! Decoding has two steps with an error code each: the input must be a JSON object (6), and the keys
//! that the plugin knows must have valid values (7). Unknown keys are ignored, as the specification
//! requires.

mod address_management;
pub mod dns;
mod null;
mod runtime;

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_node::{Attachment, Namespace, NotANamespace, endpoint::PortMapping, interface_name};

use self::{address_management::RawIpam, dns::Dns, null::null_is_default, runtime::RawRuntime};
use crate::{
    Error,
    attributes::RouteAttributes,
    invocation::{check_identifier, parse_mac},
    mac::{ChosenMac, Origin},
    range::RangeSet,
    version::SpecVersion,
};

/// Smallest MTU of bridges and pods (RFC 791).
const MTU_MIN: u32 = 68;
/// Largest MTU: the largest IPv4 packet.
const MTU_MAX: u32 = 65_535;
/// Smallest MTU of a link with IPv6 (RFC 8200, section 5).
const MTU_MIN_IPV6: u32 = 1280;

/// A configuration in which every value has been checked.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The version of the result.
    pub version: SpecVersion,
    /// Name of the network.
    pub name: String,
    /// Name of the bridge.
    pub bridge: String,
    /// MTU in bytes; `None` means that of the overlay or the uplink.
    pub mtu: Option<u32>,
    /// Whether a pod may reach itself through the bridge.
    pub hairpin: bool,
    /// Whether pods get a default route to the bridge, for each family.
    pub default_gateway: bool,
    /// The addresses.
    pub ipam: IpamConfig,
    /// Directory of the endpoint records and of the overlay's `subnet.env`.
    pub run_dir: PathBuf,
    /// Directory of the pinned eBPF programs and maps.
    pub pin_dir: PathBuf,
    /// The log level.
    pub log_level: tracing::Level,
    /// Whether ADD requires the agent's `subnet.env`, which exists when the overlay is ready.
    pub wait_for_agent: bool,
    /// Whether DEL waits until the kernel has freed a link's memory.
    pub wait_for_removal: bool,
    /// The result of ADD, on CHECK and DEL. CHECK validates it.
    pub previous: Option<Value>,
    pod: RawPodConfig,
    valid_attachments: Option<Vec<Attachment>>,
    routing_namespaces: Vec<String>,
}

/// The unchecked part that only `ADD` uses.
#[derive(Debug, Clone)]
struct RawPodConfig {
    dns: Dns,
    runtime: RawRuntime,
    args: RawRuntime,
}

/// What only `ADD` uses.
#[derive(Debug, Clone)]
pub struct PodConfig {
    /// Routes for pods besides the default ones.
    pub routes: Vec<RouteAttributes>,
    /// DNS settings, which are copied to the result.
    pub dns: Dns,
    /// What the runtime requests for this container.
    pub runtime: RuntimeConfig,
    /// The namespaces whose pods may send with addresses of others.
    pub routing_namespaces: Vec<Namespace>,
}

/// The address management (IPAM).
#[derive(Debug, Clone)]
pub struct IpamConfig {
    /// Directory with a store for each network.
    pub data_dir: PathBuf,
    raw: RawIpam,
    extra_ranges: Vec<Vec<address_management::RawRange>>,
}

impl IpamConfig {
    /// The range sets, those that the runtime adds (`ipRanges`) first.
    ///
    /// Validated here and not by `check`: a `DEL` needs no range, and must work even if the ranges
    /// have become invalid.
    pub fn range_sets(&self) -> Result<Vec<RangeSet>, Error> {
        address_management::range_sets(&self.raw, &self.extra_ranges)
    }
}

/// What the runtime passes in `runtimeConfig` for the capabilities, and callers in `args.cni`.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// The requested addresses.
    pub ips: Vec<std::net::IpAddr>,
    /// The requested MAC address.
    pub mac: Option<ChosenMac>,
    /// The requested port mappings.
    pub port_mappings: Vec<PortMapping>,
}

/// The unchecked configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    name: Option<String>,
    bridge: Option<String>,
    mtu: Option<u32>,
    hairpin_mode: Option<bool>,
    is_default_gateway: Option<bool>,
    ipam: Option<RawIpam>,
    #[serde(default, deserialize_with = "null_is_default")]
    dns: Dns,
    #[serde(default, deserialize_with = "null_is_default")]
    runtime_config: RawRuntime,
    #[serde(default, deserialize_with = "null_is_default")]
    args: RawArguments,
    run_dir: Option<PathBuf>,
    pin_dir: Option<PathBuf>,
    log_level: Option<String>,
    wait_for_agent: Option<bool>,
    wait_for_removal: Option<bool>,
    #[serde(default, deserialize_with = "null_is_default")]
    routing_namespaces: Vec<String>,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

/// `args`, with the requests of a user, by the conventions of CNI.
#[derive(Debug, Default, Deserialize)]
struct RawArguments {
    #[serde(default, deserialize_with = "null_is_default")]
    cni: RawRuntime,
}

/// The first step: a JSON object of which only the version is read.
#[derive(Debug, Clone)]
pub struct Document(Map<String, Value>);

impl Document {
    /// Decodes standard input.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map(Self).map_err(Error::Decode)
    }

    /// `cniVersion`. A missing one means 0.1.0, which is not supported.
    pub fn version(&self) -> Result<SpecVersion, Error> {
        match self.0.get("cniVersion") {
            None => Err(Error::Version { found: String::new() }),
            Some(Value::String(text)) => text.parse(),
            Some(_) => Err(Error::config("cniVersion", "it is not a string")),
        }
    }

    /// The second step: checks every value.
    pub fn check(self) -> Result<NetworkConfig, Error> {
        let version = self.version()?;
        let raw: RawConfig = serde_path_to_error::deserialize(Value::Object(self.0))
            .map_err(|error| Error::config(error.path().to_string(), error.inner().to_string()))?;
        NetworkConfig::from_raw(version, raw)
    }
}

impl NetworkConfig {
    fn from_raw(version: SpecVersion, raw: RawConfig) -> Result<Self, Error> {
        let name = raw.name.ok_or_else(|| Error::config("name", "it is missing"))?;
        check_identifier(&name).map_err(|problem| Error::config("name", problem))?;
        let bridge = raw.bridge.unwrap_or_else(|| "weir0".to_owned());
        interface_name::check(&bridge).map_err(|problem| Error::config("bridge", problem))?;
        let mtu = raw.mtu.filter(|mtu| *mtu != 0);
        if let Some(mtu) = mtu {
            check_mtu(mtu).map_err(|problem| Error::config("mtu", problem))?;
        }
        let ipam = raw.ipam.unwrap_or_default();
        ipam.check()?;
        let extra_ranges = raw.runtime_config.ip_ranges.clone();
        Ok(Self {
            version,
            name,
            bridge,
            mtu,
            hairpin: raw.hairpin_mode.unwrap_or(true),
            default_gateway: raw.is_default_gateway.unwrap_or(true),
            ipam: IpamConfig { data_dir: ipam.data_dir(), raw: ipam, extra_ranges },
            run_dir: raw.run_dir.unwrap_or_else(|| PathBuf::from("/run/weir")),
            pin_dir: raw.pin_dir.unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/weir")),
            log_level: log_level(raw.log_level.as_deref())?,
            wait_for_agent: raw.wait_for_agent.unwrap_or(false),
            wait_for_removal: raw.wait_for_removal.unwrap_or(false),
            previous: raw.prev_result,
            pod: RawPodConfig { dns: raw.dns, runtime: raw.runtime_config, args: raw.args.cni },
            valid_attachments: raw.valid_attachments,
            routing_namespaces: raw.routing_namespaces,
        })
    }

    /// What only `ADD` uses.
    ///
    /// Checked here and not by [`Document::check`]: a `DEL` must work after an `ADD` that was refused.
    pub fn for_pod(&self) -> Result<PodConfig, Error> {
        let RawPodConfig { dns, runtime, args } = &self.pod;
        dns.check()?;
        Ok(PodConfig {
            routes: self.ipam.raw.routes()?,
            dns: dns.clone(),
            runtime: runtime_config(runtime, args)?,
            routing_namespaces: self.routing_namespaces()?,
        })
    }

    /// The namespaces whose pods may send with addresses of others, which `ADD` and `CHECK` use.
    pub fn routing_namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let parse = |(index, text): (usize, &String)| {
            let key = || format!("routingNamespaces[{index}]");
            text.parse().map_err(|problem: NotANamespace| Error::config(key(), problem.to_string()))
        };
        self.routing_namespaces.iter().enumerate().map(parse).collect()
    }

    /// The attachments that exist, which only `GC` uses. An item that no attachment can have, such as an
    /// empty name, is an error: whoever made such a list does not know which attachments exist.
    pub fn valid_attachments(&self) -> Result<&[Attachment], Error> {
        const KEY: &str = "cni.dev/valid-attachments";
        // A missing list must not be treated as empty: that would remove the network of every pod.
        let list = self.valid_attachments.as_ref();
        let list = list.ok_or_else(|| Error::config(KEY, "it is missing"))?;
        for (index, Attachment { container_id, ifname }) in list.iter().enumerate() {
            let invalid =
                |field| move |problem| Error::config(format!("{KEY}[{index}].{field}"), problem);
            check_identifier(container_id).map_err(invalid("containerID"))?;
            interface_name::check(ifname).map_err(invalid("ifname"))?;
        }
        Ok(list)
    }
}

/// `runtimeConfig` takes precedence over `args.cni`.
fn runtime_config(runtime: &RawRuntime, args: &RawRuntime) -> Result<RuntimeConfig, Error> {
    // Both are checked, also the one that is not used.
    let of_runtime = requested_mac("runtimeConfig.mac", runtime)?;
    let mac = of_runtime.or(requested_mac("args.cni.mac", args)?);
    let of_args = args.requested_ips("args.cni.ips")?;
    let ips = runtime.requested_ips("runtimeConfig.ips")?;
    let ips = if ips.is_empty() { of_args } else { ips };
    Ok(RuntimeConfig { ips, mac, port_mappings: runtime.port_mappings()? })
}

fn requested_mac(key: &'static str, raw: &RawRuntime) -> Result<Option<ChosenMac>, Error> {
    let Some(text) = &raw.mac else { return Ok(None) };
    let address = parse_mac(text).map_err(|problem| Error::config(key, problem))?;
    Ok(Some(ChosenMac { address, origin: Origin::Requested(key) }))
}

/// Checks that the MTU suffices for IPv6.
pub(crate) fn check_mtu_for_ipv6(mtu: u32) -> Result<(), String> {
    if mtu < MTU_MIN_IPV6 {
        return Err(format!("{mtu} is too small for IPv6, which needs {MTU_MIN_IPV6}"));
    }
    Ok(())
}

pub(crate) fn check_mtu(mtu: u32) -> Result<(), String> {
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Err(format!("{mtu} is not between {MTU_MIN} and {MTU_MAX}"));
    }
    Ok(())
}

fn log_level(text: Option<&str>) -> Result<tracing::Level, Error> {
    let Some(text) = text else {
        return Ok(tracing::Level::INFO);
    };
    text.parse().map_err(|_| {
        let problem = format!("{text:?} must be error, warn, info, debug or trace");
        Error::config("logLevel", problem)
    })
}

#[cfg(test)]
mod tests;
