//! The JSON document on standard output, in the format of the caller's version.

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};
use weir_netlink::MacAddr;

use crate::{
    Error, attributes::RouteAttributes, config::dns::Dns, pod::Assignment, version::SpecVersion,
};

/// The position of the pod's interface in a result's `interfaces`.
const POD_INTERFACE: usize = 2;

/// The result of `ADD`.
#[derive(Debug, Clone)]
pub(crate) struct AddResult {
    /// The bridge, the host interface, the pod's interface.
    pub(crate) interfaces: [Interface; 3],
    pub(crate) ips: Vec<Assignment>,
    pub(crate) routes: Vec<RouteAttributes>,
    pub(crate) dns: Dns,
}

/// An interface that `ADD` made or uses.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    /// Path of the container's network namespace; `None` on the host.
    pub(crate) sandbox: Option<PathBuf>,
}

impl AddResult {
    /// The success result of the specification.
    pub(crate) fn to_json(&self, version: SpecVersion) -> Value {
        let interfaces = self.interfaces.iter().map(|interface| interface.to_json(version));
        let ips = self.ips.iter().map(|assignment| ip_to_json(assignment, version));
        let routes = self.routes.iter().map(|route| route_to_json(route, version));
        json!({
            "cniVersion": version.as_str(),
            "interfaces": interfaces.collect::<Vec<_>>(),
            "ips": ips.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "dns": self.dns,
        })
    }
}

impl Interface {
    fn to_json(&self, version: SpecVersion) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), self.name.clone().into());
        if let Some(mac) = self.mac {
            object.insert("mac".into(), mac.to_string().into());
        }
        if version >= SpecVersion::V1_1_0 {
            object.insert("mtu".into(), self.mtu.into());
        }
        if let Some(sandbox) = &self.sandbox {
            object.insert("sandbox".into(), sandbox.to_string_lossy().into());
        }
        object.into()
    }
}

fn ip_to_json(assignment: &Assignment, version: SpecVersion) -> Value {
    let mut object = Map::new();
    if version < SpecVersion::V1_0_0 {
        let family = match assignment.network {
            IpNetwork::V4(_) => "4",
            IpNetwork::V6(_) => "6",
        };
        object.insert("version".into(), family.into());
    }
    object.insert("address".into(), assignment.network.to_string().into());
    object.insert("gateway".into(), assignment.gateway.to_string().into());
    object.insert("interface".into(), POD_INTERFACE.into());
    object.into()
}

fn route_to_json(route: &RouteAttributes, version: SpecVersion) -> Value {
    if version >= SpecVersion::V1_1_0 {
        // A route can always be serialized.
        return serde_json::to_value(route).unwrap_or_default();
    }
    let mut object = Map::new();
    object.insert("dst".into(), route.dst.to_string().into());
    if let Some(gateway) = route.gw {
        object.insert("gw".into(), gateway.to_string().into());
    }
    object.into()
}

/// The error result of the specification.
pub(crate) fn error_to_json(error: &Error, version: SpecVersion) -> Value {
    let mut object = Map::new();
    object.insert("cniVersion".into(), version.as_str().into());
    object.insert("code".into(), error.code().into());
    object.insert("msg".into(), error.to_string().into());
    let details = error.details();
    if !details.is_empty() {
        object.insert("details".into(), details.into());
    }
    object.into()
}

/// The result of `VERSION`.
pub(crate) fn version_to_json(version: SpecVersion) -> Value {
    let supported = SpecVersion::ALL.map(SpecVersion::as_str);
    json!({ "cniVersion": version.as_str(), "supportedVersions": supported })
}
